"""`python -m partialstate_service.demo`: the whole main job on loopback, in under a minute."""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from partialstate_service.demo.screen import Nobody, Screen
from partialstate_service.demo.service_process import ServiceFailedError
from partialstate_service.demo.story import Audience, tell
from partialstate_service.demo.summary import Summary
from partialstate_service.demo.world import WorldSize

TIME_LIMIT_S = 55.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 only if every answer was right and the recovered state is exact."""
    options = _parser().parse_args(arguments)
    size = WorldSize(members=options.members, servers=options.servers)
    try:
        if options.json:
            summary = _run(size, Nobody(), options.seed)
            print(json.dumps(summary.as_json(), indent=2))  # noqa: T201 - the command's result
        else:
            with Screen(Console()) as screen:
                summary = _run(size, screen, options.seed)
                screen.end(summary)
    except TimeoutError:
        return _fail(f"the demo did not end within {TIME_LIMIT_S:.0f} s")
    except ServiceFailedError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted")
    return 0 if summary.ok else 1


def _run(size: WorldSize, audience: Audience, seed: int) -> Summary:
    async def limited() -> Summary:
        with tempfile.TemporaryDirectory(prefix="partialstate-demo-") as directory:
            async with asyncio.timeout(TIME_LIMIT_S):
                return await tell(size, Path(directory), audience, seed=seed)

    return asyncio.run(limited())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="partialstate demo", description=__doc__)
    parser.add_argument(
        "--json", action="store_true", help="print every decision and figure as JSON, at the end"
    )
    parser.add_argument(
        "--members", type=int, default=2_000, help="members of the room (default: %(default)s)"
    )
    parser.add_argument("--servers", type=int, default=40, help="servers in the room (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the servers' keys (default: %(default)s)"
    )
    return parser


def _fail(text: str) -> int:
    print(text, file=sys.stderr)  # noqa: T201 - the command's result
    return 1


if __name__ == "__main__":
    sys.exit(main())

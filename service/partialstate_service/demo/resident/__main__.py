"""A world and its servers as a process of their own, so that what is measured shares no interpreter with them.

`python -m partialstate_service.demo.resident --config FILE` makes the world that the JSON in FILE describes, writes the
certificate authority's certificate, prints one line of JSON (the room, its servers and so on) once all listen, and
runs until its standard input ends. Then it prints a second line: how often each endpoint was asked.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from pathlib import Path

from partialstate_service.demo.resident.process import ResidentsConfig, run_residents


def main() -> None:
    """Run the process."""
    parser = argparse.ArgumentParser(prog="python -m partialstate_service.demo.resident", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a JSON file; see ResidentsConfig")
    config = ResidentsConfig.of(json.loads(parser.parse_args().config.read_bytes()))
    rng = random.Random(config.seed)  # noqa: S311 - the keys of a simulation are no secrets
    asyncio.run(run_residents(config, rng, now_ms=time.time_ns() // 1_000_000, output=sys.stdout))


if __name__ == "__main__":
    main()

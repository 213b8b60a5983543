"""`python -m partialstate_service serve|check-config|generate-key|version`."""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from partialstate._version import __version__

from partialstate_service.app import CannotStartError, write_new_key
from partialstate_service.domain.errors import PartialStateError
from partialstate_service.life import serve
from partialstate_service.logs import set_up_logs
from partialstate_service.preflight import check_inputs
from partialstate_service.resync.garbage import look_for_garbage_seldom
from partialstate_service.rpc.known_clients import InvalidCredentialsError
from partialstate_service.rpc.server import CannotListenError
from partialstate_service.settings import InvalidSettingsError, Settings, load_settings

EXIT_USAGE = 2
"""Wrong settings or arguments."""
EXIT_CANNOT_START = 1
"""The settings are well-formed but the service cannot start with them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "version":
        print(__version__)  # noqa: T201 - the command's result
        return 0
    if options.command == "generate-key":
        return _generate_key(options.path)
    try:
        settings = load_settings(options.config)
    except InvalidSettingsError as error:
        return _fail(EXIT_USAGE, str(error))
    status = 0
    try:
        if options.command == "check-config":
            _check_config(settings)
        else:
            set_up_logs(settings.log_level)
            look_for_garbage_seldom()
            asyncio.run(serve(settings))
    except* (
        CannotStartError,
        CannotListenError,
        InvalidCredentialsError,
        PartialStateError,
        OSError,
    ) as errors:
        status = _fail(EXIT_CANNOT_START, "\n".join(map(str, _leaves(errors))))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="matrix-partial-state",
        description="Owns, resyncs and answers for the partial-state rooms of a Matrix homeserver.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("serve", "run the service until SIGTERM or SIGINT"),
        ("check-config", "check the settings and print them, secrets masked"),
        ("version", "print the version"),
    ):
        command = commands.add_parser(name, help=text)
        if name != "version":
            command.add_argument(
                "--config", type=Path, help="a YAML file with settings (else PARTIALSTATE_CONFIG names it)"
            )
    generate = commands.add_parser(
        "generate-key", help="write a new signing key, for a homeserver without one"
    )
    generate.add_argument("path", type=Path, help="the file; one that is there already is left as it is")
    return parser


def _generate_key(path: Path) -> int:
    try:
        write_new_key(path)
    except FileExistsError:
        return _fail(EXIT_USAGE, f"{path} is there already; it was not changed")
    return 0


def _check_config(settings: Settings) -> None:
    check_inputs(settings)
    print(yaml.safe_dump(settings.shown(), sort_keys=False), end="")  # noqa: T201 - the command's result


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions inside nested groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _fail(status: int, text: str) -> int:
    print(text, file=sys.stderr)  # noqa: T201 - the command's result
    return status


if __name__ == "__main__":
    sys.exit(main())

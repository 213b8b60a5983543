"""Commands that need no service: demo, version."""

import importlib
import sys
from typing import Annotated

import typer

from partialstate._version import __version__
from partialstate.cli.exit_codes import ExitCode
from partialstate.cli.output import Output

_SERVICE = "partialstate_service"


def add_local_commands(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("version")(version)
    app.command(
        "demo",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    )(demo)


def version(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the version."""
    Output(as_json).result({"version": __version__}, __version__)


def demo(context: typer.Context) -> None:
    """Show the whole main job on loopback, in under a minute; options are those of the demo (--json, --help)."""
    try:
        module = importlib.import_module(f"{_SERVICE}.demo.__main__")
    except ModuleNotFoundError as error:
        print(
            f"partialstate: the demo needs {error.name}: pip install 'matrix-partial-state[demo]'",
            file=sys.stderr,
        )
        raise typer.Exit(ExitCode.DEFECT) from None
    raise typer.Exit(module.main(context.args))

"""Wrong command lines, told as JSON where JSON was asked for."""

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from partialstate.cli.json_shapes import line, usage_error

# Of click, which some versions of typer need and others have a copy of.
_ClickException: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


class Commands(TyperGroup):
    """The commands, whose usage errors are JSON on the standard error if `--json` is among the arguments."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line, as click does."""
        given = list(sys.argv[1:] if args is None else args)
        if "--json" not in given:
            return super().main(given, prog_name, complete_var, standalone_mode, windows_expand_args, **extra)
        try:
            sys.exit(super().main(given, prog_name, complete_var, False, windows_expand_args, **extra))
        except _ClickException as error:
            print(line(usage_error(error.format_message())), file=sys.stderr)
            sys.exit(error.exit_code)
        except typer.Abort:
            sys.exit(1)

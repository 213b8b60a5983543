"""Wrong command lines, and an output that cannot be written, told as JSON where JSON was asked for."""

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from partialstate.cli.exit_codes import ExitCode
from partialstate.cli.json_shapes import line, output_error, usage_error
from partialstate.cli.standard_streams import (
    OutputError,
    discard_output,
    flush_output,
    not_encoded,
    require_streams,
)

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
        as_json = "--json" in given
        if as_json:
            standalone_mode = False
        try:
            require_streams()
            try:
                result = super().main(
                    given, prog_name, complete_var, standalone_mode, windows_expand_args, **extra
                )
            except UnicodeEncodeError as error:  # of a help text, with its frames
                raise not_encoded(error) from error
            finally:
                flush_output()
        except _ClickException as error:
            print(line(usage_error(error.format_message())), file=sys.stderr)
            sys.exit(error.exit_code)
        except typer.Abort:
            sys.exit(1)
        except OutputError as error:
            _tell(str(error), as_json=as_json)
            discard_output()
            sys.exit(ExitCode.DEFECT)
        if as_json:
            sys.exit(result)
        return result


def _tell(why: str, *, as_json: bool) -> None:
    if why:
        text = f"cannot write the output: {why}"
        print(line(output_error(text)) if as_json else f"partialstate: {text}", file=sys.stderr)

"""What must hold of any command line, whatever its command."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from typer.models import ArgumentInfo

from partialstate.cli.input_files import InputError, InputFile, require_unicode


def require_usable(parameters: Iterable[inspect.Parameter], arguments: Mapping[str, Any]) -> None:
    """Raise `InputError` for a text that cannot be sent, and where two inputs would share the standard input."""
    from_standard_input = []
    for parameter in parameters:
        given = arguments[parameter.name]
        for value in given if isinstance(given, list) else [given]:
            if isinstance(value, InputFile):
                if value.is_standard_input:
                    from_standard_input.append(_title(parameter))
            elif isinstance(value, str):
                require_unicode(value, _title(parameter))
    if len(from_standard_input) > 1:
        raise InputError(f"only one can be the standard input: {', '.join(from_standard_input)}")


def _title(parameter: inspect.Parameter) -> str:
    """Return how a parameter is called on the command line."""
    for info in parameter.annotation.__metadata__:
        if isinstance(info, ArgumentInfo) and info.metavar:
            return info.metavar.strip("[]")
    return "--" + parameter.name.replace("_", "-")

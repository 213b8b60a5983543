"""The entry point of `matrix-partial-state`, which the base install brings too, without what the service needs."""

import sys


def main() -> int:
    """Run the command line and return the exit status, or say what is missing for it."""
    try:
        from partialstate_service.__main__ import main as run  # noqa: PLC0415 - the service is an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("partialstate"):
            raise
        print(  # noqa: T201 - the command has no other output
            f"matrix-partial-state: the service needs {error.name}: pip install 'matrix-partial-state[embedded]'",
            file=sys.stderr,
        )
        return 1
    return run()

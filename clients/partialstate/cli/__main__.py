"""The entry point of `partialstate`."""

import sys


def main() -> None:
    """Run the command line, or say what is missing for it."""
    try:
        from partialstate.cli.app import app  # noqa: PLC0415 - typer and rich are an extra
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        print(
            "partialstate: the command line needs an extra: pip install 'matrix-partial-state[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)
    app(prog_name="partialstate")


if __name__ == "__main__":
    main()

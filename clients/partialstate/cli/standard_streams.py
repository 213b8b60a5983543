"""The standard streams where they are closed, full, or left by their reader."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class OutputError(Exception):
    """The standard output takes no more; the text says why, and is empty where its reader has seen enough."""


@contextmanager
def writing() -> Iterator[None]:
    """Tell what goes wrong with the standard output from all else that goes wrong."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise not_encoded(error) from error
    except OSError as error:
        raise OutputError("" if error.errno == errno.EPIPE else str(error.strerror)) from error


def not_encoded(error: UnicodeEncodeError) -> OutputError:
    """Return what to say of a text that the standard output's encoding cannot show."""
    return OutputError(f"{error.encoding} has no {error.object[error.start]!a}")


def require_streams() -> None:
    """Refuse to begin without a standard output: what is done could not be told."""
    if sys.stderr is None:  # print() would take the standard output in its place
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for as long as the process lives
    if sys.stdout is None:
        raise OutputError("it is closed")


def flush_output() -> None:
    """Write what is still in memory; at the interpreter's end its failure would be a traceback."""
    with writing():
        sys.stdout.flush()


def discard_output() -> None:
    """Let what could not be written end nowhere, lest the interpreter tries again at its end."""
    with suppress(OSError, AttributeError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())

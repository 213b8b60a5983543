"""Files of input; `-` is the standard input."""

import sys


class InputError(Exception):
    """An input is not as it must be; the text says which, and what is wrong."""


class InputFile(str):
    """A path as it was typed. Unlike all else on a command line it need not be text in UTF-8."""

    __slots__ = ()

    @property
    def is_standard_input(self) -> bool:
        """Whether no file is meant."""
        return self == "-"

    @property
    def described(self) -> str:
        """What messages call it."""
        return "the standard input" if self.is_standard_input else str(self) or "''"


def read_bytes(file: InputFile) -> bytes:
    """Return what a file holds."""
    try:
        if not file.is_standard_input:
            with open(file, "rb") as opened:  # noqa: PTH123 - the path is a person's, not ours
                return opened.read()
        if sys.stdin is None:
            raise InputError("the standard input is closed")
        return sys.stdin.buffer.read()
    except (OSError, ValueError) as error:
        # A path with a NUL, from a variable of the environment, is a ValueError.
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read {file.described}: {why}") from error


def read_text(file: InputFile) -> str:
    """Return what a file of text holds."""
    try:
        return read_bytes(file).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{file.described} is not text in UTF-8") from error


def read_pem(file: InputFile) -> bytes:
    """Return a file of certificates or keys; of one that is none gRPC would tell but its own log."""
    content = read_bytes(file)
    if b"-----BEGIN " not in content:
        raise InputError(f"{file.described} holds no PEM")
    return content


def require_unicode(text: str, name: str) -> str:
    """Return *text*, if the API can carry it: not what is no UTF-8 on a command line, nor a lone surrogate in JSON."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name} is not Unicode (it has {text[error.start]!a})") from error
    return text

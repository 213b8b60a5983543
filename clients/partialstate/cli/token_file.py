"""The file with the token that calls carry."""

from partialstate.cli.input_files import InputError, InputFile, read_text


def read_token(file: InputFile) -> str:
    """Return the first token in a file: one of its own, or the service's: TOKEN, or NAME:ROLES TOKEN."""
    try:
        return _first_token(read_text(file), file.described)
    except InputError as error:
        raise InputError(f"--token-file (PARTIALSTATE_TOKEN_FILE): {error}") from error


def _first_token(text: str, title: str) -> str:
    # Not splitlines(): it would cut a token at a control character, and what is left would be sent.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        match line.split():
            case [first, *_] if first.startswith("#"):
                continue
            case [token] if ":" not in token:  # NAME:ROLES alone is no token
                pass
            case [_, token]:
                pass
            case _:
                continue
        if not (token.isascii() and line.replace("\t", " ").isprintable()):
            raise InputError(f"{title}, line {number}: a token is of printable ASCII characters")
        return token
    raise InputError(f"{title} holds no token")

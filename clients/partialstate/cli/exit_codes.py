"""Exit codes: what a script learns without reading the output."""

from enum import IntEnum
from typing import Self

from partialstate.checks import Verdict
from partialstate.errors import (
    InvalidRequestError,
    NoAnswerError,
    PartialStateError,
    RefusedError,
    RoomNotPartialError,
    TooLargeError,
    UnauthenticatedError,
)


class ExitCode(IntEnum):
    """How a command ended; each with its meaning."""

    OK = 0, "done; check: PROCEED or ANSWER"
    DEFECT = 1, "the service or this command failed unexpectedly"
    USAGE = 2, "the command line or an input file is wrong; nothing was sent"
    REFUSE = 3, "check: REFUSE"
    ANSWER_FILTERED = 4, "check: ANSWER_FILTERED"
    NOT_PARTIAL = 5, "the room is not partial"
    PRECONDITION = (
        6,
        "refused as things stand: another generation, more to import, an old token, a confirmed join",
    )
    NO_ANSWER = 7, "the service is unreachable, not reconciled or too slow; check: no decision"
    INVALID = 8, "the request is malformed or too large"
    UNAUTHENTICATED = 9, "the token or the certificate is missing or wrong, or may not call this"
    INTERRUPTED = 130, "ended by Ctrl-C"

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make a member of its code and meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


def of_verdict(verdict: Verdict) -> ExitCode:
    """Return the exit code that tells a verdict."""
    match verdict:
        case Verdict.REFUSE:
            return ExitCode.REFUSE
        case Verdict.ANSWER_FILTERED:
            return ExitCode.ANSWER_FILTERED
        case Verdict.PROCEED | Verdict.ANSWER:
            return ExitCode.OK


def of_error(error: PartialStateError) -> ExitCode:
    """Return the exit code that tells an error."""
    match error:
        case NoAnswerError():
            return ExitCode.NO_ANSWER
        case RoomNotPartialError():
            return ExitCode.NOT_PARTIAL
        case InvalidRequestError() | TooLargeError():
            return ExitCode.INVALID
        case UnauthenticatedError():
            return ExitCode.UNAUTHENTICATED
        case RefusedError():
            return ExitCode.PRECONDITION
        case _:
            return ExitCode.DEFECT

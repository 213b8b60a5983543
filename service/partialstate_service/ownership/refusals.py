"""Why the service refuses what a frontend hands it."""

from enum import StrEnum, auto


class InputFlaw(StrEnum):
    """What is wrong with an input. The names are those of `partialstate.v1.ErrorReason` without its prefix."""

    INVALID_FIELD = auto()
    INVALID_STREAM = auto()
    TRUNCATED_RESPONSE = auto()
    RESPONSE_NOT_PARTIAL = auto()
    MEMBERS_OMITTED_UNASKED = auto()
    NO_SERVERS_IN_ROOM = auto()
    ONLY_OURSELVES_IN_ROOM = auto()
    MISSING_CREATE_EVENT = auto()
    WRONG_ROOM_VERSION = auto()
    UNSUPPORTED_ROOM_VERSION = auto()
    EVENT_ID_MISMATCH = auto()
    INVALID_EVENT = auto()
    WRONG_ROOM = auto()
    NOT_OUR_JOIN = auto()
    TOO_LARGE = auto()
    INVALID_TOKEN = auto()


class RefusedInputError(Exception):
    """An input is refused, and nothing was stored. The text tells a person what to do; *facts* are for programs."""

    def __init__(self, flaw: InputFlaw, text: str, **facts: str | int) -> None:
        self.flaw = flaw
        self.facts = {name: str(value) for name, value in facts.items()}
        super().__init__(text)


def require_at_most(limit: int, given: int, field: str) -> None:
    """Raise TOO_LARGE if *given* items of *field* are more than *limit*."""
    if given > limit:
        raise RefusedInputError(
            InputFlaw.TOO_LARGE, f"{field} takes at most {limit}, not {given}", field=field, limit=limit
        )

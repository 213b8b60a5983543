"""The changes of the registry."""

from dataclasses import dataclass
from typing import TypeAlias

from partialstate.consistency import StateToken
from partialstate.rooms import Ending, PartialRoom


@dataclass(frozen=True, slots=True)
class RoomChanged:
    """A room came to be or changed: as it is now."""

    state_token: StateToken
    room: PartialRoom


@dataclass(frozen=True, slots=True)
class RoomEnded:
    """The partial state of a room ended."""

    state_token: StateToken
    room_id: str
    generation: int
    ending: Ending


@dataclass(frozen=True, slots=True)
class Bookmark:
    """All up to the token has been sent, though nothing changed."""

    state_token: StateToken


Change: TypeAlias = RoomChanged | RoomEnded | Bookmark

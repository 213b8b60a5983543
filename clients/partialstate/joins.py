"""Partial joins: what a homeserver tells of them, and what becomes of them."""

from dataclasses import dataclass
from enum import auto

from partialstate._api_name import ApiName
from partialstate.consistency import StateToken
from partialstate.rooms import Ending


class ResyncPriority(ApiName):
    """How urgent a resync is."""

    NORMAL = auto()
    """Nobody watches."""
    USER_WAITING = auto()
    """A user waits for the room."""


class RegistrationOutcome(ApiName):
    """What a registration came to."""

    REGISTERED = auto()
    """The room is partial with this generation."""
    ALREADY_REGISTERED = auto()
    """This join was registered before and is still partial."""
    ENDED = auto()
    """This join was registered before and its partial state has ended: nothing was changed."""
    UNKNOWN = auto()
    """An outcome of a newer service."""


class ReleaseReason(ApiName):
    """Why a room is released."""

    LEFT = auto()
    """No local user is in the room any more: it becomes ABANDONED."""
    PURGED = auto()
    """The homeserver holds no event of the room any more: it is removed."""
    JOIN_FAILED = auto()
    """No event of the join was persisted: the registration is removed. Refused for a confirmed join."""


@dataclass(frozen=True, slots=True)
class PartialJoin:
    """What the send_join response does not say of a partial join."""

    room_id: str
    room_version: str
    """As make_join gave it, such as "11"."""
    join_event: bytes
    """The join event as it was sent, as JSON. An `event` in the response replaces it."""
    joined_via: str
    """The server that answered send_join."""
    omit_members_requested: bool = True
    """Whether the request had omit_members=true."""
    device_list_position: int | None = None
    """The homeserver's device-list position at the join, handed back with the recovered state."""
    priority: ResyncPriority = ResyncPriority.NORMAL


@dataclass(frozen=True, slots=True)
class Registration:
    """What a registration came to."""

    generation: int
    """The generation of this partial join; the same however often the call is repeated."""
    outcome: RegistrationOutcome
    ending: Ending | None
    """How the partial state ended; set only with ENDED."""
    join_event_id: str
    """The id of the join event, recomputed from the event that counts."""
    state_token: StateToken

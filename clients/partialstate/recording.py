"""Events of partial rooms that a homeserver records before it persists or sends them."""

from dataclasses import dataclass
from enum import auto

from partialstate._api_name import ApiName
from partialstate.consistency import StateToken
from partialstate.events import Pdu


class ProvisionalVerdict(ApiName):
    """What the homeserver found of an event with partial state (the modified check of MSC3902)."""

    ACCEPTED = auto()
    """The event was accepted."""
    REJECTED = auto()
    """The event was rejected."""


class RecordOutcome(ApiName):
    """What became of one recorded event."""

    RECORDED = auto()
    """The event is the service's now: persist it as partial. Also the answer to a repetition."""
    ROOM_NOT_PARTIAL = auto()
    """The room became full meanwhile: recompute the event with full state, once."""
    EVENT_NOT_PARTIAL = auto()
    """All its prev events are imported and acknowledged: recompute the event with full state, once."""
    UNKNOWN = auto()
    """An outcome of a newer service."""


@dataclass(frozen=True, slots=True)
class PartialEvent:
    """An event whose state was computed from partial state."""

    pdu: Pdu
    provisional_verdict: ProvisionalVerdict
    non_member_state_after: tuple[Pdu, ...] = ()
    """Where the event changed it: every m.room.server_acl, m.room.join_rules and m.room.history_visibility then
    current, several where the homeserver cannot tell which holds. Empty: unchanged."""


@dataclass(frozen=True, slots=True)
class RecordedEvents:
    """What became of recorded events."""

    outcomes: tuple[RecordOutcome, ...]
    """One per event, in their order."""
    generation: int
    """The room's generation; 0 if the room is not partial."""
    state_token: StateToken


@dataclass(frozen=True, slots=True)
class SentEvent:
    """One event and the servers that it is about to be sent to."""

    event_id: str
    destinations: tuple[str, ...]

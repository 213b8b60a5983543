"""Events of partial rooms that a homeserver records before it persists or sends them."""

from dataclasses import dataclass
from enum import auto

from partialstate._api_name import ApiName
from partialstate.consistency import StateToken
from partialstate.events import Pdu, StateEntry


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
class IncomingEvent:
    """An event that came in while its room is partial, with what its authorisation needs beside what the service holds."""

    room_id: str
    pdu: Pdu
    state_before: tuple[StateEntry, ...]
    """The partial state before the event: every slot, or at least those that its authorisation reads; at most 1,000."""
    events: tuple[Pdu, ...] = ()
    """Events that the service may not hold: auth events of the event and of the state, and theirs; at most 1,000."""
    rejected_event_ids: tuple[str, ...] = ()
    """Events among all these that the homeserver holds as rejected; at most 1,000. Recorded events that still lack
    their full state need not be named."""


@dataclass(frozen=True, slots=True)
class IncomingVerdict:
    """The provisional verdict on an event that came in."""

    provisional_verdict: ProvisionalVerdict
    """As `PartialEvent` takes it."""
    rejecting_rule: str
    """For a rejected event: the name of the rule that rejects it, such as "SENDER_JOINED"."""
    rejection: str
    """For a rejected event: in a text for people, the facts of the case."""
    event_id: str
    """The event's id, recomputed."""
    generation: int
    """The room's generation."""


@dataclass(frozen=True, slots=True)
class SentEvent:
    """One event and the servers that it is about to be sent to."""

    event_id: str
    destinations: tuple[str, ...]

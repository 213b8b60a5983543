"""The recovered state of a room: records of a log that only grows."""

from dataclasses import dataclass
from typing import TypeAlias

from partialstate.consistency import StateToken
from partialstate.events import Pdu, StateEntry


@dataclass(frozen=True, slots=True)
class RecoveredEvent:
    """An event that the homeserver did not record itself."""

    position: int
    pdu: Pdu
    rejected: bool
    """Whether it failed auth; a rejected event is in no state, but other events may refer to it."""


@dataclass(frozen=True, slots=True)
class StateBefore:
    """The state before a recorded partial event, as a delta; one state may take several records."""

    position: int
    event_id: str
    base_event_id: str
    """The event whose state before it is the base; empty: the empty state."""
    entries: tuple[StateEntry, ...]
    complete: bool
    """Whether this is the last record of this state."""


@dataclass(frozen=True, slots=True)
class EventVerdict:
    """The final verdict on a recorded partial event."""

    position: int
    event_id: str
    accepted: bool
    flipped: bool
    """Whether that differs from the homeserver's provisional verdict."""
    rejection: str
    """For a rejected one: the rule that it breaks, and how."""


@dataclass(frozen=True, slots=True)
class CurrentState:
    """A part of the room's current state; entries replace what the records before said."""

    position: int
    base_event_id: str
    """If not empty, the current state begins anew as the state before this event, then the entries apply."""
    entries: tuple[StateEntry, ...]
    complete: bool
    """Whether this is the last record of this current state."""


@dataclass(frozen=True, slots=True)
class RoomServers:
    """Who is in the room with full state; records add to each other until one is complete."""

    position: int
    in_room: tuple[str, ...]
    """The servers with a joined member, without ourselves."""
    missed: tuple[str, ...]
    """Servers in the room at some time since the join that our recorded sends did not reach."""
    device_list_position: int | None
    """The device-list position at the join: local device changes since then are due to `missed`."""
    complete: bool


@dataclass(frozen=True, slots=True)
class LogEnd:
    """All committed records have been sent."""

    position: int
    """The log's last position: the one to confirm."""
    generation: int
    complete: bool
    """Whether `confirm_import` with this position can succeed."""
    event_count: int
    verdict_count: int


RecoveredRecord: TypeAlias = RecoveredEvent | StateBefore | EventVerdict | CurrentState | RoomServers | LogEnd


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """How far the import is acknowledged."""

    acknowledged_position: int
    state_token: StateToken

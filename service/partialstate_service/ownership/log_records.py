"""The records of the recovered-state log, as they are read (`resync/log_records.py` writes them)."""

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

from partialstate_service.domain.ids import EventId, Generation, Position, ServerName
from partialstate_service.matrix.event import StateKey


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event of the recovered state or its auth chain."""

    event_id: EventId
    json: bytes
    rejected: bool


@dataclass(frozen=True, slots=True)
class StateBeforeRecord:
    """The state before a recorded event, as a delta to the state before `base` (None: to the empty state)."""

    event_id: EventId
    base: EventId | None
    entries: tuple[tuple[StateKey, EventId | None], ...]
    """None removes the slot."""
    complete: bool


@dataclass(frozen=True, slots=True)
class VerdictRecord:
    """The final verdict on a recorded event."""

    event_id: EventId
    accepted: bool
    flipped: bool
    rejection: str


@dataclass(frozen=True, slots=True)
class CurrentStateRecord:
    """Slots of the current state that differ from what the records before say, or from the state before `base`."""

    base: EventId | None
    entries: tuple[tuple[StateKey, EventId | None], ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class ServersRecord:
    """Who is in the room, and who missed events that we sent meanwhile."""

    in_room: tuple[ServerName, ...]
    missed: tuple[ServerName, ...]
    device_list_position: int | None
    complete: bool


@dataclass(frozen=True, slots=True)
class EndRecord:
    """All that is committed has been sent; the counts are of the stream, so that its reader can compare."""

    generation: Generation
    position: Position
    complete: bool
    event_count: int
    verdict_count: int


LogRecord: TypeAlias = (
    EventRecord | StateBeforeRecord | VerdictRecord | CurrentStateRecord | ServersRecord | EndRecord
)


def read_record(data: bytes) -> LogRecord:
    """Return one record of a LOG segment. Raises `ValueError` or `KeyError` for what this service did not write."""
    fields = json.loads(data)
    match fields["t"]:
        case "state_before":
            return StateBeforeRecord(
                EventId(fields["event"]), _optional(fields["base"]), _entries(fields), fields["complete"]
            )
        case "verdict":
            return VerdictRecord(
                EventId(fields["event"]), fields["accepted"], fields["flipped"], fields["rejection"]
            )
        case "current_state":
            return CurrentStateRecord(_optional(fields["base"]), _entries(fields), fields["complete"])
        case "servers":
            return ServersRecord(
                tuple(map(ServerName, fields["in_room"])),
                tuple(map(ServerName, fields["missed"])),
                fields["device_list_position"],
                fields["complete"],
            )
        case other:
            raise ValueError(f"not a kind of log record: {other!a:.40}")


def _entries(fields: dict[str, Any]) -> tuple[tuple[StateKey, EventId | None], ...]:
    return tuple(((kind, key), _optional(event_id)) for kind, key, event_id in fields["entries"])


def _optional(event_id: str) -> EventId | None:
    return EventId(event_id) if event_id else None

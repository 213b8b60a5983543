"""The recovered state as a homeserver builds it from the records."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from partialstate import (
    CurrentState,
    EventVerdict,
    LogEnd,
    RecoveredEvent,
    RoomServers,
    StateBefore,
    StateEntry,
)
from partialstate_service.matrix.event import StateKey


@dataclass(slots=True)
class Recovered:
    """What the recovered-state log says, as a homeserver would build it from the records."""

    events: dict[str, RecoveredEvent] = field(default_factory=dict)
    before: dict[str, dict[StateKey, str]] = field(default_factory=dict)
    verdicts: dict[str, EventVerdict] = field(default_factory=dict)
    current: dict[StateKey, str] = field(default_factory=dict)
    servers: list[RoomServers] = field(default_factory=list)
    end: LogEnd | None = None

    @property
    def position(self) -> int:
        """The position to acknowledge or confirm."""
        assert self.end is not None
        return self.end.position

    def take(self, record: Any) -> None:
        """Import one record."""
        match record:
            case RecoveredEvent():
                self.events[record.pdu.event_id] = record
            case StateBefore():
                base = self.before[record.base_event_id] if record.base_event_id else {}
                _apply(self.before.setdefault(record.event_id, dict(base)), record.entries)
            case EventVerdict():
                self.verdicts[record.event_id] = record
            case CurrentState():
                if record.base_event_id:
                    self.current = dict(self.before[record.base_event_id])
                _apply(self.current, record.entries)
            case RoomServers():
                self.servers.append(record)
            case LogEnd():
                self.end = record


def _apply(state: dict[StateKey, str], entries: Iterable[StateEntry]) -> None:
    for entry in entries:
        if entry.event_id:
            state[entry.type, entry.state_key] = entry.event_id
        else:
            state.pop((entry.type, entry.state_key), None)

"""The recovered state as JSON lines: one per event, verdict and slot of state.

    {"record": "event", "position", "event_id", "rejected", "pdu"}
    {"record": "state_before", "position", "before", "base", "type", "state_key", "event_id"}
    {"record": "state_before_complete", "position", "before", "base"}
    {"record": "verdict", "position", "event_id", "accepted", "flipped", "rejection"}
    {"record": "current_state", "position", "base", "type", "state_key", "event_id"}
    {"record": "current_state_complete", "position", "base"}
    {"record": "servers", "position", "in_room", "missed", "device_list_position", "complete"}
    {"record": "end", "position", "generation", "complete", "event_count", "verdict_count"}
    {"record": "state", "type", "state_key", "event_id"}    with --current: the whole current state, and nothing else

A state is a delta: `base` names the event whose state before it is meant, null the empty state (state_before) or the
current state so far (current_state); an `event_id` of null removes the slot.
"""

import json
from collections.abc import Iterator
from typing import Any

from partialstate.cli.json_shapes import shape
from partialstate.errors import ServiceDefectError
from partialstate.events import Pdu, StateEntry
from partialstate.recovered_state import (
    CurrentState,
    EventVerdict,
    LogEnd,
    RecoveredEvent,
    RecoveredRecord,
    RoomServers,
    StateBefore,
)


def record_lines(record: RecoveredRecord) -> Iterator[dict[str, Any]]:
    """Yield the lines of one record."""
    match record:
        case RecoveredEvent(position, pdu, rejected):
            yield {
                "record": "event",
                "position": position,
                "event_id": pdu.event_id,
                "rejected": rejected,
                "pdu": _event(pdu),
            }
        case StateBefore(position, event_id, base, entries, complete):
            place = {"position": position, "before": event_id, "base": base or None}
            yield from _state("state_before", place, entries, complete=complete)
        case CurrentState(position, base, entries, complete):
            place = {"position": position, "base": base or None}
            yield from _state("current_state", place, entries, complete=complete)
        case EventVerdict():
            yield {"record": "verdict", **shape(record)}
        case RoomServers():
            yield {"record": "servers", **shape(record)}
        case LogEnd():
            yield {"record": "end", **shape(record)}


def _event(pdu: Pdu) -> Any:
    try:
        return json.loads(pdu.json)
    except (ValueError, RecursionError) as error:
        raise ServiceDefectError(f"the service sent an event that is not JSON: {pdu.event_id}") from error


def _state(
    record: str, place: dict[str, Any], entries: tuple[StateEntry, ...], *, complete: bool
) -> Iterator[dict[str, Any]]:
    for entry in entries:
        yield {
            "record": record,
            **place,
            "type": entry.type,
            "state_key": entry.state_key,
            "event_id": entry.event_id or None,
        }
    if complete:
        yield {"record": f"{record}_complete", **place}

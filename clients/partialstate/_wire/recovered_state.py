"""Records of recovered state, and changes of the registry."""

from partialstate._wire import names, rooms, words
from partialstate.changes import Bookmark, Change, RoomChanged, RoomEnded
from partialstate.recovered_state import (
    CurrentState,
    EventVerdict,
    LogEnd,
    RecoveredEvent,
    RecoveredRecord,
    RoomServers,
    StateBefore,
)
from partialstate.v1 import recovered_state_service_pb2 as recovered_pb
from partialstate.v1 import watch_service_pb2 as watch_pb


def record(  # noqa: PLR0911 - one for each kind of record
    message: recovered_pb.StreamRecoveredStateResponse,
) -> RecoveredRecord | None:
    """Return a record; None for a kind of a newer service."""
    position = message.position
    match message.WhichOneof("record"):
        case "event":
            return RecoveredEvent(position, words.pdu(message.event.pdu), message.event.rejected)
        case "state_before":
            before = message.state_before
            entries = tuple(map(words.entry, before.entries))
            return StateBefore(position, before.event_id, before.base_event_id, entries, before.complete)
        case "verdict":
            verdict = message.verdict
            return EventVerdict(
                position, verdict.event_id, verdict.accepted, verdict.flipped, verdict.rejection
            )
        case "current_state":
            current = message.current_state
            entries = tuple(map(words.entry, current.entries))
            return CurrentState(position, current.optional_base_event_id, entries, current.complete)
        case "servers":
            return _servers(position, message.servers)
        case "end":
            end = message.end
            return LogEnd(end.position, end.generation, end.complete, end.event_count, end.verdict_count)
        case None:
            return None


def _servers(position: int, message: recovered_pb.RoomServers) -> RoomServers:
    has_position = message.HasField("optional_device_list_position")
    return RoomServers(
        position=position,
        in_room=tuple(message.in_room),
        missed=tuple(message.missed),
        device_list_position=message.optional_device_list_position if has_position else None,
        complete=message.complete,
    )


def change(message: watch_pb.WatchResponse) -> Change:
    """Return a change or a bookmark."""
    token = words.token(message.state_token)
    match message.WhichOneof("event"):
        case "changed":
            return RoomChanged(token, rooms.room(message.changed))
        case "ended":
            ended = message.ended
            return RoomEnded(token, ended.room_id, ended.generation, names.ENDINGS.name(ended.ending))
        case None:
            return Bookmark(token)

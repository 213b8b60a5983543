"""RecoveredStateService: the handing over of what a resync recovered."""
# ruff: noqa: N802 - the names are those of the RPCs

from collections.abc import Callable, Sequence
from contextlib import aclosing

from partialstate.v1 import recovered_state_service_pb2 as pb
from partialstate.v1 import recovered_state_service_pb2_grpc as pb_grpc
from partialstate.v1 import types_pb2 as types_pb

from partialstate_service.domain.ids import EventId, Position
from partialstate_service.matrix.event import StateKey
from partialstate_service.ownership.log_records import (
    CurrentStateRecord,
    EndRecord,
    EventRecord,
    LogRecord,
    ServersRecord,
    StateBeforeRecord,
    VerdictRecord,
)
from partialstate_service.ownership.recovered_log import RecoveredLog
from partialstate_service.rpc import convert
from partialstate_service.rpc.grpc_types import Context
from partialstate_service.store.protocol import Registry


class RecoveredStateServicer(pb_grpc.RecoveredStateServiceServicer):
    """Serves RecoveredStateService."""

    def __init__(self, registry: Registry, log: RecoveredLog, now_ms: Callable[[], int]) -> None:
        self._registry = registry
        self._log = log
        self._now_ms = now_ms

    async def StreamRecoveredState(  # type: ignore[override]  # writes its answers: see `Guard`
        self, request: pb.StreamRecoveredStateRequest, context: Context
    ) -> None:
        """Send the log from a position."""
        records = self._log.stream(
            convert.room_id(request.room_id),
            convert.generation(request.generation),
            convert.position(request.after_position, "after_position"),
            follow=request.follow,
        )
        async with aclosing(records):
            async for position, record in records:
                await context.write(record_message(position, record))

    async def AckImport(self, request: pb.AckImportRequest, context: Context) -> pb.AckImportResponse:
        """Note up to where the homeserver has imported the log."""
        del context
        token, position = await self._registry.acknowledge(
            convert.room_id(request.room_id),
            convert.generation(request.generation),
            convert.position(request.position, "position"),
        )
        return pb.AckImportResponse(state_token=convert.token_message(token), acknowledged_position=position)

    async def ConfirmImport(
        self, request: pb.ConfirmImportRequest, context: Context
    ) -> pb.ConfirmImportResponse:
        """End the partial state of a room if all of it is imported."""
        del context
        token = await self._registry.confirm_import(
            convert.room_id(request.room_id),
            convert.generation(request.generation),
            convert.position(request.position, "position"),
            self._now_ms(),
        )
        return pb.ConfirmImportResponse(state_token=convert.token_message(token))


def record_message(position: Position, record: LogRecord) -> pb.StreamRecoveredStateResponse:
    """Return the message of one record."""
    message = pb.StreamRecoveredStateResponse(position=position)
    match record:
        case EventRecord(event_id, data, rejected):
            message.event.CopyFrom(
                pb.RecoveredEvent(pdu=types_pb.Pdu(event_id=event_id, json=data), rejected=rejected)
            )
        case StateBeforeRecord(event_id, base, entries, complete):
            message.state_before.CopyFrom(
                pb.StateBefore(
                    event_id=event_id,
                    base_event_id=base or "",
                    entries=_entries(entries),
                    complete=complete,
                )
            )
        case VerdictRecord(event_id, accepted, flipped, rejection):
            message.verdict.CopyFrom(
                pb.EventVerdict(event_id=event_id, accepted=accepted, flipped=flipped, rejection=rejection)
            )
        case CurrentStateRecord(base, entries, complete):
            message.current_state.CopyFrom(
                pb.CurrentState(
                    optional_base_event_id=base or "", entries=_entries(entries), complete=complete
                )
            )
        case ServersRecord(in_room, missed, device_list_position, complete):
            message.servers.CopyFrom(
                pb.RoomServers(
                    in_room=in_room,
                    missed=missed,
                    optional_device_list_position=device_list_position,
                    complete=complete,
                )
            )
        case EndRecord(generation, end, complete, event_count, verdict_count):
            message.end.CopyFrom(
                pb.LogEnd(
                    generation=generation,
                    position=end,
                    complete=complete,
                    event_count=event_count,
                    verdict_count=verdict_count,
                )
            )
    return message


def _entries(entries: Sequence[tuple[StateKey, EventId | None]]) -> list[types_pb.StateEntry]:
    return [
        types_pb.StateEntry(type=kind, state_key=key, event_id=event_id or "")
        for (kind, key), event_id in entries
    ]

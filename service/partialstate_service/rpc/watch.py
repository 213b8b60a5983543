"""WatchService: the changes of the registry, as they happen."""
# ruff: noqa: N802 - the names are those of the RPCs

from collections import OrderedDict
from contextlib import aclosing

from partialstate.v1 import watch_service_pb2 as pb
from partialstate.v1 import watch_service_pb2_grpc as pb_grpc

from partialstate_service.rpc import convert
from partialstate_service.rpc.grpc_types import Context
from partialstate_service.store.protocol import Change, Mirror

_QUEUE_LIMIT = 10_000
"""How many changes a reader may lag behind before it is ended."""
_KEPT_MESSAGES = 100


class WatchServicer(pb_grpc.WatchServiceServicer):
    """Serves WatchService."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._messages: OrderedDict[int, tuple[Change, pb.WatchResponse]] = OrderedDict()

    async def Watch(  # type: ignore[override]  # writes its answers: see `Guard`
        self, request: pb.WatchRequest, context: Context
    ) -> None:
        """Send every change after a token."""
        after = None
        if request.HasField("optional_after"):
            after = convert.state_token(request.optional_after)
        room_id = convert.room_id(request.room_id) if request.room_id else None
        async with aclosing(self._mirror.watch(after, _QUEUE_LIMIT, room_id)) as changes:
            async for change in changes:
                await context.write(self._message(change))

    def _message(self, change: Change) -> pb.WatchResponse:
        """Return the message of a change, made once for all who watch at about the same time."""
        known = self._messages.get(id(change))
        # The change is kept with its message, so that its id is not another one's meanwhile.
        if known is not None and known[0] is change:
            return known[1]
        message = change_message(change)
        self._messages[id(change)] = change, message
        if len(self._messages) > _KEPT_MESSAGES:
            self._messages.popitem(last=False)
        return message


def change_message(change: Change) -> pb.WatchResponse:
    """Return the message of a change, or of a bookmark."""
    message = pb.WatchResponse(state_token=convert.token_message(change.token))
    if change.room is not None:
        message.changed.CopyFrom(convert.room_message(change.room))
    elif (tombstone := change.tombstone) is not None:
        message.ended.CopyFrom(
            pb.RoomEnded(
                room_id=tombstone.room_id,
                generation=tombstone.generation,
                ending=convert.ending_value(tombstone.ending),
            )
        )
    return message

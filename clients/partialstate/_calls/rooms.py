"""The calls of RoomsService."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import TypeVar

from partialstate._calls.connection import Connection
from partialstate._wire import joins as joins_wire
from partialstate._wire import names, words
from partialstate._wire import rooms as rooms_wire
from partialstate.consistency import StateToken
from partialstate.joins import PartialJoin, Registration, ReleaseReason
from partialstate.reconciliation import HeldRoom, Reconciliation
from partialstate.recording import IncomingEvent, IncomingVerdict, PartialEvent, RecordedEvents, SentEvent
from partialstate.rooms import Destinations, RoomSnapshot, RoomsPage, RoomStatus
from partialstate.v1 import rooms_service_pb2 as pb
from partialstate.v1 import types_pb2
from partialstate.v1.rooms_service_pb2_grpc import RoomsServiceStub

_CHUNK_BYTES = 256 * 1024

_Item = TypeVar("_Item")


class RoomsCalls(Connection):
    """The calls of RoomsService. Each is idempotent: repeated, it gives the same result."""

    async def register_partial_join(
        self, join: PartialJoin, response: bytes | Iterable[bytes] | AsyncIterable[bytes]
    ) -> Registration:
        """Make a room partial. Call it before the join is persisted.

        *response* is the raw body of the send_join response, whole or in pieces of any size. A body that can be read
        only once (an iterator) is not sent again when the service fails meanwhile: then `UnavailableError` means to
        repeat the call with the whole body.

        Raises `ResponseNotPartialError` if the response is complete, `InvalidRequestError` if the join is to be
        refused.
        """

        async def messages() -> AsyncIterator[pb.RegisterPartialJoinRequest]:
            yield joins_wire.header_message(join)
            async for piece in _each((response,) if isinstance(response, bytes) else response):
                for start in range(0, len(piece), _CHUNK_BYTES):
                    chunk = piece[start : start + _CHUNK_BYTES]
                    yield pb.RegisterPartialJoinRequest(send_join_response_chunk=chunk)

        method = self._stub(RoomsServiceStub).RegisterPartialJoin
        answer = await self._upload(
            method, messages, self.deadlines.upload_s, repeatable=_is_repeatable(response)
        )
        return joins_wire.registration(answer)

    async def confirm_join(self, room_id: str, generation: int) -> StateToken:
        """Say that the join event is persisted."""
        request = pb.ConfirmJoinRequest(room_id=room_id, generation=generation)
        method = self._stub(RoomsServiceStub).ConfirmJoin
        return words.token((await self._unary(method, request, self.deadlines.write_s)).state_token)

    async def record_partial_events(self, room_id: str, events: Sequence[PartialEvent]) -> RecordedEvents:
        """Record events whose state was computed from partial state, oldest first, at most 500.

        Call it before they are persisted. A room that is full by now is no error: the outcomes say so.
        """
        request = pb.RecordPartialEventsRequest(
            room_id=room_id, events=map(joins_wire.partial_event_message, events)
        )
        method = self._stub(RoomsServiceStub).RecordPartialEvents
        return joins_wire.recorded(await self._unary(method, request, self.deadlines.write_s))

    async def authorise_incoming_event(self, event: IncomingEvent) -> IncomingVerdict:
        """Return the provisional verdict on an event that came in while its room is partial (MSC3902).

        Call it between verifying an event and `record_partial_events`, or do the same check yourself. Signatures are the
        caller's to verify. Raises `MissingEventsError`, which says with which events to repeat the call, and
        `RoomNotPartialError`.
        """
        request = joins_wire.incoming_event_message(event)
        method = RoomsServiceStub(self._channel).AuthoriseIncomingEvent
        return joins_wire.incoming_verdict(await self._unary(method, request, self.deadlines.read_s))

    async def record_sent_events(self, room_id: str, events: Sequence[SentEvent]) -> bool:
        """Record which events are about to be sent to which servers, at most 500; return whether the room is partial.

        Call it before sending. If it fails, send anyway and repeat it: the cost is a needless refusal.
        """
        request = pb.RecordSentEventsRequest(
            room_id=room_id, events=map(joins_wire.sent_event_message, events)
        )
        method = self._stub(RoomsServiceStub).RecordSentEvents
        is_partial: bool = (await self._unary(method, request, self.deadlines.write_s)).room_is_partial
        return is_partial

    async def get_partial_room(self, room_id: str) -> RoomSnapshot:
        """Return a room with its resync's progress. Raises `RoomNotPartialError`."""
        request = pb.GetPartialRoomRequest(room_id=room_id)
        method = self._stub(RoomsServiceStub).GetPartialRoom
        return rooms_wire.snapshot(await self._unary(method, request, self.deadlines.read_s))

    async def list_partial_rooms(
        self, *, statuses: Iterable[RoomStatus] = (), page_size: int = 0
    ) -> AsyncGenerator[RoomsPage, None]:
        """Yield the partial rooms page by page, ordered by room id; at least one page, be it empty.

        *statuses* restricts the list; *page_size* 0 means 100, and 1,000 is the most.
        """
        request = pb.ListPartialRoomsRequest(
            page_size=page_size,
            statuses=(types_pb2.RoomStatus.ValueType(names.STATUSES.number(status)) for status in statuses),
        )
        method = self._stub(RoomsServiceStub).ListPartialRooms
        while True:
            answer = await self._unary(method, request, self.deadlines.read_s)
            yield rooms_wire.page(answer)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    async def reconcile_rooms(
        self, state_token: StateToken, rooms: Iterable[HeldRoom] | AsyncIterable[HeldRoom]
    ) -> Reconciliation:
        """Compare the rooms that the homeserver holds as partial with the registry, and register unknown ones.

        *state_token* is that of `list_partial_rooms` before the homeserver listed its own. Never releases a room. An
        iterator of *rooms* is not sent again when the service fails meanwhile.
        """

        async def messages() -> AsyncIterator[pb.ReconcileRoomsRequest]:
            header = pb.ReconcileRoomsHeader(state_token=words.token_message(state_token))
            yield pb.ReconcileRoomsRequest(header=header)
            async for room in _each(rooms):
                yield joins_wire.held_room_message(room)

        method = self._stub(RoomsServiceStub).ReconcileRooms
        answer = await self._upload(
            method, messages, self.deadlines.upload_s, repeatable=_is_repeatable(rooms)
        )
        return joins_wire.reconciliation(answer)

    async def get_destinations(self, room_id: str) -> Destinations:
        """Return the servers that events of a partial room must be sent to. Raises `RoomNotPartialError`."""
        request = pb.GetDestinationsRequest(room_id=room_id)
        method = self._stub(RoomsServiceStub).GetDestinations
        return rooms_wire.destinations(await self._unary(method, request, self.deadlines.read_s))

    async def retry_resync(self, room_id: str, *, additional_servers: Iterable[str] = ()) -> RoomSnapshot:
        """Make the room's next attempt due now and forget cooldowns; ask *additional_servers* too, at most 100.

        A room whose status is AWAITING_IMPORT afterwards had nothing to retry.
        """
        request = pb.RetryResyncRequest(room_id=room_id, additional_servers=additional_servers)
        method = self._stub(RoomsServiceStub).RetryResync
        return rooms_wire.snapshot(await self._unary(method, request, self.deadlines.write_s))

    async def release_room(self, room_id: str, generation: int, reason: ReleaseReason) -> StateToken:
        """End the homeserver's interest in a room, at once; a later generation is not touched.

        Raises `JoinConfirmedError` for JOIN_FAILED of a confirmed join.
        """
        request = pb.ReleaseRoomRequest(
            room_id=room_id,
            generation=generation,
            reason=pb.ReleaseReason.ValueType(names.RELEASE_REASONS.number(reason)),
        )
        method = self._stub(RoomsServiceStub).ReleaseRoom
        return words.token((await self._unary(method, request, self.deadlines.write_s)).state_token)


async def _each(items: Iterable[_Item] | AsyncIterable[_Item]) -> AsyncIterator[_Item]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _is_repeatable(items: Iterable[_Item] | AsyncIterable[_Item]) -> bool:
    """Whether the items can be read again: a collection can, an iterator cannot."""
    return isinstance(items, Iterable) and iter(items) is not items

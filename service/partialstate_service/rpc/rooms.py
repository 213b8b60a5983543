"""RoomsService: ownership of the partial rooms."""
# ruff: noqa: N802 - the names are those of the RPCs

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from partialstate.v1 import rooms_service_pb2 as pb
from partialstate.v1 import rooms_service_pb2_grpc as pb_grpc

from partialstate_service.domain.destinations import destinations
from partialstate_service.domain.ids import RoomId, ServerName
from partialstate_service.domain.rooms import ReleaseReason
from partialstate_service.ownership.incoming import IncomingAuthorisation
from partialstate_service.ownership.reconciliation import Difference, Reconciliation
from partialstate_service.ownership.recording import MAX_RECORDED_EVENTS, Recording
from partialstate_service.ownership.refusals import RefusedInputError, require_at_most
from partialstate_service.ownership.registration import Registration
from partialstate_service.rpc import convert, uploads
from partialstate_service.rpc.grpc_types import Context
from partialstate_service.rpc.status import failure_of
from partialstate_service.store.protocol import Bulk, Ledger, Registry

_DEFAULT_PAGE = 100
_MAX_PAGE = 1000
_MAX_ADDITIONAL_SERVERS = 100
_MAX_DESTINATIONS = 100_000

_RELEASE_REASONS = {
    pb.ReleaseReason.Value(f"RELEASE_REASON_{reason.name}"): reason for reason in ReleaseReason
}


@dataclass(frozen=True, slots=True)
class RoomsLimits:
    """What a call may bring."""

    max_send_join_bytes: int
    """The largest send_join response; it is held in memory."""


class RoomsServicer(pb_grpc.RoomsServiceServicer):
    """Serves RoomsService for the homeserver *us*."""

    def __init__(
        self,
        *,
        registry: Registry,
        bulk: Bulk,
        ledger: Ledger,
        us: ServerName,
        now_ms: Callable[[], int],
        limits: RoomsLimits,
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._us = us
        self._now_ms = now_ms
        self._limits = limits
        self._registration = Registration(registry, bulk, us, now_ms)
        self._recording = Recording(registry, us, now_ms)
        self._incoming = IncomingAuthorisation(registry, bulk)
        self._reconciliation = Reconciliation(registry, bulk, us, now_ms)

    async def RegisterPartialJoin(
        self, request_iterator: AsyncIterator[pb.RegisterPartialJoinRequest], context: Context
    ) -> pb.RegisterPartialJoinResponse:
        """Make a room partial."""
        del context
        message, body = await uploads.read_registration(request_iterator, self._limits.max_send_join_bytes)
        registered, join_event_id = await self._registration.register(
            uploads.join_header(message),
            body,
            convert.priority_of(message.priority),
            message.optional_device_list_position
            if message.HasField("optional_device_list_position")
            else None,
        )
        return pb.RegisterPartialJoinResponse(
            generation=registered.generation,
            outcome=pb.RegistrationOutcome.Value(f"REGISTRATION_OUTCOME_{registered.outcome.name}"),
            optional_ending=None if registered.ending is None else convert.ending_value(registered.ending),
            state_token=convert.token_message(registered.token),
            join_event_id=join_event_id,
        )

    async def ConfirmJoin(self, request: pb.ConfirmJoinRequest, context: Context) -> pb.ConfirmJoinResponse:
        """Mark the join as persisted."""
        del context
        token = await self._registry.confirm_join(
            convert.room_id(request.room_id), convert.generation(request.generation)
        )
        return pb.ConfirmJoinResponse(state_token=convert.token_message(token))

    async def RecordPartialEvents(
        self, request: pb.RecordPartialEventsRequest, context: Context
    ) -> pb.RecordPartialEventsResponse:
        """Record events that were computed from partial state."""
        del context
        events = [
            convert.partial_event(event, f"events[{index}]") for index, event in enumerate(request.events)
        ]
        outcomes, generation, token = await self._recording.record(convert.room_id(request.room_id), events)
        return pb.RecordPartialEventsResponse(
            outcomes=[pb.RecordOutcome.Value(f"RECORD_OUTCOME_{outcome.name}") for outcome in outcomes],
            generation=generation,
            state_token=convert.token_message(token),
        )

    async def AuthoriseIncomingEvent(
        self, request: pb.AuthoriseIncomingEventRequest, context: Context
    ) -> pb.AuthoriseIncomingEventResponse:
        """Give the provisional verdict on an event."""
        del context
        verdict = await self._incoming.authorise(convert.incoming_event(request))
        rejection = verdict.rejection
        return pb.AuthoriseIncomingEventResponse(
            provisional_verdict=pb.PROVISIONAL_VERDICT_ACCEPTED
            if rejection is None
            else pb.PROVISIONAL_VERDICT_REJECTED,
            rejecting_rule="" if rejection is None else rejection.rule.name,
            rejection="" if rejection is None else rejection.text,
            event_id=verdict.event_id,
            generation=verdict.generation,
        )

    async def RecordSentEvents(
        self, request: pb.RecordSentEventsRequest, context: Context
    ) -> pb.RecordSentEventsResponse:
        """Record what is about to be sent, and to whom."""
        del context
        require_at_most(MAX_RECORDED_EVENTS, len(request.events), "events")
        sent = []
        for index, event in enumerate(request.events):
            field = f"events[{index}]"
            require_at_most(_MAX_DESTINATIONS, len(event.destinations), f"{field}.destinations")
            servers = [convert.server_name(name, f"{field}.destinations") for name in event.destinations]
            sent.append((convert.event_id(event.event_id, f"{field}.event_id"), servers))
        is_partial = await self._ledger.record(convert.room_id(request.room_id), sent)
        return pb.RecordSentEventsResponse(room_is_partial=is_partial)

    async def GetPartialRoom(
        self, request: pb.GetPartialRoomRequest, context: Context
    ) -> pb.GetPartialRoomResponse:
        """Return one room."""
        del context
        # The token first: a room newer than its token makes a watcher see a change twice, an older one never.
        token = await self._registry.read_token()
        room = await self._registry.get(convert.room_id(request.room_id))
        return pb.GetPartialRoomResponse(
            room=convert.room_message(room), state_token=convert.token_message(token)
        )

    async def ListPartialRooms(
        self, request: pb.ListPartialRoomsRequest, context: Context
    ) -> pb.ListPartialRoomsResponse:
        """Return a page of rooms."""
        del context
        if request.page_size < 0:
            raise convert.invalid_field("page_size", "page_size must not be negative")
        after: RoomId | None = None
        if request.page_token:
            after = convert.room_id(request.page_token, "page_token")
        rooms, next_after, token = await self._registry.page(
            after,
            min(request.page_size or _DEFAULT_PAGE, _MAX_PAGE),
            frozenset(map(convert.status_of, request.statuses)),
        )
        return pb.ListPartialRoomsResponse(
            rooms=map(convert.room_message, rooms),
            next_page_token=next_after or "",
            state_token=convert.token_message(token),
        )

    async def ReconcileRooms(
        self, request_iterator: AsyncIterator[pb.ReconcileRoomsRequest], context: Context
    ) -> pb.ReconcileRoomsResponse:
        """Compare the registry with what the homeserver holds."""
        del context
        header = await uploads.read_reconciliation_header(request_iterator)
        found, token = await self._reconciliation.reconcile(
            convert.state_token(header.state_token), uploads.held_rooms(request_iterator)
        )
        return pb.ReconcileRoomsResponse(
            registered=map(_difference, found.registered),
            failed=[_unregistrable(room_id, error) for room_id, error in found.failed.items()],
            unknown_to_homeserver=map(_difference, found.unknown_to_homeserver),
            ended=map(_difference, found.ended),
            agreed_count=len(found.agreed.keys() - {room.room_id for room in found.registered}),
            state_token=convert.token_message(token),
        )

    async def GetDestinations(
        self, request: pb.GetDestinationsRequest, context: Context
    ) -> pb.GetDestinationsResponse:
        """Return the servers that events of the room are sent to."""
        del context
        room = await self._registry.get(convert.room_id(request.room_id))
        return pb.GetDestinationsResponse(
            servers=destinations(room.servers, us=self._us), generation=room.generation
        )

    async def RetryResync(self, request: pb.RetryResyncRequest, context: Context) -> pb.RetryResyncResponse:
        """Make a room due now."""
        del context
        require_at_most(_MAX_ADDITIONAL_SERVERS, len(request.additional_servers), "additional_servers")
        additional = [convert.server_name(name, "additional_servers") for name in request.additional_servers]
        room = await self._registry.retry(
            convert.room_id(request.room_id),
            [server for server in additional if server != self._us],
            self._now_ms(),
        )
        return pb.RetryResyncResponse(
            room=convert.room_message(room),
            state_token=convert.token_message(await self._registry.read_token()),
        )

    async def ReleaseRoom(self, request: pb.ReleaseRoomRequest, context: Context) -> pb.ReleaseRoomResponse:
        """End the homeserver's interest in a room."""
        del context
        reason = _RELEASE_REASONS.get(request.reason)
        if reason is None:
            raise convert.invalid_field("reason", "reason must be given")
        token = await self._registry.release(
            convert.room_id(request.room_id), convert.generation(request.generation), reason, self._now_ms()
        )
        return pb.ReleaseRoomResponse(state_token=convert.token_message(token))


def _difference(difference: Difference) -> pb.ReconciledRoom:
    ending = difference.ending
    return pb.ReconciledRoom(
        room_id=difference.room_id,
        generation=difference.generation,
        join_confirmed=difference.join_confirmed,
        optional_ending=None if ending is None else convert.ending_value(ending),
    )


def _unregistrable(room_id: RoomId, error: RefusedInputError) -> pb.UnregistrableRoom:
    failure = failure_of(error)
    assert failure is not None
    return pb.UnregistrableRoom(room_id=room_id, reason=failure.reason_name, message=str(error))

"""AuthoriseIncomingEvent: MSC3902's provisional verdict on an event that comes in while its room is partial."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import dataclass

from partialstate_service.domain.errors import MissingEventsError
from partialstate_service.domain.ids import EventId, Generation, RoomId
from partialstate_service.matrix.event import Event, StateMap
from partialstate_service.matrix.event_auth import AuthRejectionError, claimed_auth_event_ids
from partialstate_service.matrix.incoming import check_incoming
from partialstate_service.matrix.room_versions import RoomVersion, room_version
from partialstate_service.ownership.gathering import Gathering
from partialstate_service.ownership.given_events import parse_given
from partialstate_service.ownership.recording import GivenPdu
from partialstate_service.ownership.refusals import require_at_most
from partialstate_service.store.protocol import Bulk, RecordedEvent, Registry

MAX_GIVEN = 1000
"""Slots of state, events and rejected ids that one call may bring."""
_MAX_READ_BYTES = 32 * 1024 * 1024
"""Of a room's chunks, as stored. What lies beyond counts as missing, so that a call costs a bounded time."""


@dataclass(frozen=True, slots=True)
class IncomingEvent:
    """An event, the partial state before it, and what the caller holds and knows beside."""

    room_id: RoomId
    pdu: GivenPdu
    state_before: StateMap
    events: Sequence[GivenPdu]
    rejected: AbstractSet[EventId]


@dataclass(frozen=True, slots=True)
class IncomingVerdict:
    """The provisional verdict; `rejection` is None for an accepted event."""

    event_id: EventId
    generation: Generation
    rejection: AuthRejectionError | None


@dataclass(frozen=True, slots=True)
class IncomingAuthorisation:
    """Authorises incoming events."""

    registry: Registry
    bulk: Bulk

    async def authorise(self, incoming: IncomingEvent) -> IncomingVerdict:
        """Return the verdict.

        Raises `RefusedInputError`, `RoomNotPartialError`, and `MissingEventsError` where neither the caller nor the
        store has all that the verdict needs.
        """
        for given, field in (
            (incoming.state_before, "state_before"),
            (incoming.events, "events"),
            (incoming.rejected, "rejected_event_ids"),
        ):
            require_at_most(MAX_GIVEN, len(given), field)
        room = await self.registry.get(incoming.room_id)
        version = room_version(room.room_version)
        event = parse_given(incoming.pdu.json, version, incoming.room_id, "pdu", incoming.pdu.event_id)
        gathering = Gathering(incoming.room_id, version, _given_events(incoming, version))
        recorded = await self.registry.recorded_events(incoming.room_id)
        gathering.bring((item.event_id, item.json) for item in recorded)
        gathering.want([*incoming.state_before.values(), *claimed_auth_event_ids(event)])
        async with aclosing(self._held_events(incoming.room_id)) as pieces:
            while gathering.missing and (piece := await anext(pieces, None)) is not None:
                await asyncio.to_thread(gathering.bring, piece)
        if gathering.missing:
            raise MissingEventsError(incoming.room_id, frozenset(gathering.missing))
        rejected = _rejected(incoming, recorded)
        rejection = await asyncio.to_thread(
            _rejection, event, incoming.state_before, gathering.events, rejected
        )
        return IncomingVerdict(event.event_id, room.generation, rejection)

    async def _held_events(self, room_id: RoomId) -> AsyncGenerator[list[tuple[EventId, bytes]], None]:
        """Yield the events of the send_join response, then those fetched since, chunk by chunk."""
        read_bytes = 0
        for chunk in await self.registry.held_chunks(room_id):
            read_bytes += chunk.size
            if read_bytes > _MAX_READ_BYTES:
                return
            yield [(item.event_id, item.json) for item in await self.bulk.pdus(chunk)]


def _given_events(incoming: IncomingEvent, version: RoomVersion) -> dict[EventId, Event]:
    parsed = (
        parse_given(pdu.json, version, incoming.room_id, f"events[{index}]", pdu.event_id)
        for index, pdu in enumerate(incoming.events)
    )
    return {event.event_id: event for event in parsed}


def _rejected(incoming: IncomingEvent, recorded: Sequence[RecordedEvent]) -> AbstractSet[EventId]:
    """Return what the caller says is rejected, and what it said when it recorded an event that nobody has judged since."""
    provisionally = {item.event_id for item in recorded if not item.accepted and not item.resolved}
    return incoming.rejected | (provisionally - set(incoming.state_before.values()))


def _rejection(
    event: Event, state_before: StateMap, events: dict[EventId, Event], rejected: AbstractSet[EventId]
) -> AuthRejectionError | None:
    try:
        check_incoming(event, state_before, events, rejected)
    except AuthRejectionError as rejection:
        return rejection
    return None

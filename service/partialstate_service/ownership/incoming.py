"""AuthoriseIncomingEvent: MSC3902's provisional verdict on an event that comes in while its room is partial."""

import asyncio
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

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
_CONCURRENT_READS = 4
"""Calls that read a room's chunks at a time, each of which may unpack some tens of megabytes."""


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
    max_read_bytes: int = 8 * 1024 * 1024
    """How much of a room's chunks one call reads, as stored; what lies beyond counts as missing."""
    _reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONCURRENT_READS))

    async def authorise(self, incoming: IncomingEvent) -> IncomingVerdict:
        """Return the verdict.

        Raises `RefusedInputError`, `RoomNotPartialError`, and `MissingEventsError` where neither the caller nor the
        store has all that the verdict needs.
        """
        for given, name in (
            (incoming.state_before, "state_before"),
            (incoming.events, "events"),
            (incoming.rejected, "rejected_event_ids"),
        ):
            require_at_most(MAX_GIVEN, len(given), name)
        room = await self.registry.get(incoming.room_id)
        version = room_version(room.room_version)
        event = parse_given(incoming.pdu.json, version, incoming.room_id, "pdu", incoming.pdu.event_id)
        gathering = Gathering(incoming.room_id, version, _given_events(incoming, version))
        gathering.want([*incoming.state_before.values(), *claimed_auth_event_ids(event)])
        recorded: dict[EventId, RecordedEvent] = {}
        await self._bring_recorded(gathering, incoming.room_id, recorded)
        if gathering.missing:
            async with self._reading:
                await self._bring_held(gathering, incoming.room_id)
            await self._bring_recorded(gathering, incoming.room_id, recorded)
        if gathering.missing:
            raise MissingEventsError(incoming.room_id, frozenset(gathering.missing))
        rejected = _rejected(incoming, recorded.values())
        rejection = await asyncio.to_thread(
            _rejection, event, incoming.state_before, gathering.events, rejected
        )
        return IncomingVerdict(event.event_id, room.generation, rejection)

    async def _bring_recorded(
        self, gathering: Gathering, room_id: RoomId, recorded: dict[EventId, RecordedEvent]
    ) -> None:
        """Bring what is missing and recorded, until nothing more is; *recorded* gets what was found of all events."""
        asked: set[EventId] = set(recorded)
        while wanted := (gathering.missing | gathering.events.keys()) - asked:
            asked |= wanted
            found = await self.registry.recorded_among(room_id, wanted)
            recorded.update((item.event_id, item) for item in found)
            gathering.bring((item.event_id, item.json) for item in found)

    async def _bring_held(self, gathering: Gathering, room_id: RoomId) -> None:
        """Bring the events of the send_join response, then those fetched since, until nothing is missing."""
        read_bytes = 0
        for chunk in await self.registry.held_chunks(room_id):
            read_bytes += chunk.size
            if read_bytes > self.max_read_bytes:
                return
            items = await self.bulk.pdus(chunk)
            await asyncio.to_thread(gathering.bring, [(item.event_id, item.json) for item in items])
            if not gathering.missing:
                return


def _given_events(incoming: IncomingEvent, version: RoomVersion) -> dict[EventId, Event]:
    parsed = (
        parse_given(pdu.json, version, incoming.room_id, f"events[{index}]", pdu.event_id)
        for index, pdu in enumerate(incoming.events)
    )
    return {event.event_id: event for event in parsed}


def _rejected(incoming: IncomingEvent, recorded: Iterable[RecordedEvent]) -> AbstractSet[EventId]:
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

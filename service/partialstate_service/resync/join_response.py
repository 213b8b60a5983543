"""The events of the send_join response, as the store keeps them: verified, and searched for the create event."""

import asyncio
from collections import ChainMap
from collections.abc import Iterable, Sequence

from partialstate_service.domain.ids import EventId, RoomId
from partialstate_service.domain.rooms import StateSummary
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.parsing import parse_event_bytes
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.resync.held import HeldEvents
from partialstate_service.resync.seeds import create_event_of, summary_is_verified
from partialstate_service.resync.verifier import Verifier
from partialstate_service.store.protocol import Bulk, Chunk

_BATCH_EVENTS = 500


class JoinResponse:
    """What the server that we joined through sent of the room."""

    def __init__(self, bulk: Bulk, chunks: Sequence[Chunk], held: HeldEvents, version: RoomVersion) -> None:
        self._bulk = bulk
        self._chunks = chunks
        self._held = held
        self._version = version

    async def verify(self, verifier: Verifier, room_id: RoomId, summary: StateSummary) -> bool:
        """Hold what can be verified; return whether that is all that *summary* tells."""
        for chunk in self._chunks:
            items = [item for item in await self._bulk.pdus(chunk) if item.event_id not in self._held]
            for start in range(0, len(items), _BATCH_EVENTS):
                bodies = [item.json for item in items[start : start + _BATCH_EVENTS]]
                result = await verifier.verify(bodies, self._version, room_id)
                # What was altered on its way to us, others have as it was: that is fetched with the state.
                await self._held.add_verified([event for event in result.valid if event.hash_matches])
        await self._held.flush()
        return await asyncio.to_thread(summary_is_verified, summary, self._held.events)

    async def create_id(self, recorded: Iterable[EventId]) -> EventId | None:
        """Return the id of the create event that a *recorded* event names; its signature is not needed for that."""
        unverified: dict[EventId, Event] = {}
        for chunk in self._chunks:
            for item in await self._bulk.pdus(chunk):
                if item.event_id not in self._held:
                    unverified[item.event_id] = parse_event_bytes(item.json, self._version)
        candidates = ChainMap(unverified, self._held.events)
        found = (create_event_of(self._held.events[event_id], candidates) for event_id in recorded)
        return next((create_id for create_id in found if create_id is not None), None)

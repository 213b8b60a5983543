"""The verified events of one room that a worker holds, kept in the store as they come.

Events are content-addressed and verified once: after a crash, a failover or a further partial event what is held is
loaded and not fetched again.
"""

import asyncio
from collections.abc import MutableMapping, Sequence
from contextlib import suppress

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.canonical_json import encode_canonical
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.parsing import InvalidEventError, parse_event_bytes
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.store.protocol import Bulk, Chunk, ChunkKind, Lease, PduItem, Registry

_CHUNK_EVENTS = 500
"""Events per chunk: what a crash can lose of the work done."""


class HeldEvents:
    """The events by id, and which chunk of the store holds each verified one."""

    def __init__(self, registry: Registry, bulk: Bulk, lease: Lease, version: RoomVersion) -> None:
        self._registry = registry
        self._bulk = bulk
        self._lease = lease
        self._version = version
        self._unsaved: dict[EventId, Event] = {}
        self.events: MutableMapping[EventId, Event] = {}
        self.chunks: list[tuple[Chunk, frozenset[EventId]]] = []
        """The chunks of verified events with the ids that they hold, in the order of commit."""

    def __contains__(self, event_id: EventId) -> bool:
        return event_id in self.events

    @property
    def verified(self) -> int:
        """How many verified events are held, saved or not."""
        return sum(len(ids) for _, ids in self.chunks) + len(self._unsaved)

    async def load(self, chunks: Sequence[Chunk]) -> None:
        """Take up the events of committed *chunks*."""
        for chunk in chunks:
            items = await self._bulk.pdus(chunk)
            self.chunks.append((chunk, frozenset(item.event_id for item in items)))
            for event in await asyncio.to_thread(self._parsed, items):
                self.events[event.event_id] = event

    async def add_verified(self, events: Sequence[Event]) -> None:
        """Hold verified events, and save them as soon as they fill a chunk."""
        for event in events:
            if event.event_id not in self.events or event.event_id in self._unsaved:
                self.events[event.event_id] = event
                self._unsaved[event.event_id] = event
        while len(self._unsaved) >= _CHUNK_EVENTS:
            await self._save(list(self._unsaved)[:_CHUNK_EVENTS])

    def add_recorded(self, event: Event) -> None:
        """Hold an event that the homeserver recorded: it has verified it, and the store holds it already."""
        self.events.setdefault(event.event_id, event)

    async def flush(self) -> None:
        """Save what is not saved yet."""
        if self._unsaved:
            await self._save(list(self._unsaved))

    async def _save(self, event_ids: Sequence[EventId]) -> None:
        items = [PduItem(event_id, self._encoded(self._unsaved[event_id])) for event_id in event_ids]
        owner = f"{self._lease.generation}.{self._lease.fencing}"
        chunk = await self._bulk.put(self._lease.room_id, ChunkKind.VERIFIED, owner, items)
        await self._registry.commit_verified(self._lease, chunk)
        for event_id in event_ids:
            del self._unsaved[event_id]
        self.chunks.append((chunk, frozenset(event_ids)))

    def _encoded(self, event: Event) -> bytes:
        return encode_canonical(event.raw, strict=self._version.strict_canonical_json)

    def _parsed(self, items: Sequence[PduItem]) -> list[Event]:
        events: list[Event] = []
        for item in items:
            # Written by another release with other limits: it will be fetched and judged anew.
            with suppress(InvalidEventError):
                events.append(parse_event_bytes(item.json, self._version, room_id=self._lease.room_id))
        return events

"""The verified events of one room that a worker holds, kept in the store as they come.

Events are content-addressed and verified once: after a crash, a failover or a further partial event what is held is
loaded and not fetched again.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.event_core import PackedEvent, pack_core
from partialstate_service.matrix.parsing import InvalidEventError, parse_event_bytes
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.resync.event_ids import EventIds
from partialstate_service.resync.event_table import EventTable
from partialstate_service.resync.verifier import FetchedEvent
from partialstate_service.store.protocol import Bulk, Chunk, ChunkKind, Lease, PduItem, Registry

_CHUNK_EVENTS = 500
"""Events per chunk: what a crash can lose of the work done."""


_MAX_PACKED_BYTES = 256 * 1024
"""How much of the events that a chunk cites goes with it to whoever verifies it; the memberships need a few KB."""


class HeldChunk(NamedTuple):
    """A committed chunk of verified events, and the ids that it holds, in its order."""

    chunk: Chunk
    event_ids: Sequence[EventId]


class HeldEvents:
    """The events by id, and which chunk of the store holds each verified one."""

    def __init__(self, registry: Registry, bulk: Bulk, lease: Lease, version: RoomVersion) -> None:
        self._registry = registry
        self._bulk = bulk
        self._lease = lease
        self._version = version
        self._unsaved: dict[EventId, FetchedEvent] = {}
        self._verified = 0
        self.events = EventTable(lease.room_id, version)
        self.allowed = EventIds(self.events)
        """Those of which it is known that their auth events allow them, if none of these is rejected itself."""
        self.chunks: list[HeldChunk] = []
        """In the order of commit."""

    def __contains__(self, event_id: EventId) -> bool:
        return event_id in self.events

    @property
    def verified(self) -> int:
        """How many verified events are held, saved or not."""
        return self._verified

    async def load(self, chunks: Sequence[Chunk]) -> None:
        """Take up the events of committed *chunks*."""
        for chunk in chunks:
            items = await self._bulk.pdus(chunk)
            for event_id, auth_event_ids, core in await asyncio.to_thread(self._cores, items):
                self.events.put(event_id, auth_event_ids, core)
            self._note(chunk, [item.event_id for item in items])
            self._verified += len(items)

    async def add_verified(self, events: Sequence[FetchedEvent]) -> None:
        """Hold verified events, and save them as soon as they fill a chunk."""
        for event in events:
            if self.events.put(event.event_id, event.auth_event_ids, event.core):
                self._unsaved[event.event_id] = event
                self._verified += 1
                if event.is_allowed:
                    self.allowed.add(event.event_id)
        while len(self._unsaved) >= _CHUNK_EVENTS:
            await self._save(list(self._unsaved)[:_CHUNK_EVENTS])

    def packed(self, event_ids: Iterable[EventId]) -> Mapping[EventId, PackedEvent]:
        """Return what authorisation reads of those of *event_ids* that are held, as far as it is not too large.

        With them comes the create event, if every event of the room cites it without naming it.
        """
        packed: dict[EventId, PackedEvent] = {}
        size = 0
        for event_id in chain(self.events.implied_ids, event_ids):
            if event_id in self.events:
                packed[event_id] = self.events.packed(event_id)
                size += len(packed[event_id][1])
                if size > _MAX_PACKED_BYTES:
                    break
        return packed

    def add_recorded(self, event: Event) -> None:
        """Hold an event that the homeserver recorded: it has verified it, and the store holds it already."""
        self.events.setdefault(event.event_id, event)

    async def flush(self) -> None:
        """Save what is not saved yet."""
        if self._unsaved:
            await self._save(list(self._unsaved))

    async def _save(self, event_ids: Sequence[EventId]) -> None:
        items = [PduItem(event_id, self._unsaved[event_id].json) for event_id in event_ids]
        owner = f"{self._lease.generation}.{self._lease.fencing}"
        stored = await self._bulk.put(self._lease.room_id, ChunkKind.VERIFIED, owner, items)
        chunk = replace(stored, core_size=sum(len(self._unsaved[event_id].core) for event_id in event_ids))
        await self._registry.commit_verified(self._lease, chunk)
        for event_id in event_ids:
            del self._unsaved[event_id]
        self._note(chunk, event_ids)

    def _note(self, chunk: Chunk, event_ids: Sequence[EventId]) -> None:
        self.chunks.append(HeldChunk(chunk, tuple(event_ids)))

    def _cores(self, items: Sequence[PduItem]) -> list[tuple[EventId, tuple[EventId, ...], bytes]]:
        cores = []
        for item in items:
            # Written by another release with other limits: it will be fetched and judged anew.
            with suppress(InvalidEventError):
                event = parse_event_bytes(item.json, self._version, room_id=self._lease.room_id)
                cores.append((item.event_id, event.auth_event_ids, pack_core(event)))
        return cores

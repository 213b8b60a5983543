"""What a worker has decided of a room, kept in the store: states after events, and auth chains that were given up.

Every later worker takes them up, so that all judge alike.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

from partialstate_service.domain.ids import EventId
from partialstate_service.resync.held import HeldEvents
from partialstate_service.resync.renunciations import (
    decode_renunciation,
    encode_renunciation,
    renounced_among,
    renunciation_name,
)
from partialstate_service.resync.snapshot import Snapshot, decode_snapshot, encode_snapshot, named_chunks
from partialstate_service.store.protocol import Bulk, Checkpoint, Chunk, ChunkKind, Lease, Registry


class Decisions:
    """The decisions of one leased room."""

    def __init__(
        self, registry: Registry, bulk: Bulk, lease: Lease, checkpoint: Checkpoint, held: HeldEvents
    ) -> None:
        self._registry = registry
        self._bulk = bulk
        self._lease = lease
        self._kept = checkpoint.snapshots
        self._held = held
        self._committed: dict[EventId, Chunk] = {}
        # The keys of the chunks that the snapshot in a chunk needs, by that chunk's key.
        self._needs: dict[str, frozenset[str]] = {}

    async def snapshot(self, prev: EventId) -> Snapshot | None:
        """Return the state after *prev* that an earlier attempt found, if all of it is held."""
        chunk = self._kept.get(prev)
        if chunk is None:
            return None
        items = await self._bulk.records(chunk)
        return await asyncio.to_thread(decode_snapshot, items, self._held.events, self._held.chunks)

    async def forgone(self, prevs: Collection[EventId]) -> AsyncIterator[EventId]:
        """Yield those of *prevs* that earlier attempts gave up: their state is known to be unknown."""
        for prev in self._kept.keys() & prevs:
            if (kept := await self.snapshot(prev)) is not None and not kept.state:
                yield prev

    async def commit_snapshot(self, prev: EventId, snapshot: Snapshot) -> None:
        """Keep the state after *prev*, and the events that it consists of."""
        await self._held.flush()
        await self._commit(prev, await asyncio.to_thread(encode_snapshot, snapshot, self._held.chunks))

    async def needed_chunks(self) -> set[str]:
        """Return the keys of the chunks of verified events that hold what the kept states consist of."""
        chunks = {**self._kept, **self._committed}.values()
        for chunk in chunks:
            if chunk.key not in self._needs:
                self._needs[chunk.key] = named_chunks(await self._bulk.records(chunk))
        return {key for chunk in chunks for key in self._needs[chunk.key]}

    async def renunciations(self) -> AsyncIterator[tuple[EventId, EventId]]:
        """Yield the recorded events whose auth chains earlier attempts gave up, each with what its chain lacks."""
        for name, event_id in renounced_among(self._kept):
            yield event_id, decode_renunciation(await self._bulk.records(self._kept[name]))

    async def commit_renunciation(self, event_id: EventId, lacking: EventId) -> None:
        """Keep that the auth chain of a recorded event, which lacks *lacking*, is given up."""
        await self._commit(renunciation_name(event_id), encode_renunciation(lacking))

    async def _commit(self, name: EventId, items: Sequence[bytes]) -> None:
        owner = f"{self._lease.generation}.{self._lease.fencing}"
        chunk = await self._bulk.put(self._lease.room_id, ChunkKind.SNAPSHOT, owner, items)
        await self._registry.commit_snapshot(self._lease, name, chunk)
        self._committed[name] = chunk

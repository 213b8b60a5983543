"""The verified events that nothing needs: a bounded number of bytes of them is kept.

A refused snapshot leaves its events, for the next one mostly has them too. But any server can make as many good events
as it likes and list others each time it is asked. So past a bound no further server is asked in an attempt, and the next
one begins with the oldest of them dropped.
"""

from collections.abc import Collection, Iterable, Sequence

from partialstate_service.resync.decisions import Decisions
from partialstate_service.store.protocol import Checkpoint, Chunk, ChunkKind, Lease, Registry


class SpareEvents:
    """Keeps the spare events of one leased room few: *max_bytes* as stored, and in memory."""

    def __init__(
        self,
        registry: Registry,
        lease: Lease,
        checkpoint: Checkpoint,
        decisions: Decisions,
        *,
        max_bytes: int,
    ) -> None:
        self._registry = registry
        self._lease = lease
        self._checkpoint = checkpoint
        self._decisions = decisions
        self._max_bytes = max_bytes

    async def drop(self) -> Sequence[Chunk]:
        """Drop as many of the committed chunks that nothing needs as are too many; return those that remain."""
        kept = self._checkpoint.verified
        if _bytes_of(kept) <= self._max_bytes:
            return kept
        dropped = oldest_beyond(await self._spare(kept), self._max_bytes)
        if dropped:
            await self._registry.drop_verified(self._lease, dropped)
        gone = {chunk.key for chunk in dropped}
        return [chunk for chunk in kept if chunk.key not in gone]

    async def are_too_many(self, chunks: Collection[Chunk]) -> bool:
        """Say whether those of *chunks*, of all verified events by now, that nothing needs are too many."""
        # What is needed is known by reading all snapshots, so that is only looked at when it matters.
        return _bytes_of(chunks) > self._max_bytes and _bytes_of(await self._spare(chunks)) > self._max_bytes

    async def _spare(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        needed = await self._decisions.needed_chunks()
        needed |= {s.chunk.key for s in self._checkpoint.segments if s.kind is ChunkKind.VERIFIED}
        return [chunk for chunk in chunks if chunk.key not in needed]


def oldest_beyond(chunks: Sequence[Chunk], max_bytes: int) -> Sequence[Chunk]:
    """Return the first of *chunks* that must go so that the rest has at most *max_bytes*."""
    excess = _bytes_of(chunks) - max_bytes
    count = 0
    while excess > 0:
        excess -= _bytes_of(chunks[count : count + 1])
        count += 1
    return chunks[:count]


def _bytes_of(chunks: Iterable[Chunk]) -> int:
    # What compresses well is small in the store only.
    return sum(max(chunk.size, chunk.core_size) for chunk in chunks)

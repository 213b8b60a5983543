"""The part of the registry that workers use: leases, and what only their holders may write."""
# ruff: noqa: D102 - `protocol.Registry` has the contracts

from collections.abc import Sequence

from partialstate_service.domain.errors import LeaseLostError
from partialstate_service.domain.ids import EventId, Generation, Position, RoomId, ServerName
from partialstate_service.domain.rooms import Progress, RoomStatus, StateSummary
from partialstate_service.store.changes import Changes, Reply, refuse
from partialstate_service.store.exchange import Argument
from partialstate_service.store.protocol import Checkpoint, Chunk, Lease, NewSegment
from partialstate_service.store.records import (
    chunk_of,
    chunk_text,
    optional_summary_texts,
    pairs,
    progress_text,
    room_of,
    segment_of,
    segment_text,
)

# How often another worker may be quicker before we let the caller come again.
_TRIES = 10
# How many chunks one script takes out of a manifest: others wait meanwhile.
_DROPPED_AT_ONCE = 100
# Of rooms that a user waits for, and of the others.
_QUEUES = ("due:waiting", "due:normal")


class WorkerRegistry:
    """What a worker does with a room; `protocol.Registry` has the contracts."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def claim_due(self, owner: str, now_ms: int, lease_ttl_ms: int) -> Lease | None:
        for _ in range(_TRIES):
            room_id = await self._most_urgent(now_ms)
            if room_id is None:
                return None
            reply = await self._changes.call("claim_due", room_id, owner, now_ms, now_ms + lease_ttl_ms)
            if reply[0] == b"OK":
                return Lease(room_id, Generation(int(reply[4])), int(reply[5]))
        return None

    async def next_due_ms(self) -> int | None:
        keys = self._changes.keys
        queues = await self._changes.server.batch(
            *(("ZRANGE", keys.of(queue), 0, 0, "WITHSCORES") for queue in _QUEUES)
        )
        first = [int(queue[1]) for queue in queues if queue]
        return min(first, default=None)

    async def renew(self, lease: Lease, now_ms: int, lease_ttl_ms: int) -> None:
        await self._held("renew", lease, now_ms + lease_ttl_ms)

    async def checkpoint(self, lease: Lease) -> Checkpoint:
        room, seeds, verified, snapshots, segments = (await self._held("checkpoint", lease))[4:]
        return Checkpoint(
            room=room_of(lease.room_id, pairs(room)),
            seeds=tuple(map(chunk_of, seeds)),
            verified=tuple(map(chunk_of, verified)),
            snapshots={EventId(event.decode()): chunk_of(chunk) for event, chunk in pairs(snapshots).items()},
            segments=tuple(map(segment_of, segments)),
        )

    async def commit_verified(self, lease: Lease, chunk: Chunk) -> None:
        await self._held("commit_verified", lease, chunk_text(chunk))

    async def drop_verified(self, lease: Lease, chunks: Sequence[Chunk]) -> None:
        for start in range(0, len(chunks), _DROPPED_AT_ONCE):
            texts = [chunk_text(chunk) for chunk in chunks[start : start + _DROPPED_AT_ONCE]]
            await self._held("drop_verified", lease, len(texts), *texts)

    async def commit_snapshot(self, lease: Lease, after: EventId, chunk: Chunk) -> None:
        await self._held("commit_snapshot", lease, after, chunk_text(chunk))

    async def mark_state_verified(self, lease: Lease) -> None:
        await self._held("mark_state_verified", lease)

    async def append_log(
        self,
        lease: Lease,
        segments: Sequence[NewSegment],
        resolved: Sequence[EventId],
        servers_joined: Sequence[ServerName],
        summary: StateSummary | None = None,
    ) -> Position:
        arguments: list[Argument] = [len(segments)]
        for segment in segments:
            arguments += [segment.chunk.count, chunk_text(segment.chunk), segment_text(segment)]
        arguments += [len(resolved), *resolved, " ".join(servers_joined)]
        arguments += optional_summary_texts(summary)
        return Position(int((await self._held("append_log", lease, *arguments))[4]))

    async def report_progress(self, lease: Lease, progress: Progress, status: RoomStatus | None) -> None:
        await self._held("report_progress", lease, progress_text(progress), status or "")

    async def hand_back(self, lease: Lease, due_ms: int | None) -> None:
        try:
            await self._held("hand_back", lease, "" if due_ms is None else due_ms)
        except LeaseLostError:
            return

    async def _most_urgent(self, now_ms: int) -> RoomId | None:
        """Return the room that a user waits for, or else the one that is due longest, if one is due."""
        keys = self._changes.keys
        queues = await self._changes.server.batch(
            *(("ZRANGEBYSCORE", keys.of(queue), "-inf", now_ms, "LIMIT", 0, 1) for queue in _QUEUES)
        )
        due = [room_id for queue in queues for room_id in queue]
        return RoomId(due[0].decode()) if due else None

    async def _held(self, name: str, lease: Lease, *arguments: Argument) -> Reply:
        """Run a script that needs the lease."""
        reply = await self._changes.call(name, lease.room_id, lease.generation, lease.fencing, *arguments)
        if reply[0] != b"OK":
            refuse(reply, lease.room_id, lease.generation)
        return reply

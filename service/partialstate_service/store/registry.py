"""The registry over Redis or Valkey: each call is one script, one revision and one entry of the change log."""
# ruff: noqa: D102 - `protocol.Registry` has the contracts

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from partialstate_service.domain.errors import ForeignTokenError, StoreUnavailableError
from partialstate_service.domain.ids import EventId, Generation, Position, RoomId, ServerName
from partialstate_service.domain.rooms import (
    PartialRoom,
    Progress,
    ReleaseReason,
    RoomStatus,
    StateToken,
    Tombstone,
)
from partialstate_service.store.changes import Changes, Reply, refuse, refuse_position
from partialstate_service.store.lives import Lives
from partialstate_service.store.protocol import Chunk, LogSegment
from partialstate_service.store.records import (
    chunk_of,
    pairs,
    progress_of,
    progress_text,
    room_of,
    segment_of,
    token_of,
    tombstone_of,
)
from partialstate_service.store.registrations import Registrations
from partialstate_service.store.sweeper import Sweeper
from partialstate_service.store.worker_registry import WorkerRegistry

# How often a progress may change between our reading it and our change.
_TRIES = 10
_PAGE = 200


class RedisRegistry(Registrations, WorkerRegistry):
    """The owner of the partial rooms; `protocol.Registry` has the contracts."""

    def __init__(self, changes: Changes, lives: Lives, sweeper: Sweeper) -> None:
        super().__init__(changes, lives)
        self._sweeper = sweeper

    async def confirm_join(self, room_id: RoomId, generation: Generation) -> StateToken:
        reply = await self._changes.call("confirm_join", room_id, generation)
        return _token(reply, room_id, generation)

    async def hold_join(self, room_id: RoomId, join_event_id: EventId) -> Generation | Tombstone | None:
        reply = await self._changes.call("hold_join", room_id, join_event_id)
        if reply[0] == b"HELD":
            return Generation(int(reply[4]))
        return tombstone_of(room_id, reply[4]) if reply[0] == b"ENDED" else None

    async def get(self, room_id: RoomId) -> PartialRoom:
        reply = await self._changes.call("get", room_id)
        if reply[0] != b"OK":
            refuse(reply, room_id)
        return room_of(room_id, pairs(reply[4]))

    async def find(self, room_id: RoomId) -> tuple[PartialRoom | None, StateToken]:
        reply = await self._changes.call("get", room_id)
        room = room_of(room_id, pairs(reply[4])) if reply[0] == b"OK" else None
        return room, token_of(reply)

    async def page(
        self, after: RoomId | None, limit: int, statuses: AbstractSet[RoomStatus]
    ) -> tuple[Sequence[PartialRoom], RoomId | None, StateToken]:
        rooms: list[PartialRoom] = []
        token: StateToken | None = None
        position = after or ""
        while True:
            reply = await self._changes.call("page", None, position, min(_PAGE, limit - len(rooms) + 1))
            token = token or token_of(reply)
            flat = reply[4]
            if not flat:
                return rooms, None, token
            for room_id, fields in zip(flat[::2], flat[1::2], strict=True):
                if len(rooms) == limit:
                    return rooms, RoomId(position), token
                position = room_id.decode()
                room = room_of(RoomId(position), pairs(fields))
                if not statuses or room.status in statuses:
                    rooms.append(room)

    async def release(
        self, room_id: RoomId, generation: Generation, reason: ReleaseReason, now_ms: int
    ) -> StateToken:
        reply = await self._changes.call(
            "release", room_id, generation, reason, now_ms, self._keep_tombstones_from(now_ms)
        )
        self._sweeper.wake()
        return _token(reply, room_id, generation)

    async def retry(self, room_id: RoomId, additional: Sequence[ServerName], now_ms: int) -> PartialRoom:
        for _ in range(_TRIES):
            room = await self._changes.call("get", room_id)
            if room[0] != b"OK":
                refuse(room, room_id)
            progress = pairs(room[4])[b"progress"]
            fresh = progress_text(_without_cooldowns(progress_of(progress)))
            reply = await self._changes.call("retry", room_id, now_ms, " ".join(additional), progress, fresh)
            if reply[0] == b"OK":
                return room_of(room_id, pairs(reply[4]))
            if reply[0] != b"CHANGED":
                refuse(reply, room_id)
        raise StoreUnavailableError("the room's progress changes over and over")

    async def acknowledge(
        self, room_id: RoomId, generation: Generation, position: Position
    ) -> tuple[StateToken, Position]:
        reply = await self._changes.call("acknowledge", room_id, generation, position)
        if reply[0] != b"OK":
            refuse_position(reply, room_id, generation, position)
        return token_of(reply), Position(int(reply[4]))

    async def confirm_import(
        self, room_id: RoomId, generation: Generation, position: Position, now_ms: int
    ) -> StateToken:
        reply = await self._changes.call(
            "confirm_import", room_id, generation, position, now_ms, self._keep_tombstones_from(now_ms)
        )
        if reply[0] != b"OK":
            refuse_position(reply, room_id, generation, position)
        self._sweeper.wake()
        return token_of(reply)

    async def known_event_rooms(self, event_ids: Sequence[EventId]) -> Mapping[EventId, RoomId]:
        if not event_ids:
            return {}
        rooms = await self._changes.server.command("HMGET", self._changes.keys.of("event_rooms"), *event_ids)
        return {
            event_id: RoomId(room.decode())
            for event_id, room in zip(event_ids, rooms, strict=True)
            if room is not None
        }

    async def held_chunks(self, room_id: RoomId) -> Sequence[Chunk]:
        reply = await self._changes.call("held_chunks", room_id)
        if reply[0] != b"OK":
            refuse(reply, room_id)
        return [chunk_of(text) for text in (*reply[4], *reply[5])]

    async def log_segments(
        self, room_id: RoomId, generation: Generation, after: Position
    ) -> tuple[PartialRoom, Sequence[LogSegment]]:
        reply = await self._changes.call("log_segments", room_id, generation, after)
        if reply[0] != b"OK":
            refuse_position(reply, room_id, generation, after)
        segments = [segment_of(text) for text in reversed(reply[5])]
        return room_of(room_id, pairs(reply[4])), [
            segment for segment in segments if segment.first + segment.chunk.count - 1 > after
        ]

    async def mark_reconciled(self, seen: StateToken | None = None) -> StateToken:
        given = () if seen is None else (seen.store_id, seen.revision, seen.chain_id)
        reply = await self._changes.call("mark_reconciled", None, *given)
        if reply[0] == b"LOST":
            raise ForeignTokenError("the store has lost changes of this reconciliation: begin it anew")
        return token_of(reply)

    async def read_token(self) -> StateToken:
        return token_of(await self._changes.call("read_token", None))

    def _keep_tombstones_from(self, now_ms: int) -> int:
        return now_ms - self._changes.settings.tombstone_keep_ms


def _token(reply: Reply, room_id: RoomId, generation: Generation) -> StateToken:
    if reply[0] != b"OK":
        refuse(reply, room_id, generation)
    return token_of(reply)


def _without_cooldowns(progress: Progress) -> Progress:
    servers = tuple(replace(record, cooldown_until_ms=None) for record in progress.servers)
    return replace(progress, servers=servers, next_attempt_ms=None)

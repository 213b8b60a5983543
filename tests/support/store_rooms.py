"""Rooms, joins and events for the tests of the store: short to write, and nothing about them matters."""

from partialstate_service.domain.ids import EventId, Generation, RoomId, ServerName
from partialstate_service.domain.rooms import Priority, StateSummary
from partialstate_service.store.open import Store
from partialstate_service.store.protocol import (
    Chunk,
    ChunkKind,
    Lease,
    NewSegment,
    PartialJoin,
    PduItem,
    RecordedEvent,
    Registered,
)

ROOM = RoomId("!room:here")
JOIN = EventId("$join")
NOW = 1_700_000_000_000
TTL = 60_000


def recorded(event_id: str, *prevs: str, accepted: bool = True) -> RecordedEvent:
    """An event to record."""
    return RecordedEvent(
        EventId(event_id), f'{{"id":"{event_id}"}}'.encode(), accepted, tuple(map(EventId, prevs))
    )


def join(room: str = ROOM, event_id: str = JOIN, **changes) -> PartialJoin:
    """A partial join to register."""
    values = {
        "room_id": RoomId(room),
        "room_version": "11",
        "join": recorded(event_id, "$before"),
        "joined_via": ServerName("via"),
        "servers": (ServerName("one"), ServerName("two")),
        "summary": StateSummary(
            acls=({"deny": ["bad"]},), join_rules=({"join_rule": "public"},), history_visibilities=("shared",)
        ),
        "priority": Priority.NORMAL,
        "device_list_position": None,
    }
    return PartialJoin(**{**values, **changes})


async def register(store: Store, partial: PartialJoin | None = None, now_ms: int = NOW) -> Registered:
    """Register a join without seeds."""
    return await store.registry.register(partial or join(), [], now_ms)


async def claim(store: Store, now_ms: int = NOW) -> Lease:
    """Claim the room that is due."""
    lease = await store.registry.claim_due("worker", now_ms, TTL)
    assert lease is not None
    return lease


async def log_chunk(store: Store, *records: bytes, room: RoomId = ROOM) -> Chunk:
    """Store records of the log."""
    return await store.bulk.put(room, ChunkKind.LOG, "owner", list(records))


async def pdu_chunk(
    store: Store, *ids: str, room: RoomId = ROOM, kind: ChunkKind = ChunkKind.VERIFIED
) -> Chunk:
    """Store events."""
    return await store.bulk.put(room, kind, "owner", [PduItem(EventId(i), b"{}") for i in ids])


async def resolve(store: Store, lease: Lease, *events: str, records: int = 1) -> int:
    """Append records and mark events as having their full state."""
    chunk = await log_chunk(store, *(b"{}" for _ in range(records)), room=lease.room_id)
    segments = [NewSegment(ChunkKind.LOG, chunk)]
    return await store.registry.append_log(lease, segments, [EventId(event) for event in events], [])


async def make_ready(store: Store, now_ms: int = NOW) -> tuple[Generation, int]:
    """Register the room and recover it; return its generation and the log's last position."""
    generation = (await register(store, now_ms=now_ms)).generation
    lease = await claim(store, now_ms)
    position = await resolve(store, lease, JOIN)
    await store.registry.hand_back(lease, None)
    return generation, position

"""RegisterPartialJoin: a partial join becomes the service's, durably, in milliseconds and without any network call."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.domain.rooms import Priority
from partialstate_service.matrix.event import Event
from partialstate_service.ownership.given_events import stored_json, summarise
from partialstate_service.ownership.send_join import JoinedRoom, JoinHeader, read_send_join
from partialstate_service.store.protocol import (
    Bulk,
    Chunk,
    ChunkKind,
    PartialJoin,
    PduItem,
    RecordedEvent,
    Registered,
    Registry,
)

# Up to here a body is read within a few milliseconds, which the event loop can spare.
_READ_IN_THREAD_BYTES = 64 * 1024
_SEED_CHUNK_BYTES = 8 * 1024 * 1024
"""About how much of the response goes into one chunk of bulk, before compression."""


@dataclass(frozen=True, slots=True)
class Registration:
    """Registers partial joins of the homeserver *us*."""

    registry: Registry
    bulk: Bulk
    us: ServerName
    now_ms: Callable[[], int]

    async def register(
        self, header: JoinHeader, body: bytes, priority: Priority, device_list_position: int | None
    ) -> tuple[Registered, EventId]:
        """Register the join that a send_join response *body* answers; return it with the join event's id.

        Raises `RefusedInputError`, and then nothing is stored. Repeated, it gives the same registration, also after the
        room's end.
        """
        if len(body) > _READ_IN_THREAD_BYTES:
            room, pieces = await asyncio.to_thread(_read, header, body, self.us)
        else:
            room, pieces = _read(header, body, self.us)
        seeds = await put_seeds(self.bulk, header.room_id, pieces)
        registered = await self.registry.register(
            PartialJoin(
                room_id=header.room_id,
                room_version=header.version.version,
                join=recorded(room.join, accepted=True),
                joined_via=header.joined_via if header.joined_via != self.us else None,
                servers=room.servers,
                summary=summarise(_non_member(room)),
                priority=priority,
                device_list_position=device_list_position,
            ),
            seeds,
            self.now_ms(),
        )
        return registered, room.join.event_id


def recorded(event: Event, *, accepted: bool) -> RecordedEvent:
    """Return *event* as the registry records it."""
    return RecordedEvent(
        event_id=event.event_id,
        json=stored_json(event),
        accepted=accepted,
        prev_event_ids=event.prev_event_ids,
    )


async def put_seeds(bulk: Bulk, room: RoomId, pieces: Iterable[Sequence[PduItem]]) -> Sequence[Chunk]:
    """Store the events that a partial join came with; they count once a registration commits the chunks."""
    owner = uuid4().hex
    return [await bulk.put(room, ChunkKind.SEED, owner, items) for items in pieces]


def seed_pieces(events: Iterable[Event]) -> Iterator[list[PduItem]]:
    """Yield events as they are stored, in pieces that each make one chunk."""
    items: list[PduItem] = []
    size = 0
    for event in events:
        items.append(PduItem(event.event_id, stored_json(event)))
        size += len(items[-1].json)
        if size >= _SEED_CHUNK_BYTES:
            yield items
            items, size = [], 0
    if items:
        yield items


def _read(header: JoinHeader, body: bytes, us: ServerName) -> tuple[JoinedRoom, list[list[PduItem]]]:
    room = read_send_join(header, body, us)
    return room, list(seed_pieces((*room.state, *room.auth_chain)))


def _non_member(room: JoinedRoom) -> Iterator[Event]:
    return (event for event in room.state if event.type != "m.room.member")

"""Registering partial joins and recording partial events: JSON first, the registry's change after it."""
# ruff: noqa: D102 - `protocol.Registry` has the contracts

import json
import secrets
from collections.abc import Collection, Sequence

from partialstate_service.domain.errors import (
    OtherRoomVersionError,
    RoomNotPartialError,
    StoreUnavailableError,
)
from partialstate_service.domain.ids import EventId, Generation, RoomId, ServerName
from partialstate_service.domain.rooms import Ending, Progress, StateToken
from partialstate_service.store.changes import Changes, Reply, refuse
from partialstate_service.store.exchange import Argument
from partialstate_service.store.lives import Lives
from partialstate_service.store.protocol import (
    Chunk,
    PartialJoin,
    RecordedEvent,
    RecordOutcome,
    Registered,
    RegistrationOutcome,
)
from partialstate_service.store.records import (
    chunk_text,
    optional_summary_texts,
    progress_text,
    summary_texts,
    token_of,
)

# How often a room's life may end between our reading it and our change.
_TRIES = 5
_OUTCOMES = {b"R": RecordOutcome.RECORDED, b"F": RecordOutcome.EVENT_NOT_PARTIAL}


class Registrations:
    """The part of the registry that brings rooms and events into it; `protocol.Registry` has the contracts."""

    def __init__(self, changes: Changes, lives: Lives) -> None:
        self._changes = changes
        self._lives = lives

    async def register(self, join: PartialJoin, seeds: Sequence[Chunk], now_ms: int) -> Registered:
        room_id, event_id = join.room_id, join.join.event_id
        for _ in range(_TRIES):
            known = await self._changes.call("find_join", room_id, event_id)
            if known[0] != b"NEW":
                return _registered(known)
            life = known[4].decode()
            if not life:
                life = await self._begin_life(room_id)
            if not await self._store_events(room_id, life, [join.join]):
                continue
            reply = await self._changes.call(
                *("register", room_id, event_id, life),
                *(now_ms, now_ms - self._changes.settings.tombstone_keep_ms, progress_text(Progress())),
                *(
                    join.room_version,
                    join.joined_via or "",
                    " ".join(join.servers),
                    *summary_texts(join.summary),
                ),
                *(int(join.priority), _optional(join.device_list_position), int(join.confirmed)),
                *map(chunk_text, seeds),
            )
            if reply[0] == b"OTHER_VERSION":
                raise OtherRoomVersionError(room_id, join.room_version, reply[4].decode())
            if reply[0] != b"LIFE":
                self._lives.forget(room_id)
                return _registered(reply)
        raise StoreUnavailableError("the room ends and begins over and over")

    async def record_partial_events(
        self,
        room_id: RoomId,
        events: Sequence[RecordedEvent],
        now_ms: int,
        servers_joined: Sequence[ServerName] = (),
    ) -> tuple[Sequence[RecordOutcome], Generation, StateToken]:
        arguments: list[Argument] = [now_ms, len(events)]
        for event in events:
            arguments += [event.event_id, *optional_summary_texts(event.summary)]
            arguments += [len(event.prev_event_ids), *event.prev_event_ids]
        arguments.append(" ".join(servers_joined))
        for _ in range(_TRIES):
            life = await self._lives.recall(room_id)
            if life is not None and not await self._store_events(room_id, life, events):
                self._lives.forget(room_id)
                continue
            reply = await self._changes.call("record_partial_events", room_id, life or "", *arguments)
            if reply[0] == b"NOT_PARTIAL":
                self._lives.forget(room_id)
                return [RecordOutcome.ROOM_NOT_PARTIAL] * len(events), Generation(0), token_of(reply)
            if reply[0] == b"OK":
                outcomes = [_OUTCOMES[outcome] for outcome in reply[5:]]
                return outcomes, Generation(int(reply[4])), token_of(reply)
            if reply[0] != b"LIFE":
                refuse(reply, room_id)
            self._lives.learn(room_id, reply[4])
        raise StoreUnavailableError("the room ends and begins over and over")

    async def recorded_events(self, room_id: RoomId, after: int = 0) -> Sequence[RecordedEvent]:
        return await self._read_recorded("recorded_events", room_id, after)

    async def recorded_among(
        self, room_id: RoomId, event_ids: Collection[EventId]
    ) -> Sequence[RecordedEvent]:
        return await self._read_recorded("recorded_among", room_id, len(event_ids), *event_ids)

    async def _read_recorded(
        self, name: str, room_id: RoomId, *arguments: Argument
    ) -> Sequence[RecordedEvent]:
        for _ in range(_TRIES):
            reply = await self._changes.call(name, room_id, *arguments)
            if reply[0] != b"OK":
                refuse(reply, room_id)
            life, rows = reply[4].decode(), reply[5]
            texts = await self._event_texts(room_id, life, [row[0] for row in rows])
            if None not in texts:
                return [
                    _recorded(row, text) for row, text in zip(rows, texts, strict=True) if text is not None
                ]
            if await self._lives.read(room_id) is None:
                raise RoomNotPartialError(room_id)
        raise StoreUnavailableError(f"the store has lost events that were recorded in {room_id!a}")

    async def _begin_life(self, room_id: RoomId) -> str:
        """Return the id of a new life; what is stored under it goes away if no registration takes it."""
        life = secrets.token_hex(8)
        await self._changes.announce(f"L {life} {room_id}")
        return life

    async def _store_events(self, room_id: RoomId, life: str, events: Sequence[RecordedEvent]) -> bool:
        """Store the events' JSON; return False if the life has ended."""
        keys = self._changes.keys
        arguments = [argument for event in events for argument in (event.event_id, _text(event))]
        reply = await self._changes.server.run(
            "store_events",
            [keys.ended(room_id, life), keys.events(room_id, life)],
            arguments,
        )
        return bool(reply == b"OK")

    async def _event_texts(
        self, room_id: RoomId, life: str, event_ids: Sequence[bytes]
    ) -> Sequence[bytes | None]:
        if not event_ids:
            return []
        key = self._changes.keys.events(room_id, life)
        texts: Sequence[bytes | None] = await self._changes.server.command("HMGET", key, *event_ids)
        return texts


def _registered(reply: Reply) -> Registered:
    if reply[0] not in (b"REGISTERED", b"ALREADY_REGISTERED", b"ENDED"):
        refuse(reply, RoomId(""))
    ending = Ending(reply[5].decode()) if reply[0] == b"ENDED" else None
    return Registered(
        Generation(int(reply[4])), RegistrationOutcome(reply[0].decode()), ending, token_of(reply)
    )


def _optional(number: int | None) -> str:
    return "" if number is None else str(number)


def _text(event: RecordedEvent) -> bytes:
    """Return an event with what is recorded with it: a line of JSON, then the event's own."""
    head = json.dumps([event.accepted, list(event.prev_event_ids)], separators=(",", ":"))
    return head.encode() + b"\n" + event.json


def _recorded(row: Sequence[bytes], text: bytes) -> RecordedEvent:
    event_id, sequence, position = row
    head, _, body = text.partition(b"\n")
    accepted, prevs = json.loads(head)
    return RecordedEvent(
        EventId(event_id.decode()), body, accepted, tuple(prevs), bool(position), int(sequence)
    )

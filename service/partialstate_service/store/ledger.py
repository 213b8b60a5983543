"""The ledger of sent events, in the slot of their room and outside the change log."""
# ruff: noqa: D102 - `protocol.Ledger` has the contracts

import hashlib
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.store.changes import Changes, refuse
from partialstate_service.store.exchange import Argument
from partialstate_service.store.lives import Lives
from partialstate_service.store.records import pairs

_PAGE = 500


class RedisLedger:
    """Which event was sent to which servers; `protocol.Ledger` has the contracts."""

    def __init__(self, changes: Changes, lives: Lives) -> None:
        self._changes = changes
        self._lives = lives

    async def record(self, room_id: RoomId, sent: Sequence[tuple[EventId, Sequence[ServerName]]]) -> bool:
        life = await self._lives.read(room_id)
        if life is None:
            reply = await self._changes.call("get", room_id)
            if reply[0] == b"NOT_RECONCILED":
                refuse(reply, room_id)
            return False
        arguments: list[Argument] = []
        for event_id, servers in sent:
            text = " ".join(sorted(set(servers)))
            arguments += [event_id, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), text]
        keys = self._changes.keys
        reply = await self._changes.server.run(
            "record_sent",
            [keys.ended(room_id, life), keys.sent(room_id, life), keys.destinations(room_id, life)],
            arguments,
        )
        return bool(reply == b"OK")

    async def sent_to(
        self, room_id: RoomId, event_ids: Sequence[EventId], destination: ServerName
    ) -> AbstractSet[EventId]:
        life = await self._lives.recall(room_id) if event_ids else None
        while life is not None:
            digests, has_ended = await self._digests(room_id, life, event_ids)
            if not has_ended:
                break
            self._lives.forget(room_id)
            life = await self._lives.read(room_id)
        else:
            return frozenset()
        sets = await self._sets(room_id, life, {digest for digest in digests if digest is not None})
        return frozenset(
            event_id
            for event_id, digest in zip(event_ids, digests, strict=True)
            if digest is not None and destination in sets[digest]
        )

    async def _digests(
        self, room_id: RoomId, life: str, event_ids: Sequence[EventId]
    ) -> tuple[Sequence[bytes | None], bool]:
        """Return the digest of each event's set, and whether the life has ended."""
        keys = self._changes.keys
        digests, has_ended = await self._changes.server.batch(
            ("HMGET", keys.sent(room_id, life), *event_ids), ("EXISTS", keys.ended(room_id, life))
        )
        return digests, bool(has_ended)

    async def destinations(self, room_id: RoomId) -> AsyncIterator[tuple[EventId, AbstractSet[ServerName]]]:
        life = await self._lives.read(room_id)
        if life is None:
            return
        key, cursor, seen = self._changes.keys.sent(room_id, life), 0, set[bytes]()
        while True:
            next_cursor, flat = await self._changes.server.command("HSCAN", key, cursor, "COUNT", _PAGE)
            cursor, page = int(next_cursor), pairs(flat)
            # The server may show an entry twice.
            fresh = {event_id: digest for event_id, digest in page.items() if event_id not in seen}
            seen.update(fresh)
            sets = await self._sets(room_id, life, set(fresh.values()))
            for event_id, digest in fresh.items():
                yield EventId(event_id.decode()), sets[digest]
            if not cursor:
                return

    async def _sets(
        self, room_id: RoomId, life: str, digests: AbstractSet[bytes]
    ) -> dict[bytes, frozenset[ServerName]]:
        if not digests:
            return {}
        wanted = list(digests)
        texts = await self._changes.server.command(
            "HMGET", self._changes.keys.destinations(room_id, life), *wanted
        )
        return {
            digest: frozenset(ServerName(name.decode()) for name in (text or b"").split())
            for digest, text in zip(wanted, texts, strict=True)
        }

"""Large data: as it was written, or an error."""

from dataclasses import replace

import pytest
from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.domain.ids import EventId
from partialstate_service.domain.rooms import ReleaseReason
from partialstate_service.store.open import open_store
from partialstate_service.store.protocol import ChunkKind, NewSegment, PduItem
from support.store_rooms import (
    JOIN,
    NOW,
    ROOM,
    claim,
    join,
    log_chunk,
    make_ready,
    pdu_chunk,
    recorded,
    register,
    resolve,
)


async def keys(store):
    primaries = await store.registry._changes.server._route.primaries()
    replies = [await node.exchange([("KEYS", "*")]) for node in primaries]
    return {key.decode() for [found] in replies for key in found}


@pytest.mark.parametrize("size", [0, 1, 300, 300_000])
async def test_items_come_back_as_they_were(store, size):
    pdus = [PduItem(EventId("$a"), b"x" * size), PduItem(EventId("$é"), b"\x00\xff")]
    chunk = await store.bulk.put(ROOM, ChunkKind.VERIFIED, "1-1", pdus)
    assert chunk.count == 2
    assert await store.bulk.pdus(chunk) == pdus
    records = [b"", b"y" * size]
    assert await store.bulk.records(await store.bulk.put(ROOM, ChunkKind.LOG, "1-1", records)) == records
    assert await store.bulk.records(await store.bulk.put(ROOM, ChunkKind.LOG, "1-1", [])) == []


async def test_similar_events_take_little_room(store):
    body = b'{"type":"m.room.member","content":{"membership":"join"},"sender":"@user%d:server","depth":%d}'
    chunk = await store.bulk.put(ROOM, ChunkKind.LOG, "o", [body % (i, i) for i in range(1000)])
    assert chunk.size < 20_000


async def test_a_chunk_that_is_gone_or_damaged_is_an_error(store):
    chunk = await pdu_chunk(store, "$a")
    with pytest.raises(StoreUnavailableError):
        await store.bulk.pdus(replace(chunk, digest="0" * 32))
    assert await store.registry._changes.server.command("DEL", chunk.key) == 1
    with pytest.raises(StoreUnavailableError):
        await store.bulk.pdus(chunk)


async def test_a_chunk_has_a_cap(settings):
    async with open_store(replace(settings, max_chunk_bytes=100)) as store:
        with pytest.raises(ValueError, match="too large"):
            await log_chunk(store, b"x" * 101)


class TestSweep:
    async def test_what_nothing_committed_goes_by_age(self, store):
        generation = (await register(store)).generation
        lease = await claim(store)
        committed, forgotten = await pdu_chunk(store, "$a"), await pdu_chunk(store, "$b")
        await store.registry.commit_verified(lease, committed)
        await store.sweeper.sweep()
        assert {committed.key, forgotten.key} <= await keys(store)
        now = store.registry._changes.clock
        store.registry._changes.clock = lambda: now() + 7 * 3600
        await store.sweeper.sweep()
        assert forgotten.key not in await keys(store)
        assert committed.key in await keys(store)
        with pytest.raises(StoreUnavailableError):
            await store.registry.commit_verified(lease, forgotten)
        assert (await store.registry.get(ROOM)).generation == generation

    async def test_the_end_of_a_room_drops_all_it_had(self, store):
        await store.registry.register(join(), [await pdu_chunk(store, "$s", kind=ChunkKind.SEED)], NOW)
        lease = await claim(store)
        await store.registry.commit_verified(lease, await pdu_chunk(store, "$a"))
        await store.registry.commit_snapshot(lease, JOIN, await log_chunk(store, b"{}"))
        position = await resolve(store, lease, JOIN)
        await store.ledger.record(ROOM, [(JOIN, ["one"])])
        await store.registry.confirm_import(ROOM, lease.generation, position, NOW)
        await store.sweeper.sweep()
        left = {key for key in await keys(store) if "{registry}" not in key and not key.endswith(":ended")}
        assert left == set()
        assert not {key for key in await keys(store) if key.endswith(f":{ROOM}")}

    async def test_a_second_join_drops_the_old_log_only(self, store):
        await register(store)
        lease = await claim(store)
        verified = await pdu_chunk(store, "$a")
        await store.registry.commit_verified(lease, verified)
        await store.registry.append_log(lease, [NewSegment(ChunkKind.VERIFIED, verified)], [], [])
        await resolve(store, lease, JOIN)
        await register(store, join(event_id="$join2"))
        await store.sweeper.sweep()
        chunks = {key for key in await keys(store) if "{!room" in key and not key.endswith(":events")}
        assert chunks == {verified.key}

    async def test_late_writers_of_an_ended_life_leave_nothing(self, store, replica):
        generation, _ = await make_ready(store)
        await replica.registry.record_partial_events(ROOM, [recorded("$a", "$x")], NOW)
        await store.registry.release(ROOM, generation, ReleaseReason.PURGED, NOW)
        await store.sweeper.sweep()
        before = await keys(store)
        await replica.registry.record_partial_events(ROOM, [recorded("$b", "$x")], NOW)
        assert await replica.ledger.sent_to(ROOM, [JOIN], "one") == frozenset()
        assert await keys(store) == before

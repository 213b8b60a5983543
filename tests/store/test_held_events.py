"""What the registry says of the events that are held for a room: recorded ones by id, the others by chunk."""

import pytest
from partialstate_service.domain.errors import RoomNotPartialError, StoreUnavailableError
from partialstate_service.domain.ids import EventId
from partialstate_service.domain.rooms import ReleaseReason
from partialstate_service.store.protocol import ChunkKind
from support.store_rooms import JOIN, NOW, ROOM, claim, join, pdu_chunk, recorded, register, resolve


async def test_recorded_events_are_found_by_id(store):
    await register(store)
    events = [recorded("$a", JOIN), recorded("$b", "$a", accepted=False)]
    await store.registry.record_partial_events(ROOM, events, NOW)
    await resolve(store, await claim(store), JOIN)
    wanted = [EventId("$b"), EventId("$other"), JOIN]
    found = {event.event_id: event for event in await store.registry.recorded_among(ROOM, wanted)}
    assert found.keys() == {"$b", JOIN}
    assert (found[wanted[0]].json, found[wanted[0]].accepted) == (events[1].json, False)
    assert (found[wanted[0]].resolved, found[JOIN].resolved) == (False, True)
    whole = {event.event_id: event for event in await store.registry.recorded_events(ROOM)}
    assert found == {event_id: whole[event_id] for event_id in found}
    assert await store.registry.recorded_among(ROOM, []) == []


async def test_the_chunks_of_a_room_are_the_seeds_and_then_the_verified_ones(store):
    seeds = [await pdu_chunk(store, "$s", kind=ChunkKind.SEED)]
    await store.registry.register(join(), seeds, NOW)
    assert await store.registry.held_chunks(ROOM) == seeds
    verified = await pdu_chunk(store, "$v")
    await store.registry.commit_verified(await claim(store), verified)
    assert await store.registry.held_chunks(ROOM) == [*seeds, verified]


async def test_dropped_chunks_are_no_longer_held_and_the_next_sweep_takes_them(store):
    await register(store)
    lease = await claim(store)
    chunks = [await pdu_chunk(store, f"$v{number}") for number in range(150)]
    for chunk in chunks:
        await store.registry.commit_verified(lease, chunk)
    for _ in range(2):
        await store.registry.drop_verified(lease, [*chunks[:120], chunks[140]])
    assert await store.registry.held_chunks(ROOM) == [*chunks[120:140], *chunks[141:]]
    await store.sweeper.sweep()
    with pytest.raises(StoreUnavailableError):
        await store.bulk.pdus(chunks[0])
    assert len(await store.bulk.pdus(chunks[120])) == 1


async def test_of_a_room_that_is_not_partial_nothing_is_held(store):
    generation = (await register(store)).generation
    await store.registry.release(ROOM, generation, ReleaseReason.PURGED, NOW)
    for call in (store.registry.held_chunks(ROOM), store.registry.recorded_among(ROOM, [JOIN])):
        with pytest.raises(RoomNotPartialError):
            await call

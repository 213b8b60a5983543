"""Which event was sent to which servers."""

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.domain.rooms import ReleaseReason
from support.store_rooms import JOIN, NOW, ROOM, join, register

A, B, C = EventId("$a"), EventId("$b"), EventId("$c")
ONE, TWO, THREE = ServerName("one"), ServerName("two"), ServerName("three")


async def everything(store):
    return {event: set(servers) async for event, servers in store.ledger.destinations(ROOM)}


async def test_what_was_sent_is_known(store, replica):
    await register(store)
    assert await store.ledger.record(ROOM, [(A, [ONE, TWO]), (B, [TWO]), (C, [])])
    assert await replica.ledger.sent_to(ROOM, [A, B, C, JOIN], ONE) == {A}
    assert await replica.ledger.sent_to(ROOM, [A, B, C, JOIN], TWO) == {A, B}
    assert await replica.ledger.sent_to(ROOM, [], TWO) == frozenset()
    assert await everything(replica) == {A: {ONE, TWO}, B: {TWO}, C: set()}


async def test_repeated_records_add(store):
    await register(store)
    for servers in ([TWO], [TWO], [ONE, TWO], [THREE]):
        await store.ledger.record(ROOM, [(A, servers)])
    assert await everything(store) == {A: {ONE, TWO, THREE}}


async def test_equal_sets_are_stored_once(store):
    await register(store)
    await store.ledger.record(ROOM, [(EventId(f"${i}"), [TWO, ONE, TWO]) for i in range(500)])
    life = await store.registry._lives.read(ROOM)
    command = store.registry._changes.server.command
    assert await command("HLEN", store.registry._changes.keys.destinations(ROOM, life)) == 1
    assert len(await everything(store)) == 500


async def test_a_room_that_is_not_partial_records_nothing(store):
    assert not await store.ledger.record(ROOM, [(A, [ONE])])
    assert await store.ledger.sent_to(ROOM, [A], ONE) == frozenset()
    assert await everything(store) == {}


async def test_a_new_life_of_the_room_is_noticed_by_every_replica(store, replica):
    generation = (await register(store)).generation
    await store.ledger.record(ROOM, [(A, [ONE])])
    assert await replica.ledger.sent_to(ROOM, [A], ONE) == {A}
    await store.registry.release(ROOM, generation, ReleaseReason.PURGED, NOW)
    await store.sweeper.sweep()
    await register(store, join(event_id="$join2"))
    await store.ledger.record(ROOM, [(B, [ONE])])
    assert await replica.ledger.sent_to(ROOM, [A, B], ONE) == {B}

"""Two releases over one store: a replica passes over what it need not know, and stops at what it cannot know."""

import pytest
from partialstate_service.domain.errors import StoreNotUnderstoodError, StoreUnavailableError
from partialstate_service.domain.rooms import ReleaseReason
from partialstate_service.store.formats import READS
from support.store_rooms import JOIN, NOW, ROOM, claim, join, register
from support.store_server import ask

META, LOG = "mps:{registry}:meta", "mps:{registry}:log"
NEWER = str(READS + 1)

pytestmark = pytest.mark.usefixtures("single_server")

# Appends an entry as scripts do; ARGV are its fields after the first three.
APPEND = """
local meta = redis.call('HMGET', KEYS[1], 'revision', 'chain')
local revision = tostring(redis.call('HINCRBY', KEYS[1], 'revision', 1))
redis.call('HSET', KEYS[1], 'chain', 'c' .. revision)
return redis.call('XADD', KEYS[2], revision .. '-0', 'chain', 'c' .. revision, 'prev', meta[2], unpack(ARGV))
"""


def append(server_socket, *fields):
    """Append an entry to the change log, by hand."""
    assert ask(server_socket, "EVAL", APPEND, "2", META, LOG, *fields).startswith(b"$")


def last_entry(server_socket):
    """Return the fields of the newest entry, as they are on the wire."""
    return ask(server_socket, "XREVRANGE", LOG, "+", "-", "COUNT", "1").split(b"\r\n")[6::2]


async def decides(mirror):
    """Assert that a mirror decides, in every freshness."""
    await mirror.fully_consistent(())
    await mirror.at_least(mirror.token, 5)
    await mirror.at_most_stale(60)
    assert mirror.understands_store


async def stops(mirror):
    """Assert that a mirror decides in no freshness."""
    with pytest.raises(StoreNotUnderstoodError, match="newer release"):
        await mirror.fully_consistent(())
    with pytest.raises(StoreNotUnderstoodError):
        await mirror.at_least(mirror.token, 5)
    with pytest.raises(StoreNotUnderstoodError):
        await mirror.at_most_stale(60)
    assert not mirror.understands_store


async def test_every_change_says_its_format(store, server_socket):
    await register(store)
    fields = last_entry(server_socket)
    assert fields[fields.index(b"format") + 1] == b"1"


async def test_a_newer_store_stops_checks_changes_and_readers(store, replica, server_socket):
    generation = (await register(store)).generation
    await replica.mirror.fully_consistent(())
    watch = replica.mirror.watch(None, 10)
    await anext(watch)
    before = await store.registry.read_token()
    ask(server_socket, "HSET", META, "schema", NEWER)
    for mirror in (store.mirror, replica.mirror):
        await stops(mirror)
    with pytest.raises(StoreNotUnderstoodError):
        await anext(watch)
    for after in (None, before):  # nor are there new ones
        with pytest.raises(StoreNotUnderstoodError):
            await anext(store.mirror.watch(after, 10))
    for call in (
        register(store, join("!other:here", "$other")),
        store.registry.get(ROOM),
        store.registry.read_token(),
        store.registry.release(ROOM, generation, ReleaseReason.PURGED, NOW),
        claim(store),
    ):
        with pytest.raises(StoreUnavailableError, match="newer release"):
            await call
    ask(server_socket, "HSET", META, "schema", str(READS))
    assert await store.registry.read_token() == before, "nothing was changed"
    for mirror in (store.mirror, replica.mirror):
        await decides(mirror)
        assert mirror.rooms.keys() == {ROOM}


async def test_an_entry_of_a_newer_format_is_not_passed(store, server_socket):
    await register(store)
    await store.mirror.fully_consistent(())
    before = store.mirror.token
    append(server_socket, "format", NEWER, "kind", "merged", "room", "")
    append(server_socket, "kind", "register", "room", "")
    await stops(store.mirror)
    assert store.mirror.token == before


async def test_kinds_and_fields_that_are_not_known_are_passed_over(store, replica, server_socket):
    await register(store)
    [room] = (await store.registry.page(None, 10, frozenset()))[0]
    await store.mirror.fully_consistent(())
    append(server_socket, "format", "1", "kind", "compacted", "room", "", "segments", "12")
    fields = said_of_room(server_socket)
    append(server_socket, "format", "1", "kind", "noted", "room", ROOM, "note", "x", *fields)
    ask(server_socket, "HSET", f"mps:{{registry}}:room:{ROOM}", "note", "x")
    for mirror in (store.mirror, replica.mirror):
        await decides(mirror)
        assert mirror.token == await store.registry.read_token()
        assert mirror.rooms == {ROOM: room}
    await store.registry.confirm_join(ROOM, room.generation)
    assert ask(server_socket, "HGET", f"mps:{{registry}}:room:{ROOM}", "note") == b"$1\r\nx\r\n"


def said_of_room(server_socket):
    """Return what a change of the room says of it: all that its hash has."""
    flat = ask(server_socket, "HGETALL", f"mps:{{registry}}:room:{ROOM}").split(b"\r\n")[2::2]
    return [part.decode() for part in flat]


@pytest.mark.parametrize(("field", "value"), [("status", "FROZEN"), ("pending", "many"), ("priority", "9")])
async def test_a_value_that_is_not_known_is_not_guessed(store, server_socket, field, value):
    generation = (await register(store)).generation
    await store.mirror.fully_consistent(())
    ask(server_socket, "HSET", f"mps:{{registry}}:room:{ROOM}", field, value)
    with pytest.raises(StoreNotUnderstoodError, match="a room has"):
        await store.registry.get(ROOM)
    await store.registry.confirm_join(ROOM, generation)
    await stops(store.mirror)


async def test_an_ending_that_is_not_known_is_not_guessed(store, server_socket):
    await register(store)
    await store.mirror.fully_consistent(())
    append(
        server_socket,
        *("format", "1", "kind", "merge", "room", ROOM, "ending", "MERGED"),
        *("ended_at", str(NOW), "generation", "1", "join", JOIN),
    )
    await stops(store.mirror)
    assert ROOM in store.mirror.rooms


async def test_a_store_of_an_older_release_is_taken_over_as_it_is(settings, store, server_socket):
    """Written before entries told their format."""
    await register(store)
    append(server_socket, "kind", "noted", "room", "")
    await decides(store.mirror)
    assert ask(server_socket, "HGET", META, "schema") == b"$1\r\n1\r\n"

"""What is found for a room is remembered, and for a short time what is not."""

from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.ed25519 import KeyId
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.resync.room_keys import RoomKeys

DEAD = ServerName("dead.example")


class Nothing:
    """Finds no keys, and counts how often it is asked."""

    def __init__(self):
        self.searches = []

    async def keys_for(self, wanted, *, also_ask=(), key_ids=None):
        self.searches.append(dict(wanted))
        return {}


async def test_the_keys_of_a_dead_server_are_not_sought_for_every_batch():
    now_s = 0.0
    source = Nothing()
    keys = RoomKeys(source, lambda: now_s)
    for until in (1000, 1000, 2000):
        assert await keys.keys_for({DEAD: until}) == {}
    assert len(source.searches) == 1
    # Older keys may be had where newer ones are not, and so may another key.
    await keys.keys_for({DEAD: 500})
    await keys.keys_for({DEAD: 1000}, key_ids={DEAD: ["ed25519:other"]})
    assert len(source.searches) == 3
    now_s = 61.0
    await keys.keys_for({DEAD: 1000})
    assert len(source.searches) == 4


class Slow(Nothing):
    """Takes two minutes each time."""

    def __init__(self):
        super().__init__()
        self.now_s = 0.0

    async def keys_for(self, wanted, *, also_ask=(), key_ids=None):
        self.now_s += 120.0
        return await super().keys_for(wanted)


async def test_servers_that_were_made_up_are_not_sought_for_ever():
    source = Slow()
    keys = RoomKeys(source, lambda: source.now_s)

    async def seek(number):
        await keys.keys_for({ServerName(f"made-up-{number}.example"): 1})

    for number in range(1000):
        await seek(number)
    assert len(source.searches) == 31
    source.now_s += 600.0
    await seek(0)
    assert len(source.searches) == 32


class Insufficient(Slow):
    """Finds other keys than those that signatures name."""

    async def keys_for(self, wanted, *, also_ask=(), key_ids=None):
        await super().keys_for(wanted)
        return {server: keys_of(server, "ed25519:other") for server in wanted}


def keys_of(server, *key_ids, until=1):
    return ServerKeys(ServerName(server), until, dict.fromkeys(map(KeyId, key_ids), bytes(32)), {})


async def test_keys_that_were_made_up_are_not_sought_for_ever():
    source = Insufficient()
    keys = RoomKeys(source, lambda: source.now_s)
    for number in range(1000):
        await keys.keys_for({DEAD: 1}, key_ids={DEAD: [f"ed25519:{number}"]})
    assert len(source.searches) == 31


async def test_what_was_found_of_a_server_before_is_kept_beside_what_is_found_now():
    """Nobody else remembers what the room's servers say, and they are asked for some keys at a time."""

    class Witnessed(Nothing):
        async def keys_for(self, wanted, *, also_ask=(), key_ids=None):
            await super().keys_for(wanted)
            return {server: keys_of(server, *key_ids[server]) for server in wanted}

    source = Witnessed()
    keys = RoomKeys(source, lambda: 0.0)
    for key_id in ("ed25519:1", "ed25519:2", "ed25519:1"):
        found = await keys.keys_for({DEAD: 1}, key_ids={DEAD: [key_id]})
        assert key_id in found[DEAD].verify_keys.keys() | found[DEAD].old_verify_keys.keys()
    assert len(source.searches) == 2


async def test_what_is_remembered_is_bounded():
    class Many(Nothing):
        async def keys_for(self, wanted, *, also_ask=(), key_ids=None):
            return {
                server: keys_of(server, *(f"ed25519:{number}" for number in range(60))) for server in wanted
            }

    keys = RoomKeys(Many(), lambda: 0.0)
    names = [ServerName(f"{number}.example") for number in range(2000)]
    for name in names:
        assert (await keys.keys_for({name: 1})).keys() == {name}
    held = keys.at_hand(names)
    assert sum(each.key_count for each in held.values()) <= 50_000
    assert names[-1] in held

"""What is found for a room is remembered, and for a short time what is not."""

from partialstate_service.domain.ids import ServerName
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

"""Of what refused snapshots bring a bounded part is kept, however much a hostile server makes up."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from partialstate_service.demo.resident.behaviour import Honest, Lying, forbidden
from partialstate_service.demo.simulated_server import SimulatedServer
from partialstate_service.demo.world import World, WorldSize
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.matrix.hashes import event_id_of
from partialstate_service.matrix.signing import sign_event
from partialstate_service.resync.recovery_policy import RecoveryPolicy
from partialstate_service.resync.spare_events import oldest_beyond
from partialstate_service.store.protocol import Chunk
from support.misbehaviours import STATE, STATE_IDS
from support.resyncing import IMPATIENT, assert_exact, resyncing

SMALL = WorldSize(members=40, servers=6, messages=3)
MADE_UP = 200
# As stored.
ANSWER_BYTES = 100_000
MAX_SPARE_BYTES = 60_000
# All of it would be more than the bound.
TIMES = 4


class MakesUpMembers:
    """A lie: each time another state, with good events of the author's own making; a message in it spoils it."""

    def __init__(self, world: World, author: SimulatedServer) -> None:
        self._world = world
        self._author = author
        self._rng = random.Random(author.name)
        self._lie: list[tuple[str, dict[str, Any]]] = []
        self.told = 0

    def __call__(self, body: dict[str, Any]) -> None:
        """Change *body*, of `/state` or `/state_ids`."""
        if "pdus" in body:
            body["pdus"] += [raw for _, raw in self._lie]
            return
        self.told += 1
        self._lie = [self._made_up() for _ in range(MADE_UP)]
        message = next(event for event in self._world.room.events.values() if event.state_key is None)
        body["pdu_ids"] += [message.event_id, *(event_id for event_id, _ in self._lie)]

    def _made_up(self) -> tuple[str, dict[str, Any]]:
        room, author = self._world.room, self._author
        user = author.user(self._rng.randbytes(8).hex())
        content = {"membership": "join", "displayname": self._rng.randbytes(200).hex()}
        raw = room.template(user, "m.room.member", content, user, self._world.tick())
        raw = sign_event(raw, room.version, author.name, author.key)
        return event_id_of(raw, room.version), raw


async def kept_bytes(store, room_id):
    return sum(chunk.size for chunk in await store.registry.held_chunks(room_id))


@pytest.mark.parametrize("liars", [1, 5])
async def test_hostile_servers_that_make_up_another_state_each_time_fill_no_store(store, tmp_path, liars):
    policy = replace(IMPATIENT, recovery=RecoveryPolicy(max_spare_bytes=MAX_SPARE_BYTES))
    async with resyncing(SMALL, store, tmp_path, policy=policy) as resync:
        world, residents = resync.running.world, resync.running.residents
        lies = []
        for server in world.servers:
            residents.behave(server.name, forbidden(), STATE, STATE_IDS)
        for server in world.servers[:liars]:
            lies.append(lie := MakesUpMembers(world, server))
            residents.behave(server.name, Lying(lie), STATE, STATE_IDS)
        joined = await resync.join()
        seeds = await kept_bytes(store, joined.room_id)
        sizes = []
        with store.mirror.waking(joined.room_id) as changed:
            async with asyncio.timeout(40):
                while sum(lie.told for lie in lies) < TIMES:
                    await changed.wait(1.0)
                    sizes.append(await kept_bytes(store, joined.room_id) - seeds)
        assert MAX_SPARE_BYTES < max(sizes) <= 2 * MAX_SPARE_BYTES + ANSWER_BYTES
        residents.behave(world.servers[-1].name, Honest(), STATE, STATE_IDS)
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)


@pytest.mark.parametrize(
    ("max_bytes", "dropped"), [(0, 3), (1, 3), (29, 3), (30, 2), (50, 1), (59, 1), (60, 0), (99, 0)]
)
def test_the_oldest_go_until_the_rest_fits(max_bytes, dropped):
    chunks = [Chunk(str(number), "", size, 1) for number, size in enumerate((10, 20, 30))]
    assert oldest_beyond(chunks, max_bytes) == chunks[:dropped]

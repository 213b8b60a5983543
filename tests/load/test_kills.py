"""Services are killed at random instants under load, again and again: no room is lost, and no check answers wrongly."""

import asyncio
import os
import random
import signal
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from partialstate import PartialStateClient
from support.joined_rooms import RoomGroup, joined_rooms
from support.replicas import PATIENT, reconcile, replica, running_store
from support.room_lives import RoomLives
from support.room_truth import Truths
from support.sustained_load import SustainedLoad

DURATION_S = 240
ROOMS, JOINS_PER_ROOM = 60, 60
# A life goes on over a kill: what was under way is repeated until the service is back, and its rooms' leases are over.
PERSISTENT = replace(PATIENT, write_s=120, read_s=120)


class KilledReplica:
    """A service that is killed and started again in the same place."""

    def __init__(self, directory, settings):
        self._directory, self._settings = directory, settings
        self._stack = AsyncExitStack()
        self._running = None

    @property
    def target(self):
        return f"unix:{self._directory}/service.sock"

    async def start(self):
        self._running = await self._stack.enter_async_context(replica(self._directory, self._settings))
        return self._running

    async def kill(self):
        os.kill(self._running.process.pid, signal.SIGKILL)
        await self.stop()
        await self.start()

    async def stop(self):
        await self._stack.aclose()


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
async def test_kills_under_load_lose_no_room_and_make_no_answer_wrong(seed, record_property):
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="mps-") as name:
        directory = Path(name)
        async with AsyncExitStack() as stack:
            group = RoomGroup("honest", ROOMS, joins_per_room=JOINS_PER_ROOM)
            joined = await stack.enter_async_context(joined_rooms(directory, [group]))
            url = await stack.enter_async_context(running_store(directory))
            settings = joined.settings | {"store_url": url}
            killed = [KilledReplica(directory / str(number), settings) for number in range(2)]
            for each in killed:
                await each.start()
                stack.push_async_callback(each.stop)
            clients = [
                await stack.enter_async_context(PartialStateClient(each.target, deadlines=PERSISTENT))
                for each in killed
            ]
            await reconcile(clients[0])
            truths = Truths()
            rooms = [join.room_id for join in joined.joins[:ROOMS]]
            load = SustainedLoad(clients, rooms, truths, rng, may_fail=True)
            lives = RoomLives(clients, joined.joins, truths, rng)
            load.over_s = time.monotonic() + DURATION_S
            kills = 0
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    for _ in range(4):
                        group.create_task(load.check(client, 0.02))
                    group.create_task(load.batch(client, 0.2))
                for _ in range(8):
                    group.create_task(lives.live(load.is_over, 0.3))
                while not load.is_over():
                    # A random instant is the point here, not a way to wait for something.
                    await asyncio.sleep(rng.uniform(0.2, 4))
                    victims = killed if rng.random() < 0.2 else [rng.choice(killed)]
                    await asyncio.gather(*(victim.kill() for victim in victims))
                    kills += len(victims)
            # Every life has ended, so nothing is partial, and nothing is left.
            async for page in clients[0].list_partial_rooms():
                assert not page.rooms
    judged, ended, failed = truths.judged, lives.ended.total(), load.counts["no decision"]
    record_property(
        "figures",
        f"{kills} kills of two services: {ended} rooms joined, resynced exactly and ended; "
        f"{judged} verdicts judged, {truths.refused} of them refusals; {failed} checks without a decision",
    )
    assert kills > DURATION_S / 10
    assert ended > DURATION_S / 2
    assert judged > 10 * DURATION_S

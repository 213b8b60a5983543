"""All calls from several clients through real gRPC to replicas that die: one registry explains every answer.

Each seed is a history of its own. The rooms are judged one by one, since no call promises more than that of several
rooms; what a check says, it says as of one time between its beginning and its end, or since its token was asked for.
"""

import asyncio
import random
import signal
import time
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from partialstate_service.store.settings import StoreSettings
from support.api_clients import Client
from support.api_model import ApiModel
from support.called_rooms import random_room
from support.known_mistakes import KNOWN_MISTAKES, slow_reads
from support.linearizability import NotLinearizableError, linearize
from support.lost_writes import LostWrites
from support.mortal_replicas import mortal_replicas
from support.store_server import ask, servers_here
from support.store_topologies import cluster_store, sentinel_store

ROOMS, CLIENTS, CHECKERS, CALLS = 3, 5, 4, 60
SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 200))]


class History:
    """What clients do to replicas over one store while *harm* is done to these, and what they are told."""

    def __init__(self, store_url, seed, harm, calls=CALLS):
        self.rng, self.harm, self.calls = random.Random(seed), harm, calls
        self.rooms = [random_room(self.rng) for _ in range(ROOMS)]
        self.settings = StoreSettings(
            data_dir=Path("unused"),
            url=store_url,
            key_prefix=uuid4().hex,
            follow_interval_s=0.2,
            command_timeout_s=2,
            connect_timeout_s=2,
        )
        self.lost = 0

    async def play(self, afterwards=None):
        begun = time.monotonic()
        async with mortal_replicas(2, self.settings) as replicas:
            await (await replicas[0].api()).reconcile()
            clients = [
                Client(replicas, self.rooms, random.Random(self.rng.random()))
                for _ in range(CLIENTS + CHECKERS)
            ]
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for client in clients[CLIENTS:]:
                    group.create_task(client.check_until(stop))
                working = [group.create_task(client.work(self.calls)) for client in clients[:CLIENTS]]
                harming = group.create_task(self.harm(replicas, self.rng))
                await asyncio.wait(working)
                harming.cancel()
                stop.set()
            if afterwards is not None:
                await afterwards(self, replicas, clients)
            self.lost = sum(client.lost for client in clients)
        self.played_s = time.monotonic() - begun

    def judge(self):
        """Raise NotLinearizableError if there is no explanation; return the figures."""
        begun = time.monotonic()
        for room in self.rooms:
            model = ApiModel(
                generations=room.join_generations,
                origin_servers=frozenset(room.joins[0].response["servers_in_room"]),
                world_readable=room.world_readable,
            )
            linearize(room.calls, model)
        calls = sum(len(room.calls) for room in self.rooms)
        judged_s = time.monotonic() - begun
        return f"{calls} calls, {self.lost} lost answers; {self.played_s:.1f} s, judged in {judged_s:.1f} s"


async def killed_replicas(replicas, rng, pauses_s=(0.05, 0.3)):
    while True:
        await asyncio.sleep(rng.uniform(*pauses_s))
        rng.choice(replicas).kill()


async def no_harm(replicas, rng):
    del replicas, rng


@pytest.mark.parametrize("seed", SEEDS)
async def test_one_registry_explains_every_answer(store_url, seed, record_property):
    history = History(store_url, seed, killed_replicas)
    await history.play()
    record_property("figures", history.judge())


FAIL_OVERS = [
    pytest.param(cluster_store, 0, marks=pytest.mark.long),
    *(
        pytest.param(topology, seed, marks=pytest.mark.long)
        for topology in (cluster_store, sentinel_store)
        for seed in range(1, 6)
    ),
]


@pytest.mark.parametrize(("topology", "seed"), FAIL_OVERS)
async def test_also_while_a_primary_of_the_store_dies(topology, seed, tmp_path_factory, record_property):
    async def harm(deployment, replicas, rng):
        await asyncio.sleep(rng.uniform(0.1, 0.5))
        deployment.registry_node().signal(signal.SIGKILL)
        await killed_replicas(replicas, rng, (0.5, 2))

    with topology(servers_here()[seed % len(servers_here())], tmp_path_factory.mktemp("t")) as deployment:
        history = History(deployment.url, seed, partial(harm, deployment))
        await history.play()
    record_property("figures", history.judge())


async def lose_writes(history, replicas, clients):
    """Let the store forget that a room is partial: from then on there are no decisions."""
    fresh = random_room(history.rng)
    history.rooms.append(fresh)
    socket = history.settings.url.removeprefix("unix://")
    losing = LostWrites(partial(ask, socket), history.settings.key_prefix, [r.room_id for r in history.rooms])
    await clients[0]._register(await replicas[0].api(), fresh, history.rng)
    for replica in replicas:
        await clients[0].check(await replica.api(), fresh, history.rng)
    losing.lose()
    stop = asyncio.Event()
    checking = [asyncio.create_task(client.check_until(stop)) for client in clients]
    await asyncio.sleep(0.15)
    stop.set()
    await asyncio.wait(checking)


async def test_nothing_is_decided_by_a_store_that_lost_writes(store_url):
    history = History(store_url, 0, no_harm, calls=10)
    await history.play(lose_writes)
    history.judge()
    assert history.lost > 10


async def play_many(store_url):
    for seed in range(20):
        history = History(store_url, seed, no_harm, calls=30)
        await history.play(lose_writes)
        history.judge()


@pytest.mark.parametrize("mistake", KNOWN_MISTAKES)
async def test_known_mistakes_are_caught(store_url, monkeypatch, mistake):
    slow_reads(monkeypatch, 0.02)
    mistake(monkeypatch)
    with pytest.raises(NotLinearizableError):
        await play_many(store_url)

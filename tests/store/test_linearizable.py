"""Random interleavings of clients on several replicas, whose connections break: every check is what one registry could say.

The same histories catch three known mistakes, so they prove something.
"""

import asyncio
import random
import time
from contextlib import suppress

import pytest
from partialstate_service.domain.checks import CheckRequest, UnableSpelling, Verdict
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.errors import NotReconciledError, StoreUnavailableError
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.domain.rooms import ReleaseReason
from partialstate_service.ownership.checking import Checking, FullyConsistent
from partialstate_service.store.open import open_store
from support.check_history import CheckHistory, NotLinearizableError, Seen, Write
from support.known_mistakes import KNOWN_MISTAKES, no_chain_id, slow_reads
from support.lost_writes import LostWrites
from support.store_rooms import NOW, join, register

ROOMS = [RoomId(f"!{i}:here") for i in range(4)]
REPLICAS, CHECKERS, ROUNDS = 3, 6, 12


class Clients:
    """Writers and checkers over replicas of one store, and what they saw."""

    def __init__(self, stores, rng):
        self.stores, self.rng, self.history = stores, rng, CheckHistory()
        self.checkings = [
            Checking(
                registry=store.registry,
                mirror=store.mirror,
                ledger=store.ledger,
                spelling=UnableSpelling.STABLE,
                freshness_timeout_s=5,
            )
            for store in stores
        ]

    async def write(self, room, rounds, begin=0):
        """Make a room partial and full again, over and over; repeat what failed, as clients do."""
        for i in range(begin, begin + rounds):
            store = self.rng.choice(self.stores)
            event = f"$join-{i}-{room[1:]}"
            registered = await self._done(room, True, lambda s=store, e=event: register(s, join(room, e)))
            await asyncio.sleep(self.rng.random() * 0.01)
            store = self.rng.choice(self.stores)
            await self._done(
                room,
                False,
                lambda s=store, g=registered.generation: s.registry.release(
                    room, g, ReleaseReason.PURGED, NOW
                ),
            )

    async def _done(self, room, partial, call):
        write = Write(partial, time.monotonic())
        self.history.writes[room].append(write)
        while True:
            with suppress(StoreUnavailableError):
                result = await call()
                write.ended = time.monotonic()
                return result

    async def check(self, stop):
        """Check rooms until told to stop; without a decision there is nothing to verify."""
        while not stop.is_set():
            room, checking = self.rng.choice(ROOMS), self.rng.choice(self.checkings)
            request = CheckRequest(Endpoint.STATE_IDS, ServerName("o"), room, (EventId("$e"),))
            begun = time.monotonic()
            with suppress(StoreUnavailableError, NotReconciledError):
                decision, _ = await checking.check(request, FullyConsistent())
                seen = Seen(decision.verdict is not Verdict.PROCEED, begun, time.monotonic())
                self.history.checks[room].append(seen)
            await asyncio.sleep(self.rng.random() * 0.003)


async def play(settings, deployment, seed, *, breaks=True):
    """Play a random history, and return how many checks of it were verified."""
    rng = random.Random(seed)
    async with (
        open_store(settings) as first,
        open_store(settings) as second,
        open_store(settings) as third,
        asyncio.TaskGroup() as group,
    ):
        stores = [first, second, third]
        await first.registry.mark_reconciled()
        clients, stop = Clients(stores, rng), asyncio.Event()
        checking = [group.create_task(clients.check(stop)) for _ in range(CHECKERS)]
        writing = [group.create_task(clients.write(room, ROUNDS)) for room in ROOMS]
        while (await asyncio.wait(writing, timeout=0.05))[1]:
            if breaks:
                deployment.ask_all("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        if breaks:
            await lose_writes(deployment, clients, stores)
        stop.set()
        await asyncio.wait(checking)
    return clients.history.verify()


async def lose_writes(deployment, clients, stores):
    """Let the store forget a registration and take others since; nothing is decided before it is reconciled."""
    losing = LostWrites(deployment.registry_node().ask, "mps", ROOMS)
    await clients._done(ROOMS[0], True, lambda: register(stores[0], join(ROOMS[0], "$forgotten")))
    for store in stores:
        with suppress(StoreUnavailableError):
            await store.mirror.fully_consistent(())
    losing.lose()
    await asyncio.sleep(0.1)  # checks go on meanwhile, and none may PROCEED


@pytest.fixture
def slow_network(monkeypatch):
    slow_reads(monkeypatch)


@pytest.mark.parametrize("seed", range(3))
async def test_checks_are_linearizable(settings, deployment, slow_network, seed):
    assert await play(settings, deployment, seed) > 30


@pytest.mark.parametrize("mutate", KNOWN_MISTAKES)
async def test_known_mistakes_are_caught(settings, deployment, slow_network, monkeypatch, mutate):
    mutate(monkeypatch)
    with pytest.raises(NotLinearizableError):
        await play_many(settings, deployment)


async def play_many(settings, deployment):
    for seed in range(10):
        await play(settings, deployment, seed)


async def test_a_missing_chain_id_matters_only_where_writes_are_lost(settings, deployment, monkeypatch):
    """So that the mistake above is caught for what it is."""
    no_chain_id(monkeypatch)
    assert await play(settings, deployment, 0, breaks=False) > 30

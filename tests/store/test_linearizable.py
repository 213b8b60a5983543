"""Random interleavings of clients on several replicas, whose connections break: every check is what one registry could say.

The same histories catch three known mistakes, so they prove something.
"""

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from partialstate_service.domain.checks import CheckRequest, UnableSpelling, Verdict
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.errors import NotReconciledError, StoreUnavailableError
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.domain.rooms import ReleaseReason
from partialstate_service.ownership.checking import Checking, FullyConsistent
from partialstate_service.store.mirror import RedisMirror
from partialstate_service.store.open import open_store
from partialstate_service.store.read_index import ReadIndex
from partialstate_service.store.server import Server
from support.check_history import CheckHistory, NotLinearizableError, Seen, Write
from support.store_rooms import NOW, join, register

ROOMS = [RoomId(f"!{i}:here") for i in range(4)]
KEYS = ("meta", "log", "rooms", *(f"room:{room}" for room in ROOMS))
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
    prefix, node = "mps:{registry}:", deployment.registry_node()
    for key in KEYS:
        node.ask("COPY", prefix + key, "copy:{registry}:" + key, "REPLACE")
    await clients._done(ROOMS[0], True, lambda: register(stores[0], join(ROOMS[0], "$forgotten")))
    for store in stores:
        with suppress(StoreUnavailableError):
            await store.mirror.fully_consistent(())
    loss = [
        f"redis.call('DEL', '{prefix}{key}') redis.call('COPY', 'copy:{{registry}}:{key}', '{prefix}{key}')"
        for key in KEYS
    ]
    loss.append(
        f"redis.call('HINCRBY', '{prefix}meta', 'revision', 1) redis.call('HSET', '{prefix}meta', 'chain', 'other') "
        f"redis.call('XADD', '{prefix}log', redis.call('HGET', '{prefix}meta', 'revision') .. '-0', 'chain', 'other', "
        "'prev', 'unknown', 'kind', 'other', 'room', '')"
    )
    node.ask("EVAL", " ".join(loss), "1", prefix + "meta")
    await asyncio.sleep(0.1)  # checks go on meanwhile, and none may PROCEED


@pytest.fixture
def slow_network(monkeypatch):
    """Answers of the store take their time, each another one."""
    rng, run = random.Random(0), Server.run

    async def slow(self, name, keys, arguments):
        reply = await run(self, name, keys, arguments)
        if name == "read_index":
            await asyncio.sleep(rng.random() * 0.004)
        return reply

    monkeypatch.setattr(Server, "run", slow)


@pytest.mark.parametrize("seed", range(3))
async def test_checks_are_linearizable(settings, deployment, slow_network, seed):
    assert await play(settings, deployment, seed) > 30


def joining_a_read_in_flight(monkeypatch):
    """A check is answered by a read that was issued before it."""

    async def read(self, event_ids):
        if getattr(self, "flight", None) is None or self.flight.done():
            self.flight = asyncio.ensure_future(self._read(()))
        await asyncio.shield(self.flight)
        return {}

    monkeypatch.setattr(ReadIndex, "read", read)


def no_chain_id(monkeypatch):
    """A mirror believes that a store with a later revision has its past too."""
    follow = RedisMirror._follow

    async def trusting(self, reading):
        ours = self._token
        if reading.token.revision < ours.revision:
            reading = replace(reading, token=ours)
        reading = replace(
            reading,
            token=replace(reading.token, chain_id=ours.chain_id),
            entries=[entry for entry in reading.entries if not entry[0].startswith(b"%d-" % ours.revision)],
        )
        for _, fields in reading.entries[:1]:
            fields[fields.index(b"prev") + 1] = ours.chain_id.encode()
        self._rooms = (
            {room.room_id: room for room in (await self._registry.page(None, 100, frozenset()))[0]}
            if reading.entries
            else self._rooms
        )
        return await follow(self, reading)

    monkeypatch.setattr(RedisMirror, "_follow", trusting)


def release_by_time(monkeypatch):
    """A room counts as full once it has been partial for some time."""
    seen = {}

    def rooms(self):
        now = time.monotonic()
        return {
            room_id: room
            for room_id, room in self._rooms.items()
            if now - seen.setdefault((room_id, room.generation), now) < 0.003
        }

    monkeypatch.setattr(RedisMirror, "rooms", property(rooms))


@pytest.mark.parametrize("mutate", [joining_a_read_in_flight, no_chain_id, release_by_time])
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

"""Watch through gRPC: the five guarantees under random histories, one validator each; and copies that stay true."""

import asyncio
import random
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from partialstate.v1 import rooms_service_pb2 as pb
from partialstate.v1 import types_pb2 as types
from partialstate.v1 import watch_service_pb2 as watch
from partialstate_service.domain.ids import Revision
from partialstate_service.store.protocol import Change
from partialstate_service.store.settings import StoreSettings
from support.api import refused
from support.api_clients import Client
from support.called_rooms import random_room
from support.mortal_replicas import mortal_replicas
from support.send_joins import sent_join
from support.store_server import ask
from support.watch_guarantees import Stream, is_bookmarkable, is_ordered, is_reliable, is_resumable, is_unique
from support.watching_clients import WatchingClient, parsed

ROOMS, CLIENTS, WATCHERS, CALLS = 3, 3, 6, 40


class Watching:
    """Replicas, clients that call them, and clients that watch."""

    def __init__(self, settings, replicas, rng):
        self.replicas, self.rng = replicas, rng
        self.rooms = [random_room(rng) for _ in range(ROOMS)]
        self.watchers = [
            WatchingClient(replicas, random.Random(rng.random()), slow=number % 2 == 0)
            for number in range(WATCHERS)
        ]
        self.ask = partial(ask, settings.url.removeprefix("unix://"))
        self.log_key = f"{settings.key_prefix}:{{registry}}:log"
        self.prefix = settings.key_prefix

    async def work(self, harm=None):
        """Let clients make their calls while *harm* is done."""
        clients = [
            Client(self.replicas, self.rooms, random.Random(self.rng.random())) for _ in range(CLIENTS)
        ]
        async with asyncio.TaskGroup() as group:
            working = [group.create_task(client.work(CALLS)) for client in clients]
            harming = None if harm is None else group.create_task(harm(self))
            await asyncio.wait(working)
            if harming is not None:
                harming.cancel()

    async def listed(self):
        """Return the rooms, and the revision that a watcher must have come to, to know them."""
        answer = await (await self.replicas[0].api()).rooms.ListPartialRooms(pb.ListPartialRoomsRequest())
        return {room.room_id: room for room in answer.rooms}, parsed(answer.state_token)

    async def true_copies(self):
        """Return once all watchers are up to date: each has an exact copy of the rooms."""
        rooms, token = await self.listed()
        async with asyncio.timeout(60):
            for watcher in self.watchers:
                while not watcher.token.token or parsed(watcher.token) != token:
                    await watcher.moved()
                assert watcher.rooms == rooms
        return token

    def log(self):
        """Return the revisions of all changes of rooms that the log has, from the log itself."""
        script = (
            "local found = {} for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do "
            "for i = 1, #entry[2], 2 do if entry[2][i] == 'room' and entry[2][i + 1] ~= '' then "
            "found[#found + 1] = entry[1] end end end return table.concat(found, ' ')"
        )
        text = self.ask("EVAL", script, "1", self.log_key).split(b"\r\n")[1].decode()
        return [Revision(int(entry.partition("-")[0])) for entry in text.split()]

    def validate(self, store_id, log):
        """Hold every stream of a store against every guarantee; return how many changes they had."""
        for watcher in self.watchers:
            for watched in watcher.watched:
                if watched.store_id != store_id:
                    continue
                for stream in watched.streams:
                    is_ordered(stream)
                    is_unique(stream)
                    is_reliable(stream, log)
                    is_bookmarkable(stream, log)
                is_resumable(watched.streams, log)
        return sum(
            len(stream.changes)
            for watcher in self.watchers
            for watched in watcher.watched
            for stream in watched.streams
        )

    @property
    def endings(self):
        return {ending for watcher in self.watchers for ending in watcher.endings}


@asynccontextmanager
async def watching(store_url, seed):
    rng = random.Random(seed)
    settings = StoreSettings(
        data_dir=Path("unused"),
        url=store_url,
        key_prefix=uuid4().hex,
        follow_interval_s=0.1,
        bookmark_interval_s=0.02,
        mirror_history=20,
    )
    async with mortal_replicas(2, settings) as replicas:
        await (await replicas[0].api()).reconcile()
        found = Watching(settings, replicas, rng)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(watcher.run()) for watcher in found.watchers]
            await found.true_copies()
            yield found
            for task in tasks:
                task.cancel()


def seen(message):
    return Change(parsed(message.state_token), message.WhichOneof("event") or "bookmark", None, None, None)


async def killed(found):
    while True:
        await asyncio.sleep(found.rng.uniform(0.1, 0.4))
        found.rng.choice(found.replicas).kill()


@pytest.fixture
def short_queues(monkeypatch):
    """Readers are ended as soon as they lag three changes."""
    monkeypatch.setattr("partialstate_service.rpc.watch._QUEUE_LIMIT", 3)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 60))])
async def test_random_histories_keep_all_five(store_url, seed, short_queues, record_property):
    async with watching(store_url, seed) as found:
        await found.work(killed)
        token = await found.true_copies()
        changes = found.validate(token.store_id, found.log())
        assert changes > WATCHERS * CLIENTS
        assert "STORE_UNAVAILABLE" not in found.endings - {""}
        streams = sum(len(watched.streams) for watcher in found.watchers for watched in watcher.watched)
    record_property(
        "figures", f"{changes} changes in {streams} streams, which ended with {sorted(found.endings)}"
    )


async def test_a_slow_reader_is_ended_and_goes_on_where_it_was(api, short_queues):
    join = sent_join()
    await api.register(join)
    start = await api.token()
    call = api.watch.Watch(watch.WatchRequest(optional_after=start))
    for number in range(30):  # each change is larger than the one before, for it names all servers
        servers = [f"{number}-{i}.{'x' * 60}.{'y' * 60}.example" for i in range(100)]
        await api.rooms.RetryResync(pb.RetryResyncRequest(room_id=join.room_id, additional_servers=servers))
    slow = Stream(parsed(start).revision)
    with refused() as refusal:
        while True:
            slow.sent.append(seen(await call.read()))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "READER_TOO_SLOW")
    end = await api.token()
    streams = [slow]
    while streams[-1].last < parsed(end).revision:
        token = streams[-1].sent[-1].token
        text = f"{token.store_id}.{token.revision}.{token.chain_id}"
        rest = api.watch.Watch(watch.WatchRequest(optional_after=types.StateToken(token=text)))
        streams.append(Stream(token.revision, [seen(await rest.read())]))
        rest.cancel()
    log = [revision for stream in streams for revision in stream.changes]
    assert log == list(range(parsed(start).revision + 1, parsed(end).revision + 1))
    for stream in streams:
        is_bookmarkable(stream, log)
    is_resumable(streams, log)


async def test_a_reader_behind_a_trimmed_log_lists_again(store_url):
    async with watching(store_url, 0) as found:
        for watcher in found.watchers:
            watcher.awake.clear()
        await found.work()
        log = found.log()
        found.ask("XTRIM", found.log_key, "MAXLEN", "2")
        for replica in found.replicas:  # they remember some of it, and forget it with their lives
            replica.kill()
        for watcher in found.watchers:
            watcher.awake.set()
        await found.work()
        token = await found.true_copies()
        assert all("TOKEN_TOO_OLD" in watcher.endings for watcher in found.watchers)
        found.validate(token.store_id, sorted({*log, *found.log()}))


async def test_a_reader_of_a_store_that_was_wiped_lists_the_new_one(store_url):
    async with watching(store_url, 0) as found:
        await found.work()
        old = await found.true_copies()
        log = found.log()
        keys = f"for _, key in ipairs(redis.call('KEYS', '{found.prefix}:*')) do redis.call('DEL', key) end"
        found.ask("EVAL", keys, "0")
        for room in found.rooms:
            room.generations.clear()
        await (await found.replicas[0].api()).reconcile()
        await found.work()
        new = await found.true_copies()
        assert new.store_id != old.store_id
        assert new.revision > old.revision
        assert all("FOREIGN_TOKEN" in watcher.endings for watcher in found.watchers)
        found.validate(old.store_id, log)
        found.validate(new.store_id, found.log())

"""Many rooms at once: bounded requests, nobody starved, users first, and no herd at the start."""

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

from partialstate_service.demo.resident.behaviour import Behaviour, Held, Slow
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.federation.protocol import StateElement, StateIds
from partialstate_service.resync.request_limits import LimitedServers, RequestLimits
from support.many_rooms import running_rooms
from support.misbehaviours import STATE, STATE_IDS
from support.resyncing import QUICK, RoomOnStore, assert_exact, working

SMALL = WorldSize(members=15, servers=3, messages=1)
A, B, ROOM, EVENT = ServerName("a.example"), ServerName("b.example"), RoomId("!r:a"), EventId("$e")


class Counting:
    """Servers that count how many of their requests are in flight."""

    def __init__(self) -> None:
        self.now: Counter[ServerName] = Counter()
        self.most: Counter[ServerName] = Counter()
        self.most_in_all = 0

    @asynccontextmanager
    async def _counted(self, server):
        self.now[server] += 1
        self.most[server] = max(self.most[server], self.now[server])
        self.most_in_all = max(self.most_in_all, self.now.total())
        for _ in range(3):
            await asyncio.sleep(0)
        try:
            yield
        finally:
            self.now[server] -= 1

    async def state_ids(self, server, room, event_id, own_id):
        async with self._counted(server):
            return StateIds((), ())

    async def state(self, server, room, event_id):
        async with self._counted(server):
            yield [StateElement("pdus", b"{}", {})]

    async def event(self, server, event_id):
        async with self._counted(server):
            return b"{}"

    async def event_auth(self, server, room, event_id):
        async with self._counted(server):
            return []


async def read(servers, server):
    async for _ in servers.state(server, ROOM, EVENT):
        pass


async def test_requests_in_flight_are_bounded_for_each_server_and_in_all():
    counting = Counting()
    limits = RequestLimits(states=3, states_per_server=2, events=5, events_per_server=4)
    servers = LimitedServers(counting, limits)
    await asyncio.gather(*(servers.event(server, EVENT) for server in [A, B] * 20))
    assert max(counting.most.values()) <= 4
    assert counting.most_in_all == 5
    counting.most.clear()
    counting.most_in_all = 0
    await asyncio.gather(*(read(servers, server) for server in [A, B] * 20))
    assert max(counting.most.values()) == 2
    assert counting.most_in_all == 3


async def test_a_cancelled_request_gives_its_place_back():
    servers = LimitedServers(Counting(), RequestLimits(lists=1, lists_per_server=1))
    requests = [asyncio.create_task(servers.state_ids(A, ROOM, EVENT)) for _ in range(4)]
    await asyncio.sleep(0)
    for request in requests[:3]:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    assert await servers.state_ids(A, ROOM, EVENT) == StateIds((), ())


async def test_rooms_that_take_long_do_not_hold_up_small_ones(store, tmp_path):
    limits = replace(QUICK, concurrent_rooms=2, long_room_s=0.1)
    async with running_rooms([SMALL] * 6, random.Random(1)) as rooms:
        released = asyncio.Event()
        for running in rooms[:2]:
            for server in running.world.servers:
                running.residents.behave(server.name, Held(released), STATE)
        async with working(rooms[0], store, tmp_path, limits=limits):
            views = [RoomOnStore(running, store) for running in rooms]
            joined = [await view.join() for view in views]
            for view, join in zip(views[2:], joined[2:], strict=True):
                await view.until(join.room_id, RoomStatus.AWAITING_IMPORT)
            for join in joined[:2]:
                assert (await store.registry.get(join.room_id)).status is RoomStatus.RESYNCING
            released.set()
            for view, join in zip(views, joined, strict=True):
                await view.until(join.room_id, RoomStatus.AWAITING_IMPORT)
                await assert_exact(view, join)


class Noting(Behaviour):
    """Answers honestly, and notes when it was first asked."""

    def __init__(self, order: list[int], number: int) -> None:
        self._order = order
        self._number = number

    async def answer(self, request, honest):
        if self._number not in self._order:
            self._order.append(self._number)
        return await honest()


async def test_many_rooms_due_at_once_are_begun_in_the_rate_and_all_recovered(
    store, tmp_path, record_property
):
    limits = replace(QUICK, concurrent_rooms=4, starts_per_s=20.0, start_burst=4)
    async with running_rooms([SMALL] * 24, random.Random(2)) as rooms:
        order: list[int] = []
        for number, running in enumerate(rooms):
            for server in running.world.servers:
                running.residents.behave(server.name, Slow(0.01, Noting(order, number)), STATE_IDS)
        views = [RoomOnStore(running, store) for running in rooms]
        joined = [await view.join() for view in views]
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        async with working(rooms[0], store, tmp_path, limits=limits):
            for view, join in zip(views, joined, strict=True):
                await view.until(join.room_id, RoomStatus.AWAITING_IMPORT)
            took_s = loop.time() - begun_s
            for view, join in zip(views, joined, strict=True):
                await assert_exact(view, join)
        assert len(order) == len(rooms)
        # Four at once, then one each 50 ms.
        assert took_s >= 20 * 0.05 * 0.9
        record_property("figures", f"{len(rooms)} rooms due at once were recovered within {took_s:.1f} s")

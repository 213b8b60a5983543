"""Services as processes whose store changes hands: a slot that moves, and an old primary that comes back.

Checks are right or are not made; nothing that was acknowledged is lost.
"""

import asyncio
import signal
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from partialstate.v1 import check_service_pb2 as checks
from partialstate.v1 import rooms_service_pb2 as rooms
from partialstate_service.store.topologies import slot_of
from support.api import connected, registration
from support.send_joins import sent_join
from support.service_processes import service_environment, service_process
from support.slot_moves import SlotMove
from support.store_server import servers_here
from support.store_topologies import cluster_store, sentinel_store, until

pytestmark = pytest.mark.timeout(240)
_NO_DECISION = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
LIST = rooms.ListPartialRoomsRequest(page_size=1000)


class Frontends:
    """Those who register and release rooms through one service and check them through another."""

    def __init__(self, writer, checker):
        self.writer, self.checker = writer, checker
        self.partial, self.full = set(), set()
        """Rooms that are so for good, as far as acknowledged."""
        self.decided = self.undecided = 0

    async def write(self):
        """Register a room, and release every other one."""
        join = sent_join()
        registered = await self._repeated(lambda: self.writer.rooms.RegisterPartialJoin(registration(join)))
        if (len(self.partial) + len(self.full)) % 2:
            request = rooms.ReleaseRoomRequest(
                room_id=join.room_id, generation=registered.generation, reason=rooms.RELEASE_REASON_PURGED
            )
            await self._repeated(lambda: self.writer.rooms.ReleaseRoom(request))
            self.full.add(join.room_id)
        self.partial.add(join.room_id)
        self.partial -= self.full

    async def check(self, timeout_s=5):
        """Check all rooms at once; a decision on any must be right."""
        known = [(room, True) for room in self.partial] + [(room, False) for room in self.full]
        request = checks.BatchCheckRequest(
            requests=[
                checks.CheckRequest(
                    endpoint=checks.ENDPOINT_STATE_IDS, origin="b.example", room_id=room, event_ids=["$e"]
                )
                for room, _ in known
            ]
        )
        try:
            answer = await self.checker.check.BatchCheck(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            refused = error
        else:
            self.decided += 1
            for (room, is_partial), result in zip(known, answer.results, strict=True):
                right = checks.VERDICT_REFUSE if is_partial else checks.VERDICT_PROCEED
                assert result.decision.verdict == right, room
            return True
        assert refused.code() in _NO_DECISION
        self.undecided += 1
        return False

    async def until_decided(self):
        async with asyncio.timeout(60):
            while not await self.check():  # noqa: ASYNC110 - another process, which tells nobody
                await asyncio.sleep(0.05)

    async def nothing_is_lost(self):
        for api in (self.writer, self.checker):
            listed = await self._repeated(lambda api=api: api.rooms.ListPartialRooms(LIST))
            assert {room.room_id for room in listed.rooms} == self.partial

    async def _repeated(self, call):
        async with asyncio.timeout(60):
            while True:
                try:
                    return await call()
                except grpc.aio.AioRpcError as error:
                    refused = error
                assert refused.code() in _NO_DECISION
                await asyncio.sleep(0.05)


@asynccontextmanager
async def two_services(store_url, directory):
    async with AsyncExitStack() as stack:
        services, apis = [], []
        for name in ("writer", "checker"):
            own = directory / name
            own.mkdir()
            environment = service_environment(own, STORE_URL=store_url, ROLE="api")
            service = await stack.enter_async_context(service_process(environment))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(service.address))
            services.append(service)
            apis.append(connected(None, service.address, channel))
        frontends = Frontends(*apis)
        await frontends._repeated(apis[0].reconcile)
        yield frontends, services


async def test_a_slot_that_moves_to_another_primary(tmp_path, tmp_path_factory, record_property):
    with cluster_store(servers_here()[-1], tmp_path_factory.mktemp("c")) as deployment:
        async with two_services(deployment.url, tmp_path) as (frontends, _):
            for _ in range(6):
                await frontends.write()
            move = SlotMove(deployment, slot_of("{registry}"), deployment.nodes[0], deployment.nodes[1])
            move.begin()
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(writes(frontends, 6))
                while move.move(2):
                    await frontends.check()
                move.finish()
                await writing
            await frontends.until_decided()
            await frontends.nothing_is_lost()
            assert deployment.registry_node() is deployment.nodes[1]
            assert len(frontends.partial) == len(frontends.full) == 6
    record_property("figures", f"{frontends.decided} decisions, {frontends.undecided} refused")


async def writes(frontends, count):
    for _ in range(count):
        await frontends.write()


@pytest.mark.long
@pytest.mark.parametrize("topology", [sentinel_store, cluster_store])
async def test_an_old_primary_that_comes_back_is_not_believed(
    topology, tmp_path, tmp_path_factory, record_property
):
    with topology(servers_here()[-1], tmp_path_factory.mktemp("o")) as deployment:
        async with two_services(deployment.url, tmp_path) as (frontends, (_, checker)):
            for _ in range(4):
                await frontends.write()
            await frontends.until_decided()
            # The checker sleeps through the fail-over too, and wakes with its connections to the old primary.
            old = deployment.registry_node()
            checker.process.send_signal(signal.SIGSTOP)
            old.signal(signal.SIGSTOP)
            try:
                for _ in range(4):
                    await frontends.write()
            finally:
                old.signal(signal.SIGCONT)
                checker.process.send_signal(signal.SIGCONT)
            frontends.decided = 0
            for _ in range(50):
                await frontends.check()
            await frontends.until_decided()
            until(lambda: old.role() == b"slave")
            await frontends.until_decided()
            await frontends.nothing_is_lost()
    record_property("figures", f"{frontends.decided} decisions, {frontends.undecided} refused")

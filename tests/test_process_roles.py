"""Processes that share a store: one answers, another resyncs, and neither does the other's work."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from partialstate.v1 import rooms_service_pb2 as rooms
from partialstate.v1 import watch_service_pb2 as watching
from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings
from support.api import connected, registration
from support.send_joins import sent_join
from support.service_processes import service_environment, service_process
from support.store_server import running_server, servers_here

LIST = rooms.ListPartialRoomsRequest()
_TURN_S = 60


@pytest.fixture
def store(tmp_path):
    """The URL of a store for several processes."""
    with running_server(servers_here()[0], tmp_path / "store") as path:
        yield f"unix://{path}"


def environment(directory, store, role):
    own = directory / role
    own.mkdir()
    return service_environment(own, STORE_URL=store, ROLE=role)


async def test_the_one_that_answers_leaves_the_work_to_the_one_that_resyncs(tmp_path, store):
    answering = environment(tmp_path, store, "api") | {"PARTIALSTATE_SIGNING_KEY_PATH": ""}
    resyncing = environment(tmp_path, store, "resync")
    join = sent_join()
    # Nobody answers for the room's servers, so that the work on it goes on for as long as the test.
    async with (
        service_process(answering) as api_process,
        grpc.aio.insecure_channel(api_process.address) as channel,
    ):
        api = connected(None, api_process.address, channel)
        await api.rooms.RegisterPartialJoin(registration(join))
        watch = api.watch.Watch(watching.WatchRequest())
        await watch.read()
        async with service_process(resyncing) as resync_process:
            async with asyncio.timeout(_TURN_S):
                while not (await watch.read()).changed.resync.attempt_count:
                    pass
            async with grpc.aio.insecure_channel(resync_process.address) as other:
                health = health_pb2_grpc.HealthStub(other)
                live = await health.Check(health_pb2.HealthCheckRequest())
                assert live.status == health_pb2.HealthCheckResponse.SERVING
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await connected(None, "", other).rooms.ListPartialRooms(LIST)
                assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert await resync_process.end(signal.SIGTERM) == 0
        assert await api_process.end(signal.SIGTERM) == 0


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Listen as a homeserver that takes connections and never says a word; yields its name."""
    connections = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()

    async with await asyncio.start_server(keep, "127.0.0.1") as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in connections:
            writer.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_process_that_is_told_to_end_hands_its_rooms_back(tmp_path, store, number):
    """Another need not wait for the lease to run out, as it must after a kill."""
    working = environment(tmp_path, store, "all") | {
        "PARTIALSTATE_FEDERATION_ALLOWED_NETWORKS": "127.0.0.0/8"
    }
    join = sent_join()
    async with silent_server() as resident, service_process(working) as process:
        async with grpc.aio.insecure_channel(process.address) as channel:
            api = connected(None, process.address, channel)
            watch = api.watch.Watch(watching.WatchRequest())
            await watch.read()
            await api.rooms.RegisterPartialJoin(registration(join, joined_via=resident))
            async with asyncio.timeout(_TURN_S):
                while not (await watch.read()).changed.resync.attempt_count:
                    pass
        await process.end(number)
        async with open_store(StoreSettings(data_dir=tmp_path, url=store)) as opened:
            lease = await opened.registry.claim_due("another", time.time_ns() // 1_000_000, 1_000)
    if number == signal.SIGTERM:
        assert lease is not None
        assert lease.room_id == join.room_id
    else:
        assert lease is None

"""The service as a process whose store comes late, goes away and comes back."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from partialstate.v1 import rooms_service_pb2 as rooms
from support.api import Api, connected, refused, registration
from support.send_joins import sent_join
from support.service_processes import service_environment, service_process
from support.store_server import running_server, servers_here

LIVENESS = health_pb2.HealthCheckRequest()
READINESS = "partialstate.v1.CheckService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LIST = rooms.ListPartialRoomsRequest()
_TURN_S = 30


class Caller:
    """A client of a service: its API, its liveness, and each change of its readiness."""

    def __init__(self, api: Api, channel: grpc.aio.Channel, readiness: str) -> None:
        self.api = api
        self._health = health_pb2_grpc.HealthStub(channel)
        self._readiness = self._health.Watch(health_pb2.HealthCheckRequest(service=readiness))

    async def turns(self, status: int) -> None:
        """Return when readiness has turned to *status*."""
        async with asyncio.timeout(_TURN_S):
            while (await self._readiness.read()).status != status:
                pass

    async def is_live(self) -> bool:
        return (await self._health.Check(LIVENESS, timeout=5)).status == SERVING


@asynccontextmanager
async def caller(address: str, readiness: str = READINESS) -> AsyncIterator[Caller]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield Caller(connected(None, address, channel), channel, readiness)


def servers_of(data: Path) -> list[int]:
    """Return the ids of the processes that serve *data*."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if cwd.readlink() == data:
                found.append(int(cwd.parent.name))
        except OSError:
            continue
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def room_or_nothing(api: Api, room_id: str) -> rooms.PartialRoom | None:
    """Return the room, or nothing while the service is without its store."""
    try:
        return (await api.rooms.GetPartialRoom(rooms.GetPartialRoomRequest(room_id=room_id))).room
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return None
        raise


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")


async def test_a_service_without_a_store_is_live_and_becomes_ready_by_itself(tmp_path):
    store = tmp_path / "store"
    environment = service_environment(tmp_path, STORE_URL=f"unix://{store}/store.sock")
    async with service_process(environment) as running, caller(running.address) as client:
        await client.turns(NOT_SERVING)
        assert await client.is_live()
        for call in (client.api.rooms.ListPartialRooms(LIST), client.api.register(sent_join())):
            with refused() as refusal:
                await call
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        with running_server(servers_here()[0], store):
            await client.turns(SERVING)
            await client.api.register(sent_join())
        await client.turns(NOT_SERVING)
        assert await running.end(signal.SIGTERM) == 0


async def test_a_service_outlives_its_store(tmp_path):
    store, join = tmp_path / "store", sent_join()
    with ExitStack() as first:
        first.enter_context(running_server(servers_here()[0], store))
        environment = service_environment(tmp_path, STORE_URL=f"unix://{store}/store.sock")
        async with service_process(environment) as running, caller(running.address) as client:
            await client.turns(SERVING)
            registered = await client.api.register(join)
            first.close()
            await client.turns(NOT_SERVING)
            assert await client.is_live()
            with refused() as refusal:
                await client.api.rooms.ListPartialRooms(LIST)
            assert refusal.reason == "STORE_UNAVAILABLE"
            with running_server(servers_here()[0], store):
                await client.turns(SERVING)
                room = (await client.api.rooms.ListPartialRooms(LIST)).rooms[0]
            assert room.generation == registered.generation


async def test_a_service_that_only_resyncs_is_ready_as_long_as_its_store_is_there(tmp_path):
    store = tmp_path / "store"
    environment = service_environment(tmp_path, STORE_URL=f"unix://{store}/store.sock", ROLE="resync")
    async with service_process(environment) as running, caller(running.address, "ready") as client:
        await client.turns(NOT_SERVING)
        with running_server(servers_here()[0], store):
            await client.turns(SERVING)
        await client.turns(NOT_SERVING)
        assert await client.is_live()
        assert await running.end(signal.SIGTERM) == 0


@needs_proc
async def test_the_embedded_store_comes_back_after_a_kill(tmp_path):
    join = sent_join()
    async with service_process(service_environment(tmp_path)) as running, caller(running.address) as client:
        registered = await client.api.rooms.RegisterPartialJoin(registration(join))
        [server] = servers_of(tmp_path / "data")
        os.kill(server, signal.SIGKILL)
        async with asyncio.timeout(_TURN_S):
            while (room := await room_or_nothing(client.api, join.room_id)) is None:
                pass
        assert room.generation == registered.generation
        assert servers_of(tmp_path / "data") not in ([], [server])
        assert await running.end(signal.SIGTERM) == 0
        assert servers_of(tmp_path / "data") == []


@needs_proc
async def test_without_its_supervisor_the_service_ends_and_says_why(tmp_path):
    """It could not promise any more that the store comes back."""
    async with service_process(service_environment(tmp_path)) as running:
        [server] = servers_of(tmp_path / "data")
        os.kill(parent_of(server), signal.SIGKILL)
        assert await running.ended() == 1
    assert running.log[-1].startswith("the supervisor of the embedded server was ended")
    assert servers_of(tmp_path / "data") == []

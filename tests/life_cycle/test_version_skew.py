"""Two releases serve over one store, in a rolling upgrade and back: nothing is forgotten, and nothing decided wrongly."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from partialstate.v1 import check_service_pb2 as pb
from partialstate.v1 import rooms_service_pb2 as rooms
from partialstate.v1 import watch_service_pb2 as watching
from support.api import connected, refused, registration
from support.send_joins import sent_join
from support.service_processes import service_environment, service_process
from support.store_server import ask, running_server, servers_here

THIS, NEXT = "partialstate_service", "support.next_release"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
CHECKS = health_pb2.HealthCheckRequest(service="partialstate.v1.CheckService")
_TURN_S = 30


@pytest.fixture
def server_socket(tmp_path):
    with running_server(servers_here()[0], tmp_path / "store") as path:
        yield path


@asynccontextmanager
async def replica(directory, server_socket, release, **more):
    """Run a replica of a release that answers; yields its process and its API."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = service_environment(directory, STORE_URL=f"unix://{server_socket}", ROLE="api")
    environment |= {"PARTIALSTATE_SIGNING_KEY_PATH": "", "PYTHONPATH": os.pathsep.join(paths), **more}
    async with (
        service_process(environment, release) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        yield running, connected(None, running.address, channel), health_pb2_grpc.HealthStub(channel)


async def verdict(api, room_id) -> int:
    """Return what another server would be told that asks for the room's state: proof that it is in the room there is none."""
    request = pb.CheckRequest(
        endpoint=pb.ENDPOINT_STATE_IDS, origin="b.example", room_id=room_id, event_ids=["$e"]
    )
    decided: int = (await api.check.Check(request)).verdict
    return decided


async def generations(api) -> dict[str, int]:
    listed = await api.rooms.ListPartialRooms(rooms.ListPartialRoomsRequest())
    return {room.room_id: room.generation for room in listed.rooms}


async def register(api, join) -> int:
    registered = await api.rooms.RegisterPartialJoin(registration(join))
    generation: int = registered.generation
    return generation


async def confirm(api, room_id, generation) -> None:
    await api.rooms.ConfirmJoin(rooms.ConfirmJoinRequest(room_id=room_id, generation=generation))


async def release(api, room_id, generation) -> None:
    reason = rooms.RELEASE_REASON_PURGED
    await api.rooms.ReleaseRoom(
        rooms.ReleaseRoomRequest(room_id=room_id, generation=generation, reason=reason)
    )


async def hold(apis, expected, gone=()) -> None:
    """Assert that each replica has the same rooms, refuses for them, and for those that are gone for none."""
    for api in apis:
        assert await generations(api) == expected
        for room_id in expected:
            assert await verdict(api, room_id) == pb.VERDICT_REFUSE
        for room_id in gone:
            assert await verdict(api, room_id) == pb.VERDICT_PROCEED


async def reconcile(api) -> None:
    token = (await api.rooms.ListPartialRooms(rooms.ListPartialRoomsRequest())).state_token
    header = rooms.ReconcileRoomsHeader(state_token=token)
    await api.rooms.ReconcileRooms(iter([rooms.ReconcileRoomsRequest(header=header)]))


async def watched(api, token, last) -> list[str]:
    """Return the rooms of the changes from one token to another."""
    seen = []
    watch = api.watch.Watch(watching.WatchRequest(optional_after=token))
    async with asyncio.timeout(_TURN_S):
        while (change := await watch.read()).state_token != last:
            seen.append(change.changed.room_id or change.ended.room_id)
    return [room_id for room_id in seen if room_id]


async def test_a_rolling_upgrade_and_back(tmp_path, server_socket):
    first, second, third = (sent_join() for _ in range(3))
    held: dict[str, int] = {}
    async with AsyncExitStack() as old_one, AsyncExitStack() as new_one, AsyncExitStack() as rolled_back:
        old, api, _ = await old_one.enter_async_context(replica(tmp_path, server_socket, THIS))
        await reconcile(api)
        start = (await api.rooms.ListPartialRooms(rooms.ListPartialRoomsRequest())).state_token
        held[first.room_id] = await register(api, first)

        new, newer, _ = await new_one.enter_async_context(replica(tmp_path, server_socket, NEXT))
        await hold([api, newer], held)
        held[second.room_id] = await register(newer, second)
        await hold([api, newer], held)
        # Each changes what the other has written.
        await confirm(api, second.room_id, held[second.room_id])
        await confirm(newer, first.room_id, held[first.room_id])
        await hold([api, newer], held)
        note = ask(server_socket, "HGET", f"mps:{{registry}}:room:{second.room_id}", "note")
        assert note.split(b"\r\n")[1].startswith(b"of $"), "a field that only the next release knows is kept"

        assert await old.end(signal.SIGTERM) == 0
        held[third.room_id] = await register(newer, third)
        _, back, _ = await rolled_back.enter_async_context(replica(tmp_path, server_socket, THIS))
        await hold([newer, back], held)
        assert await new.end(signal.SIGTERM) == 0
        await hold([back], held)
        await release(back, second.room_id, held.pop(second.room_id))
        await hold([back], held, gone=[second.room_id])
        last = (await back.rooms.ListPartialRooms(rooms.ListPartialRoomsRequest())).state_token
        changes = await watched(back, start, last)
        assert {*changes} == {first.room_id, second.room_id, third.room_id}
        assert ask(server_socket, "HGET", "mps:{registry}:meta", "schema") == b"$1\r\n1\r\n"


async def test_a_release_that_cannot_read_the_store_decides_nothing(tmp_path, server_socket):
    """Two releases apart, which is not supported: the older one must notice."""
    join, other = sent_join(), sent_join()
    async with (
        replica(tmp_path, server_socket, THIS) as (old, api, health),
        replica(tmp_path, server_socket, NEXT) as (_, between, _),
        replica(tmp_path, server_socket, NEXT, NEXT_RELEASE_WRITES="2") as (_, newest, _),
    ):
        await reconcile(api)
        held = {join.room_id: await register(api, join)}
        await hold([api, between, newest], held)
        held[other.room_id] = await register(newest, other)
        with refused() as refusal:
            await verdict(api, join.room_id)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_NOT_UNDERSTOOD")
        with refused() as refusal:
            await confirm(api, join.room_id, held[join.room_id])
        assert refusal.reason == "STORE_NOT_UNDERSTOOD"
        await hold([between, newest], held)
        async with asyncio.timeout(_TURN_S):
            readiness = health.Watch(CHECKS)
            while (await readiness.read()).status != NOT_SERVING:
                pass
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        assert any("newer release" in line for line in old.log)
    with pytest.raises(AssertionError, match="newer release: update this one"):
        async with replica(tmp_path, server_socket, THIS):
            pass

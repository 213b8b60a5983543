"""What health says: whether the process runs, whether calls can succeed, and to whom it says so."""

import asyncio

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from partialstate.v1 import rooms_service_pb2, rooms_service_pb2_grpc
from partialstate_service.metrics import Metrics
from partialstate_service.rpc import health as health_module
from partialstate_service.rpc.credentials import TlsFiles
from partialstate_service.rpc.health_watches import HealthWatches
from partialstate_service.rpc.server import ServerConfig, api_server
from support.api import refused

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
PROCESS = health_pb2.HealthCheckRequest()
READY = health_pb2.HealthCheckRequest(service="ready")
CHECKS = health_pb2.HealthCheckRequest(service="partialstate.v1.CheckService")


@pytest.fixture
async def server():
    """A started server without a store."""
    async with api_server(ServerConfig(listen="127.0.0.1:0", drain_grace_s=1), Metrics()) as running:
        await running.start()
        yield running


@pytest.fixture
async def health(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield health_pb2_grpc.HealthStub(channel)


async def test_a_live_process_is_not_a_ready_one(server, health):
    assert (await health.Check(PROCESS)).status == SERVING
    assert (await health.Check(CHECKS)).status == NOT_SERVING
    server.set_ready(ready=True)
    assert (await health.Check(CHECKS)).status == SERVING


async def test_every_watcher_sees_every_turn(server, health):
    watches = [health.Watch(CHECKS) for _ in range(3)]
    assert {(await watch.read()).status for watch in watches} == {NOT_SERVING}
    watches.pop().cancel()
    for ready, status in ((True, SERVING), (False, NOT_SERVING), (True, SERVING)):
        server.set_ready(ready=ready)
        assert {(await watch.read()).status for watch in watches} == {status}
    await server.drain()
    assert {(await watch.read()).status for watch in watches} == {NOT_SERVING}
    assert {await watch.read() for watch in watches} == {grpc.aio.EOF}


async def test_a_draining_server_stays_unready(server, health):
    watch = health.Watch(CHECKS)
    await watch.read()
    draining = asyncio.create_task(server.drain())
    assert await watch.read() is grpc.aio.EOF
    server.set_ready(ready=True)
    await draining


async def test_an_unknown_service_is_told_apart_from_an_unready_one(health):
    nobody = health_pb2.HealthCheckRequest(service="nobody")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(nobody)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert (await health.Watch(nobody).read()).status == SERVICE_UNKNOWN


@pytest.mark.parametrize("requests", [0, 1, 3])
async def test_every_kind_of_call_is_refused_without_a_store(server, requests):
    async def stream():
        for _ in range(requests):
            yield rooms_service_pb2.RegisterPartialJoinRequest()

    async with grpc.aio.insecure_channel(server.address) as channel:
        rooms = rooms_service_pb2_grpc.RoomsServiceStub(channel)
        for call in (
            rooms.RegisterPartialJoin(stream()),
            rooms.ListPartialRooms(rooms_service_pb2.ListPartialRoomsRequest()),
        ):
            with refused() as refusal:
                await call
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


async def test_a_method_that_a_caller_made_up_is_not_remembered(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        for name in ("CheckService/Check", "CheckService/Invented", "Invented/Check"):
            call = channel.stream_stream(f"/partialstate.v1.{name}")()
            is_known = name == "CheckService/Check"
            assert await call.code() is (
                grpc.StatusCode.UNAVAILABLE if is_known else grpc.StatusCode.UNIMPLEMENTED
            )
    assert set(server._guard._wrapped) == {"/partialstate.v1.CheckService/Check"}


async def test_a_server_of_health_only_has_no_services_but_is_ready_or_not():
    config = ServerConfig(listen="127.0.0.1:0", health_only=True)
    async with api_server(config, Metrics()) as server, grpc.aio.insecure_channel(server.address) as channel:
        await server.start()
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(PROCESS)).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(CHECKS)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert (await health.Check(READY)).status == NOT_SERVING
        server.set_ready(ready=True)
        assert (await health.Check(READY)).status == SERVING


async def test_probes_without_tls_learn_health_and_nothing_else(tmp_path):
    issued = trustme.CA().issue_cert("127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    config = ServerConfig(
        listen="127.0.0.1:0", health_listen="127.0.0.1:0", tls=TlsFiles(certificate, key), drain_grace_s=1
    )
    async with api_server(config, Metrics()) as server:
        await server.start()
        assert server.health_address is not None
        async with grpc.aio.insecure_channel(server.health_address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(CHECKS)).status == NOT_SERVING
            server.set_ready(ready=True)
            assert (await health.Check(CHECKS)).status == SERVING
            rooms = rooms_service_pb2_grpc.RoomsServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rooms.ListPartialRooms(rooms_service_pb2.ListPartialRoomsRequest())
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_connection_of_some_age_is_made_anew():
    config = ServerConfig(listen="127.0.0.1:0", health_only=True, max_connection_age_s=0.2)
    async with api_server(config, Metrics()) as server, grpc.aio.insecure_channel(server.address) as channel:
        await server.start()
        await channel.channel_ready()
        async with asyncio.timeout(10):
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(PROCESS, wait_for_ready=True)).status == SERVING


async def test_watchers_leave_room_for_checks():
    """Whoever watches needs no token, so those who do must not keep others from asking, on the port of probes either."""
    config = ServerConfig(listen="127.0.0.1:0", health_listen="127.0.0.1:0", max_concurrent_calls=1)
    async with api_server(config, Metrics()) as server:
        await server.start()
        for address in (server.address, server.health_address):
            async with grpc.aio.insecure_channel(address) as channel:
                health = health_pb2_grpc.HealthStub(channel)
                watches = [health.Watch(PROCESS) for _ in range(100)]
                assert {(await watch.read()).status for watch in watches} == {SERVING}
                refusals = await asyncio.gather(*(refusal_of(health.Watch(PROCESS)) for _ in range(100)))
                assert {refusal.code for refusal in refusals} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
                assert refusals[0].facts == {"limit": "100", "scope": "client"}
                assert (await health.Check(PROCESS)).status == SERVING
                watches.pop().cancel()
                await until_watching(health)


async def refusal_of(watch):
    with refused() as refusal:
        await watch.read()
    return refusal


async def until_watching(health):
    """Return once the server has seen the end of a stream that its client has ended."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await health.Watch(PROCESS).read()
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)


async def test_a_watcher_that_never_says_of_what_is_one_too(server):
    method = "/grpc.health.v1.Health/Watch"
    async with grpc.aio.insecure_channel(server.address) as channel:
        mute = [channel.stream_stream(method)() for _ in range(101)]
        async with asyncio.timeout(5):
            done, _ = await asyncio.wait(
                [asyncio.ensure_future(call.code()) for call in mute], return_when=asyncio.FIRST_COMPLETED
            )
        assert [task.result() for task in done] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert (await health_pb2_grpc.HealthStub(channel).Check(PROCESS)).status == SERVING
        for call in mute:
            call.cancel()


@pytest.mark.parametrize("method", ["Check", "Watch"])
async def test_a_call_without_a_request_ends(server, method, monkeypatch):
    monkeypatch.setattr(health_module, "_REQUEST_TIMEOUT_S", 0.1)
    async with grpc.aio.insecure_channel(server.address) as channel:
        mute = channel.stream_stream(f"/grpc.health.v1.Health/{method}")()
        async with asyncio.timeout(5):
            assert await mute.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        empty = channel.stream_stream(f"/grpc.health.v1.Health/{method}")()
        await empty.done_writing()
        async with asyncio.timeout(5):
            assert await empty.code() is grpc.StatusCode.INVALID_ARGUMENT


class Caller:
    """What a call tells of who makes it, and what becomes of it."""

    def __init__(self, peer):
        self.peer = lambda: peer

    async def abort(self, code, details, metadata):
        raise grpc.aio.AbortError(code, details)


async def test_watchers_of_many_hosts_have_a_limit_together():
    watches = HealthWatches(at_a_time=2, at_a_time_per_host=1)
    one, two, three = (Caller(f"ipv4:10.0.0.{i}:5000") for i in (1, 2, 3))
    async with watches.place(one):
        async with watches.place(two):
            with pytest.raises(grpc.aio.AbortError, match="the service has 2 calls"):
                await watches.place(three).__aenter__()
        async with watches.place(three):
            with pytest.raises(grpc.aio.AbortError, match="the client has 1 calls"):
                await watches.place(one).__aenter__()

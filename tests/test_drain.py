"""How the service ends when it is told to: it says so, finishes what it has begun, and whoever watched goes on elsewhere."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from partialstate.v1 import rooms_service_pb2 as rooms
from partialstate.v1 import watch_service_pb2 as watching
from support.api import Api, connected, refused, registration
from support.send_joins import sent_join
from support.service_processes import service_environment, service_process

READINESS = health_pb2.HealthCheckRequest(service="partialstate.v1.CheckService")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LIST = rooms.ListPartialRoomsRequest()
TOKEN = grpc.access_token_call_credentials("t-main")
_TURN_S = 30


class Secured:
    """A service with mutual TLS and tokens, and how to connect to it."""

    def __init__(self, directory: Path) -> None:
        servers, clients = trustme.CA(), trustme.CA()
        issued, shown = servers.issue_cert("127.0.0.1"), clients.issue_cert("main.example.org")
        chain, key = directory / "chain.pem", directory / "key.pem"
        authorities, tokens = directory / "clients.pem", directory / "tokens"
        issued.cert_chain_pems[0].write_to_path(str(chain))
        issued.private_key_pem.write_to_path(str(key))
        clients.cert_pem.write_to_path(str(authorities))
        tokens.write_text("main:joiner t-main\nops:operator t-ops\n")
        self.environment = service_environment(
            directory,
            TLS_CERT_FILE=str(chain),
            TLS_KEY_FILE=str(key),
            TLS_CLIENT_CA_FILE=str(authorities),
            TOKEN_FILE=str(tokens),
        )
        certificate = grpc.ssl_channel_credentials(
            servers.cert_pem.bytes(), shown.private_key_pem.bytes(), shown.cert_chain_pems[0].bytes()
        )
        self._credentials = grpc.composite_channel_credentials(certificate, TOKEN)

    @asynccontextmanager
    async def connected(self, address: str) -> AsyncIterator[tuple[Api, grpc.aio.Channel]]:
        async with grpc.aio.secure_channel(address, self._credentials) as channel:
            yield connected(None, address, channel), channel


@pytest.fixture
def secured(tmp_path):
    return Secured(tmp_path)


async def status_of(health) -> int:
    async with asyncio.timeout(_TURN_S):
        status: int = (await health.read()).status
        return status


async def test_a_call_that_was_begun_is_finished(secured):
    join, told_to_end = sent_join(), asyncio.Event()

    async def upload():
        messages = registration(join)
        yield await anext(messages)
        await told_to_end.wait()
        async for message in messages:
            yield message

    async with (
        service_process(secured.environment) as running,
        secured.connected(running.address) as (api, channel),
    ):
        health = health_pb2_grpc.HealthStub(channel).Watch(READINESS)
        assert await status_of(health) == SERVING
        registering = api.rooms.RegisterPartialJoin(upload())
        await api.rooms.ListPartialRooms(LIST)  # by now the upload has reached the service
        ending = asyncio.create_task(running.end(signal.SIGTERM))
        assert await status_of(health) == NOT_SERVING
        told_to_end.set()
        registered = await registering
        assert await ending == 0
    async with (
        service_process(secured.environment) as running,
        secured.connected(running.address) as (api, _),
    ):
        [room] = (await api.rooms.ListPartialRooms(LIST)).rooms
        assert (room.room_id, room.generation) == (join.room_id, registered.generation)


async def test_a_watch_ends_with_its_token_and_goes_on_elsewhere(secured):
    join = sent_join()
    async with (
        service_process(secured.environment) as running,
        secured.connected(running.address) as (api, _),
    ):
        watch = api.watch.Watch(watching.WatchRequest())
        seen = await watch.read()
        ending = asyncio.create_task(running.end(signal.SIGTERM))
        with refused() as refusal:
            while (change := await watch.read()) is not grpc.aio.EOF:
                seen = change
        assert refusal.code is grpc.StatusCode.UNAVAILABLE
        # The connection may be closed before the reason is read.
        assert refusal.reason in {"STOPPING", ""}
        assert await ending == 0
    async with (
        service_process(secured.environment) as running,
        secured.connected(running.address) as (api, _),
    ):
        await api.rooms.RegisterPartialJoin(registration(join))
        watch = api.watch.Watch(watching.WatchRequest(optional_after=seen.state_token))
        async with asyncio.timeout(_TURN_S):
            while (change := await watch.read()).changed.room_id != join.room_id:
                pass


async def test_a_role_is_held_to_over_mutual_tls(secured):
    async with (
        service_process(secured.environment) as running,
        secured.connected(running.address) as (api, _),
    ):
        with refused() as refusal:
            await api.rooms.RetryResync(rooms.RetryResyncRequest(room_id="!a:b.example"))
        assert refusal.reason == "PERMISSION_DENIED"
        assert refusal.facts == {"client": "main", "roles": "operator"}

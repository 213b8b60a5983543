"""Who may call what: roles by token and by certificate."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
import trustme
from partialstate.v1 import (
    check_service_pb2,
    recovered_state_service_pb2,
    rooms_service_pb2,
    watch_service_pb2,
)
from partialstate_service.metrics import Metrics
from partialstate_service.rpc.credentials import TlsFiles
from partialstate_service.rpc.known_clients import InvalidTokenFileError, known_clients
from partialstate_service.rpc.roles import ALL_ROLES, ROLES_BY_METHOD, ClientRole
from partialstate_service.rpc.server import ServerConfig, api_server
from support.api import Refusal, refused

LIST = rooms_service_pb2.ListPartialRoomsRequest()
WATCH = watch_service_pb2.WatchRequest()
METHODS = {
    f"/{service.full_name}/{method.name}"
    for module in (check_service_pb2, recovered_state_service_pb2, rooms_service_pb2, watch_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def bearer(token: str) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {token}"),)


def config(**fields) -> ServerConfig:
    return ServerConfig(**{"listen": "127.0.0.1:0", "drain_grace_s": 1, **fields})


def test_every_rpc_says_who_may_call_it():
    assert ROLES_BY_METHOD.keys() == METHODS
    assert all(ROLES_BY_METHOD.values())


def test_every_line_of_a_token_file_is_a_client():
    clients = known_clients(
        "# written by hand\n\nall-of-it\nworker-1:frontend t1\nmain:joiner,operator t2\n"
        "worker.example.org:frontend\nspiffe://cluster/worker:frontend,operator\n"
    )
    assert clients.with_token("nobody's") is None
    found = [clients.with_token(token) for token in ("all-of-it", "t1", "t2")]
    assert [client and client.roles for client in found] == [
        ALL_ROLES,
        {ClientRole.FRONTEND},
        {ClientRole.JOINER, ClientRole.OPERATOR},
    ]
    client = clients.with_certificate(["unknown", "spiffe://cluster/worker", "worker.example.org"])
    assert client is not None
    assert client.roles == {ClientRole.FRONTEND, ClientRole.OPERATOR}


@pytest.mark.parametrize(
    "line",
    [
        "name:fronted hunter2",
        "name:fronted",
        "name: hunter2",
        "name:frontend, hunter2",
        "frontend hunter2",
        "name:frontend hunter2 hunter3",
        "before",
    ],
)
def test_a_mistake_in_a_token_file_grants_nothing_and_is_shown_by_its_line(line):
    with pytest.raises(InvalidTokenFileError, match=r"^line 2: ") as raised:
        known_clients(f"before\n{line}\n")
    assert "hunter" not in str(raised.value)


@asynccontextmanager
async def listening(server_config) -> AsyncIterator[str]:
    """Run a server without a store: who is admitted is told so, who is not is told that."""
    async with api_server(server_config, Metrics()) as server:
        await server.start()
        yield server.address


async def answer(channel, method, metadata=()) -> Refusal:
    with refused() as refusal:
        await channel.stream_stream(method)(iter(()), metadata=metadata).read()
    return refusal


@pytest.mark.parametrize("role", list(ClientRole))
async def test_a_role_may_call_its_methods_and_no_other(tmp_path, role):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"worker-1:{role} secret\n")
    async with (
        listening(config(token_file=tokens)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        for method, roles in ROLES_BY_METHOD.items():
            refusal = await answer(channel, method, bearer("secret"))
            if role in roles:
                assert refusal.reason == "STORE_UNAVAILABLE"
                continue
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
            assert refusal.facts == {"client": "worker-1", "roles": ",".join(sorted(roles))}
            assert (await answer(channel, method)).reason == "UNAUTHENTICATED"


CHECK, REGISTER = "/partialstate.v1.CheckService/Check", "/partialstate.v1.RoomsService/RegisterPartialJoin"


async def test_a_certificate_stands_for_the_roles_of_its_name(tmp_path):
    servers, clients = trustme.CA(), trustme.CA()
    issued = servers.issue_cert("127.0.0.1")
    chain, key, authorities, tokens = (tmp_path / name for name in ("chain", "key", "authorities", "tokens"))
    issued.cert_chain_pems[0].write_to_path(str(chain))
    issued.private_key_pem.write_to_path(str(key))
    clients.cert_pem.write_to_path(str(authorities))
    tokens.write_text("worker.example.org:frontend\nmain:joiner\nops:operator secret\n")

    async def call(method, *names, common_name=None, metadata=()) -> str:
        shown = clients.issue_cert(*names, common_name=common_name)
        credentials = grpc.ssl_channel_credentials(
            servers.cert_pem.bytes(), shown.private_key_pem.bytes(), shown.cert_chain_pems[0].bytes()
        )
        async with grpc.aio.secure_channel(address, credentials) as channel:
            return (await answer(channel, method, metadata)).reason

    tls = TlsFiles(chain, key, authorities)
    async with listening(config(tls=tls, token_file=tokens)) as address:
        assert await call(CHECK, "worker.example.org") == "STORE_UNAVAILABLE"
        assert await call(REGISTER, "worker.example.org") == "PERMISSION_DENIED"
        assert await call(REGISTER, common_name="main") == "STORE_UNAVAILABLE"
        assert await call(REGISTER, "main.example.org") == "UNAUTHENTICATED"
        # A token counts before the certificate, also where it is wrong.
        assert await call(CHECK, common_name="main", metadata=bearer("secret")) == "PERMISSION_DENIED"
        assert await call(CHECK, common_name="main", metadata=bearer("wrong")) == "UNAUTHENTICATED"


async def test_names_of_certificates_need_certificates(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("main:joiner\n")
    with pytest.raises(InvalidTokenFileError, match="tls_client_ca_file"):
        async with listening(config(token_file=tokens)):
            pass

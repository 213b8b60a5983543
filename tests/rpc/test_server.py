"""The server around the services: who may call, what is bounded, what leaks, how it ends."""

import asyncio
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from partialstate.v1 import check_service_pb2, rooms_service_pb2, watch_service_pb2
from partialstate_service.app import servicers
from partialstate_service.metrics import Metrics
from partialstate_service.rpc import credentials
from partialstate_service.rpc.credentials import TlsFiles, clients_in
from partialstate_service.rpc.known_clients import InvalidCredentialsError
from partialstate_service.rpc.server import CannotListenError, ServerConfig, check_credentials
from partialstate_service.settings import Settings
from structlog.testing import capture_logs
from support.api import connected, refused, running_api
from support.send_joins import sent_join
from support.serving import running_server

LIST = rooms_service_pb2.ListPartialRoomsRequest()
CHECKS = health_pb2.HealthCheckRequest(service="partialstate.v1.CheckService")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def bearer(token: str) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {token}"),)


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("first\n\nsecond\n")
    return path


def config(**fields) -> ServerConfig:
    return ServerConfig(**{"listen": "127.0.0.1:0", "drain_grace_s": 1, **fields})


async def test_a_call_needs_a_token_where_there_is_one(store_url, token_file):
    async with running_api(store_url, reconciled=False, config=config(token_file=token_file)) as api:
        for metadata in ((), bearer(""), bearer("wrong"), (("authorization", "first"),)):
            with refused() as refusal:
                await api.rooms.ListPartialRooms(LIST, metadata=metadata)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
            with refused() as refusal:
                await api.watch.Watch(watch_service_pb2.WatchRequest(), metadata=metadata).read()
            assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
        for token in ("first", "second"):
            await api.rooms.ListPartialRooms(LIST, metadata=bearer(token))
        token_file.write_text("third\n")
        await api.rooms.ListPartialRooms(LIST, metadata=bearer("third"))
        with refused():
            await api.rooms.ListPartialRooms(LIST, metadata=bearer("first"))
        async with grpc.aio.insecure_channel(api.address) as channel:  # probes carry no token
            health = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING


async def test_an_empty_token_file_is_refused(api, tmp_path):
    (tmp_path / "none").write_text("\n")
    with pytest.raises(ValueError, match="no token"):
        async with serving(api, config(token_file=tmp_path / "none")):
            pass


def test_a_token_file_that_is_emptied_withdraws_all_tokens_and_no_broken_one_does(token_file, monkeypatch):
    now_s = 1000.0
    monkeypatch.setattr(credentials.time, "monotonic", lambda: now_s)
    clients = clients_in(token_file)

    def is_known(token):
        return clients().with_token(token) is not None

    for broken in ("first\nfirst\n", "a b c\n"):
        token_file.write_text(broken)
        assert is_known("first")
        assert is_known("second")
    token_file.unlink()
    assert is_known("first")
    for emptied in ("", "# nobody\n"):
        token_file.write_text(emptied)
        assert is_known("first"), "it may be that it is just written"
        now_s += 1.9
        assert is_known("first")
    token_file.write_text("first\nfirst\n")
    for _ in range(2):
        now_s += 5
        assert is_known("first"), "what was seen while it was written does not count for what it became"
    token_file.write_text("third\n")
    assert is_known("third")
    assert not is_known("first")
    token_file.write_text("")
    assert is_known("third")
    now_s += 2
    with capture_logs() as logged:
        assert not is_known("third")
        assert not is_known("third")
    assert [(entry["log_level"], entry["path"]) for entry in logged] == [("warning", str(token_file))]
    token_file.write_text("fourth\n")
    assert is_known("fourth")


async def test_the_last_token_can_be_withdrawn_with_its_streams(store_url, token_file, monkeypatch):
    monkeypatch.setattr(credentials, "_EMPTY_FOR_S", 0.5)
    async with running_api(store_url, reconciled=False, config=config(token_file=token_file)) as api:
        watch = api.watch.Watch(watch_service_pb2.WatchRequest(), metadata=bearer("first"))
        await watch.read()
        token_file.write_text("")
        async with asyncio.timeout(10):
            with refused() as refusal:
                while await watch.read() is not grpc.aio.EOF:
                    pass
        assert refusal.reason == "UNAUTHENTICATED"
        with refused() as refusal:
            await api.rooms.ListPartialRooms(LIST, metadata=bearer("first"))
        assert refusal.reason == "UNAUTHENTICATED"


@pytest.mark.parametrize("missing", ["token_file", "tls_cert_file", "tls_key_file", "tls_client_ca_file"])
def test_a_file_that_is_not_there_is_named_with_its_setting(tmp_path, missing):
    ca = trustme.CA()
    certificate, key = write_certificate(ca, tmp_path, "127.0.0.1")
    tokens, authorities = tmp_path / "tokens", tmp_path / "authorities.pem"
    tokens.write_text("secret\n")
    ca.cert_pem.write_to_path(str(authorities))
    files = {
        "token_file": tokens,
        "tls_cert_file": certificate,
        "tls_key_file": key,
        "tls_client_ca_file": authorities,
    }
    files[missing].unlink()
    tls = TlsFiles(certificate, key, authorities)
    with pytest.raises(InvalidCredentialsError, match=f"^{missing}: {files[missing]}: No such file"):
        check_credentials(config(tls=tls, token_file=tokens))


def write_certificate(ca: trustme.CA, directory: Path, name: str) -> tuple[Path, Path]:
    issued = ca.issue_cert(name)
    certificate, key = directory / "cert.pem", directory / "key.pem"
    for path, blob in ((certificate, issued.cert_chain_pems[0]), (key, issued.private_key_pem)):
        # Replaced at once, as an operator's tooling does it.
        blob.write_to_path(f"{path}.new")
        shutil.move(f"{path}.new", path)
    return certificate, key


@asynccontextmanager
async def serving(api, server_config, store=None):
    settings = Settings(server_name="us.example", signing_key_path="unused")
    async with running_server(servicers(settings, store or api.store, Metrics()), server_config) as address:
        yield address


async def list_over_tls(address, roots, key=None, chain=None) -> None:
    credentials = grpc.ssl_channel_credentials(roots, key, chain)
    async with grpc.aio.secure_channel(address, credentials) as channel:
        await connected(None, address, channel).rooms.ListPartialRooms(LIST, timeout=10)


async def test_mutual_tls_follows_its_files(api, tmp_path):
    ca, clients, strangers = trustme.CA(), trustme.CA(), trustme.CA()
    certificate, key = write_certificate(ca, tmp_path, "127.0.0.1")
    client_ca = tmp_path / "clients.pem"
    clients.cert_pem.write_to_path(str(client_ca))
    good, bad = clients.issue_cert("frontend"), strangers.issue_cert("stranger")
    tls = TlsFiles(certificate, key, client_ca)

    def pem(issued) -> tuple[bytes, bytes]:
        return issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()

    async with serving(api, config(tls=tls)) as address:
        await list_over_tls(address, ca.cert_pem.bytes(), *pem(good))
        for identity in ((None, None), pem(bad)):
            with pytest.raises(grpc.aio.AioRpcError):
                await list_over_tls(address, ca.cert_pem.bytes(), *identity)
        renewed = trustme.CA()
        write_certificate(renewed, tmp_path, "127.0.0.1")
        await list_over_tls(address, renewed.cert_pem.bytes(), *pem(good))
        # The last good ones stay, until both files belong together again.
        certificate.write_text("half a file")
        await list_over_tls(address, renewed.cert_pem.bytes(), *pem(good))
        renewed.issue_cert("127.0.0.1").cert_chain_pems[0].write_to_path(str(certificate))
        await list_over_tls(address, renewed.cert_pem.bytes(), *pem(good))
        write_certificate(renewed, tmp_path, "127.0.0.1")
        await list_over_tls(address, renewed.cert_pem.bytes(), *pem(good))


async def test_an_address_in_use_is_a_clear_error(api):
    with pytest.raises(CannotListenError, match=api.address):
        async with serving(api, config(listen=api.address)):
            pass


async def test_a_unix_socket_can_be_listened_on(api, tmp_path):
    path = f"unix:{tmp_path}/s"
    async with serving(api, config(listen=path)) as address, grpc.aio.insecure_channel(path) as channel:
        assert address == path
        await connected(None, address, channel).rooms.ListPartialRooms(LIST)


async def test_the_services_are_listed_by_reflection(api):
    async with grpc.aio.insecure_channel(api.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answer = await call.read()
    names = {service.name for service in answer.list_services_response.service}
    assert names >= {
        f"partialstate.v1.{name}Service" for name in ("Rooms", "Check", "RecoveredState", "Watch")
    }


class BrokenRegistry:
    """Fails in a way that nobody foresaw."""

    async def page(self, *_):
        raise RuntimeError("secret of the driver")


class SlowRegistry:
    """Does not answer."""

    async def page(self, *_):
        await asyncio.Event().wait()


@asynccontextmanager
async def over(api, registry, **fields):
    store = type(api.store)(registry, api.store.bulk, api.store.ledger, api.store.mirror, api.store.sweeper)
    async with (
        serving(api, config(**fields), store) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield connected(store, address, channel)


async def test_a_defect_tells_nothing_but_an_id(api, capsys):
    async with over(api, BrokenRegistry()) as broken:
        with refused() as refusal:
            await broken.rooms.ListPartialRooms(LIST)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in f"{refusal.message}{refusal.facts}"
    logged = capsys.readouterr()
    assert refusal.facts is not None
    assert refusal.facts["request_id"] in logged.out + logged.err


async def test_a_call_ends_in_time_whatever_the_store_does(api):
    async with over(api, SlowRegistry(), unary_timeout_s=0.2) as slow:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await slow.rooms.ListPartialRooms(LIST)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_messages_and_bodies_are_bounded(store_url):
    async with running_api(
        store_url, config=config(max_message_bytes=10_000), max_send_join_bytes=1_000
    ) as api:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api.check.Check(check_service_pb2.CheckRequest(origin="a" * 20_000))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with refused() as refusal:
            await api.register(sent_join())
        assert (refusal.reason, refusal.facts) == ("TOO_LARGE", {"limit": "1000"})


async def test_streams_end_when_the_service_stops(store_url):
    async with running_api(store_url) as api:
        channel = grpc.aio.insecure_channel(api.address)
        health = health_pb2_grpc.HealthStub(channel).Watch(CHECKS)
        assert (await health.read()).status == SERVING
        watch = connected(None, api.address, channel).watch.Watch(watch_service_pb2.WatchRequest())
        await watch.read()
    with refused() as refusal:
        while await watch.read() is not grpc.aio.EOF:
            pass
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
    assert (await health.read()).status == NOT_SERVING
    assert await health.read() is grpc.aio.EOF
    await channel.close()


async def test_no_task_survives_the_server(store_url):
    before = asyncio.all_tasks()
    async with running_api(store_url) as api:
        stream = api.watch.Watch(watch_service_pb2.WatchRequest())
        await stream.read()
        stream.cancel()
        await api.register(sent_join())
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() - before if "grpc" not in repr(task.get_coro())} == set()

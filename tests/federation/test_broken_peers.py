"""Peers that are no HTTPS servers, or stop being some."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
import trustme
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.federation.addresses import parse_networks
from partialstate_service.federation.assembly import Federation, FederationConfig, open_federation
from partialstate_service.federation.lookups import DnsLookups, read_hosts
from partialstate_service.federation.protocol import FederationError, FederationLimits, Outcome
from partialstate_service.federation.signing import SigningUnavailableError
from partialstate_service.matrix.event import JsonObject
from support.https_peer import bytes_answer, https_peer, json_answer
from support.tls import server_context

from .conftest import OpenFederation

ROOM, EVENT = RoomId("!room"), EventId("$event")
QUICK = FederationLimits(discovery_timeout_s=1, connect_timeout_s=2, response_timeout_s=5)

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_peer(talk: Talk, tls: ssl.SSLContext | None) -> AsyncIterator[ServerName]:
    """Yield the name of a server that *talk*s to each connection, and is then done with it."""
    running: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.current_task())
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield ServerName(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
        for task in running:
            assert task is not None
            task.cancel()
        await asyncio.gather(*(task for task in running if task), return_exceptions=True)


async def outcome(ours: Federation, server: ServerName) -> Outcome:
    """Return what a request to *server* comes to."""
    with pytest.raises(FederationError) as caught:
        await ours.client.event(server, EVENT)
    return caught.value.outcome


async def silence(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Hold the connection and say nothing."""
    await asyncio.Event().wait()


def saying(*pieces: bytes) -> Talk:
    """Return a talk that hears a request out and sends *pieces*."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return talk


async def test_a_port_without_tls_is_unreachable(federation: OpenFederation) -> None:
    """A connection without a handshake costs the connect timeout."""
    async with raw_peer(silence, None) as server, federation(limits=QUICK) as ours:
        assert await outcome(ours, server) is Outcome.UNREACHABLE


async def test_a_closed_port_is_unreachable(federation: OpenFederation) -> None:
    """Nothing listens."""
    async with raw_peer(silence, None) as server:
        pass
    async with federation(limits=QUICK) as ours:
        assert await outcome(ours, server) is Outcome.UNREACHABLE


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], Outcome.UNREACHABLE),
        ([b"220 mail.example ESMTP\r\n\r\n"], Outcome.INVALID),
        ([b"HTTP/1.1 abc\r\n\r\n"], Outcome.INVALID),
        ([b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000], Outcome.INVALID),
        ([b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000], Outcome.INVALID),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"], Outcome.INVALID),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], Outcome.INVALID),
        ([b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"pdus":'], Outcome.INVALID),
        ([b"HTTP/1.1 101 Switching Protocols\r\n\r\n"], Outcome.INVALID),
    ],
)
async def test_what_is_not_http_is_an_outcome(
    ca: trustme.CA, federation: OpenFederation, pieces: list[bytes], expected: Outcome
) -> None:
    """A connection that closes without a word says nothing; any other nonsense is invalid."""
    tls = server_context(ca, ["127.0.0.1"])
    async with raw_peer(saying(*pieces), tls) as server, federation(limits=QUICK) as ours:
        assert await outcome(ours, server) is expected


async def test_a_stream_whose_connection_breaks_is_never_taken_for_whole(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """A body without a length may end anywhere, also where it could be whole but for its last bracket."""
    talk = saying(b'HTTP/1.1 200 OK\r\n\r\n{"auth_chain":[],"pdus":[{"a":1}]')
    async with raw_peer(talk, server_context(ca, ["127.0.0.1"])) as server, federation(limits=QUICK) as ours:
        async with aclosing(ours.client.state(server, ROOM, EVENT)) as stream:
            assert await anext(stream) == [("pdus", b'{"a":1}', {"a": 1})]
            with pytest.raises(FederationError) as caught:
                await anext(stream)
        assert caught.value.outcome is Outcome.INVALID


async def test_a_bad_event_auth_body_is_invalid(ca: trustme.CA, federation: OpenFederation) -> None:
    """As for `/state`."""
    answer = bytes_answer(b'{"auth_chain":{}}')
    async with https_peer(server_context(ca, ["127.0.0.1"]), answer) as peer, federation() as ours:
        with pytest.raises(FederationError) as caught:
            await ours.client.event_auth(ServerName(peer.authority), ROOM, EVENT)
    assert caught.value.outcome is Outcome.INVALID


async def test_large_id_lists_are_parsed(ca: trustme.CA, federation: OpenFederation) -> None:
    """Off the event loop, with the same result."""
    ids = [f"${number:043}" for number in range(20_000)]
    answer = json_answer({"pdu_ids": ids, "auth_chain_ids": ids[:5]})
    async with https_peer(server_context(ca, ["127.0.0.1"]), answer) as peer, federation() as ours:
        state = await ours.client.state_ids(ServerName(peer.authority), ROOM, EVENT)
    assert list(state.pdu_ids) == ids
    assert list(state.auth_chain_ids) == ids[:5]


async def test_without_a_signature_nothing_is_sent(ca: trustme.CA, ca_file: Path) -> None:
    """A homeserver that does not sign says nothing about the remote server."""

    class Unavailable:
        async def sign(
            self, method: str, uri: str, destination: ServerName, content: JsonObject | None
        ) -> str:
            raise SigningUnavailableError("the homeserver\ndid not sign")

    config = FederationConfig(ca_file=ca_file, allowed_networks=parse_networks(["127.0.0.0/8"]))
    async with (
        https_peer(server_context(ca, ["127.0.0.1"])) as peer,
        open_federation(Unavailable(), config, lookups=DnsLookups(name_servers=[("127.0.0.1", 9)])) as ours,
    ):
        with pytest.raises(FederationError, match=r"unsigned: the homeserver\\ndid not sign"):
            await ours.client.event(ServerName(peer.authority), EVENT)
        assert not peer.seen


async def test_a_hosts_file_comes_before_dns(tmp_path: Path) -> None:
    """Names in any case, comments and odd lines passed over, no file no names."""
    path = tmp_path / "hosts"
    path.write_text("# none\n127.0.0.3 HS.example alias # c\n::1 hs.example\nnot-an-address x\n\n", "utf-8")
    hosts = read_hosts(path)
    lookups = DnsLookups(name_servers=[("127.0.0.1", 9)], hosts=hosts, timeout_s=0.1)
    assert await lookups.addresses("hs.Example.") == [ip_address("127.0.0.3"), ip_address("::1")]
    assert set(hosts) == {"hs.example", "alias"}
    assert read_hosts(tmp_path / "missing") == {}

"""Discovery, vetting and TLS names, end to end: real DNS answers, real certificates, loopback addresses."""

import random
import socket
from collections.abc import Iterator

import pytest
import trustme
from aiohttp import web
from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.federation.assembly import Federation
from partialstate_service.federation.protocol import FederationError, FederationLimits, Outcome
from support.dns_server import dns_server
from support.https_peer import HttpsPeer, by_path, bytes_answer, https_peer, json_answer
from support.tls import make_ca, server_context

from .conftest import OpenFederation

EVENT = EventId("$event")
WELL_KNOWN = "/.well-known/matrix/server"
ANSWERS = by_path({"/_matrix/federation/v1/event/$event": json_answer({"pdus": [{}]})})
QUICK = FederationLimits(discovery_timeout_s=1, connect_timeout_s=2, response_timeout_s=4)


@pytest.fixture
def free_port() -> Iterator[int]:
    """Return a port on 127.0.0.1 where nothing listens, and nothing will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def reached(ours: Federation, name: str) -> bool:
    """Return whether *name* answers; its failure may only be to be unreachable."""
    try:
        return await ours.client.event(ServerName(name), EVENT) == b"{}"
    except FederationError as error:
        if error.outcome is not Outcome.UNREACHABLE:
            raise
        return False


def host_seen(peer: HttpsPeer) -> str:
    """Return the Host of the last request to *peer*."""
    return peer.seen[-1].headers["Host"]


async def test_an_address_is_connected_to_and_its_certificate_is_for_the_address(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """An address needs no DNS; without a port it gets the default one, and Host is the name as given."""
    async with (
        https_peer(server_context(ca, ["127.0.0.1"]), ANSWERS) as peer,
        federation(federation_port=peer.port) as ours,
    ):
        assert await reached(ours, f"127.0.0.1:{peer.port}")
        assert host_seen(peer) == f"127.0.0.1:{peer.port}"
        assert await reached(ours, "127.0.0.1")
        assert host_seen(peer) == "127.0.0.1"
    async with https_peer(server_context(ca, ["127.0.0.9"]), ANSWERS) as peer, federation() as ours:
        assert not await reached(ours, f"127.0.0.1:{peer.port}")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_an_ipv6_address_keeps_its_brackets_in_host_alone(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """Brackets belong to the server name and to Host, and not to the certificate or the socket."""
    try:
        async with https_peer(server_context(ca, ["::1"]), ANSWERS, host="::1") as peer, federation() as ours:
            assert await reached(ours, f"[::1]:{peer.port}")
            assert host_seen(peer) == f"[::1]:{peer.port}"
    except OSError:
        pytest.skip("no IPv6 loopback here")


async def test_a_name_with_a_port_needs_neither_well_known_nor_srv(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """Host is name and port, the certificate is for the name."""
    async with (
        https_peer(server_context(ca, ["hs.example"]), ANSWERS) as peer,
        dns_server("hs.example. 60 IN A 127.0.0.1") as dns,
        federation(name_server=dns.address, well_known_port=peer.port) as ours,
    ):
        assert await reached(ours, f"hs.example:{peer.port}")
        assert host_seen(peer) == f"hs.example:{peer.port}"
        assert {kind for _, kind in dns.asked} == {"A", "AAAA"}
        assert WELL_KNOWN not in peer.paths


@pytest.mark.parametrize("service", ["_matrix-fed._tcp", "_matrix._tcp"])
async def test_srv_says_where_to_connect_and_nothing_else(
    ca: trustme.CA, federation: OpenFederation, free_port: int, service: str
) -> None:
    """Certificate and Host are those of the name before SRV, never of the target."""
    async with (
        https_peer(server_context(ca, ["hs.example"]), ANSWERS) as peer,
        https_peer(server_context(ca, ["target.example"]), ANSWERS) as impostor,
        dns_server(
            f"{service}.hs.example. 60 IN SRV 10 5 {peer.port} target.example.",
            f"{service}.other.example. 60 IN SRV 10 5 {impostor.port} target.example.",
            "target.example. 60 IN A 127.0.0.1",
        ) as dns,
        federation(name_server=dns.address, well_known_port=free_port) as ours,
    ):
        assert await reached(ours, "hs.example")
        assert host_seen(peer) == "hs.example"
        assert not await reached(ours, "other.example")
        assert not impostor.seen


async def test_srv_targets_are_tried_in_turn(
    ca: trustme.CA, federation: OpenFederation, free_port: int
) -> None:
    """A dead target, a target without an address and a dead address each lead to the next."""
    async with (
        https_peer(server_context(ca, ["hs.example"]), ANSWERS) as peer,
        dns_server(
            f"_matrix-fed._tcp.hs.example. 60 IN SRV 1 5 {free_port} dead.example.",
            f"_matrix-fed._tcp.hs.example. 60 IN SRV 2 5 {peer.port} nowhere.example.",
            f"_matrix-fed._tcp.hs.example. 60 IN SRV 3 5 {peer.port} alive.example.",
            "dead.example. 60 IN A 127.0.0.1",
            "alive.example. 60 IN A 127.0.0.77",
            "alive.example. 60 IN A 127.0.0.1",
        ) as dns,
        federation(name_server=dns.address, well_known_port=free_port) as ours,
    ):
        assert await reached(ours, "hs.example")


async def test_the_first_addresses_of_all_targets_are_tried_before_anyones_second(
    ca: trustme.CA, federation: OpenFederation, free_port: int
) -> None:
    """Few addresses are tried in all, so no target may use up the attempts."""
    async with (
        https_peer(server_context(ca, ["hs.example"]), ANSWERS) as peer,
        dns_server(
            f"_matrix-fed._tcp.hs.example. 60 IN SRV 1 5 {free_port} dead.example.",
            f"_matrix-fed._tcp.hs.example. 60 IN SRV 2 5 {peer.port} alive.example.",
            *(f"dead.example. 60 IN A 127.0.2.{number}" for number in range(1, 16)),
            "alive.example. 60 IN A 127.0.0.1",
        ) as dns,
        federation(name_server=dns.address, well_known_port=free_port) as ours,
    ):
        assert await reached(ours, "hs.example")


async def test_an_srv_target_of_a_dot_means_no_service(
    ca: trustme.CA, federation: OpenFederation, free_port: int
) -> None:
    """RFC 2782: the service is decidedly not available, so the default port is not tried."""
    async with (
        https_peer(server_context(ca, ["hs.example"]), ANSWERS) as peer,
        dns_server("_matrix-fed._tcp.hs.example. 60 IN SRV 0 0 0 .", "hs.example. 60 IN A 127.0.0.1") as dns,
        federation(name_server=dns.address, well_known_port=free_port, federation_port=peer.port) as ours,
    ):
        assert not await reached(ours, "hs.example")
        assert not peer.seen


@pytest.mark.parametrize("broken", [False, True])
async def test_without_any_record_the_default_port_is_tried(
    ca: trustme.CA, federation: OpenFederation, free_port: int, *, broken: bool
) -> None:
    """No SRV record, or a DNS server that cannot say: the name itself, its own certificate."""
    async with (
        https_peer(server_context(ca, ["hs.example"]), ANSWERS) as peer,
        dns_server("hs.example. 60 IN A 127.0.0.1") as dns,
        federation(
            name_server=dns.address, well_known_port=free_port, federation_port=peer.port, limits=QUICK
        ) as ours,
    ):
        if broken:
            dns.broken |= {"_matrix-fed._tcp.hs.example", "_matrix._tcp.hs.example"}
        assert await reached(ours, "hs.example")
        assert host_seen(peer) == "hs.example"


async def test_well_known_replaces_the_name_in_everything_but_the_signature(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """Host and certificate are the delegate's; `destination` stays the server's own name; the file is cached."""
    async with (
        https_peer(server_context(ca, ["hs.example"])) as site,
        https_peer(server_context(ca, ["d.example"]), ANSWERS) as peer,
        dns_server("hs.example. 60 IN A 127.0.0.1", "d.example. 60 IN A 127.0.0.1") as dns,
        federation(name_server=dns.address, well_known_port=site.port) as ours,
    ):
        # "identity" is no encoding, named or not.
        headers = {"Content-Encoding": "identity"}
        site.answer = json_answer({"m.server": f"d.example:{peer.port}"}, headers=headers)
        assert await reached(ours, "hs.example")
        assert await reached(ours, "hs.example")
        assert site.paths == [WELL_KNOWN]
        assert host_seen(peer) == f"d.example:{peer.port}"
        assert 'destination="hs.example"' in peer.seen[-1].headers["Authorization"]


async def test_a_delegate_without_a_port_has_its_srv_and_no_well_known_of_its_own(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """Delegation is one step."""
    async with (
        https_peer(server_context(ca, ["hs.example", "d.example"])) as site,
        https_peer(server_context(ca, ["d.example"]), ANSWERS) as peer,
        dns_server(
            "hs.example. 60 IN A 127.0.0.1",
            "d.example. 60 IN A 127.0.0.1",
            "t.example. 60 IN A 127.0.0.1",
            f"_matrix-fed._tcp.d.example. 60 IN SRV 10 5 {peer.port} t.example.",
        ) as dns,
        federation(name_server=dns.address, well_known_port=site.port) as ours,
    ):
        site.answer = json_answer({"m.server": "d.example"})
        assert await reached(ours, "hs.example")
        assert host_seen(peer) == "d.example"
        assert len(site.seen) == 1


async def test_well_known_redirects_are_followed_over_https_only(
    ca: trustme.CA, federation: OpenFederation, free_port: int
) -> None:
    """Each hop has the certificate of its own name; a hop to plain HTTP, or one too many, ends it."""
    async with (
        https_peer(server_context(ca, ["hs.example", "plain.example", "loop.example"])) as site,
        https_peer(server_context(ca, ["w.example"])) as elsewhere,
        https_peer(server_context(ca, ["d.example"]), ANSWERS) as peer,
        dns_server(
            *(f"{name}.example. 60 IN A 127.0.0.1" for name in ("hs", "plain", "loop", "w", "d"))
        ) as dns,
        federation(name_server=dns.address, well_known_port=site.port, federation_port=free_port) as ours,
    ):
        delegation = json_answer({"m.server": f"d.example:{peer.port}"})
        elsewhere.answer = by_path({"/file": delegation})

        async def redirect(request: web.Request) -> web.StreamResponse:
            name = request.host.partition(":")[0]
            location = {
                "hs.example": f"https://w.example:{elsewhere.port}/file",
                "plain.example": f"http://w.example:{elsewhere.port}/file",
            }.get(name, WELL_KNOWN)
            return web.Response(status=302, headers={"Location": location})

        site.answer = redirect
        assert await reached(ours, "hs.example")
        assert not await reached(ours, "plain.example")
        before = len(site.seen)
        assert not await reached(ours, "loop.example")
        assert len(site.seen) - before == 6


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"m.server": "a b"}', b'{"m.server": 1}', b" " * 51_201, b"[" * 40_000]
)
async def test_a_bad_well_known_is_none(ca: trustme.CA, federation: OpenFederation, body: bytes) -> None:
    """Anything but a small valid file means: the name itself."""
    async with (
        https_peer(server_context(ca, ["hs.example"])) as peer,
        dns_server("hs.example. 60 IN A 127.0.0.1") as dns,
        federation(name_server=dns.address, well_known_port=peer.port, federation_port=peer.port) as ours,
    ):
        event = json_answer({"pdus": [{}]})
        peer.answer = by_path({WELL_KNOWN: bytes_answer(body), "/_matrix/federation/v1/event/$event": event})
        assert await reached(ours, "hs.example")


async def test_private_addresses_are_refused_by_default_however_they_are_named(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """As a literal, mapped into IPv6, by DNS, by SRV, by well-known and by redirect: no connection is made."""
    names = ["hs.example", "evil.example", "site.example"]
    async with (
        https_peer(server_context(ca, ["127.0.0.1", *names]), ANSWERS) as peer,
        https_peer(server_context(ca, names), host="127.0.0.5") as site,
        dns_server(
            "hs.example. 60 IN A 127.0.0.1",
            "evil.example. 60 IN A 127.0.0.5",
            "site.example. 60 IN A 127.0.0.5",
            f"_matrix-fed._tcp.srv.example. 60 IN SRV 1 1 {peer.port} hs.example.",
        ) as dns,
        federation(
            name_server=dns.address,
            well_known_port=site.port,
            federation_port=peer.port,
            allowed=["127.0.0.5/32"],
            limits=QUICK,
        ) as ours,
    ):
        location = {"Location": f"https://hs.example:{peer.port}/"}
        site.answer = bytes_answer(b"", 302, location)
        for name in (
            "127.0.0.1",
            f"127.0.0.1:{peer.port}",
            f"[::ffff:127.0.0.1]:{peer.port}",
            f"[64:ff9b::7f00:1]:{peer.port}",
            f"hs.example:{peer.port}",
            "srv.example",
            "evil.example",
        ):
            assert not await reached(ours, name), name
        site.answer = json_answer({"m.server": f"127.0.0.1:{peer.port}"})
        assert not await reached(ours, "site.example")
        assert site.seen
        assert not peer.seen


async def test_a_name_that_changes_its_address_is_vetted_again(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """DNS rebinding: what was permitted at the first connection is asked again at the next."""
    async with (
        https_peer(server_context(ca, ["hs.example"]), ANSWERS, host="127.0.0.5") as public,
        dns_server("hs.example. 0 IN A 127.0.0.5") as dns,
        federation(name_server=dns.address, allowed=["127.0.0.5/32"]) as ours,
        https_peer(
            server_context(ca, ["hs.example"]), ANSWERS, host="127.0.0.1", port=public.port
        ) as private,
    ):
        public.answer = json_answer({"pdus": [{}]}, headers={"Connection": "close"})
        assert await reached(ours, f"hs.example:{public.port}")
        dns.replace("hs.example. 0 IN A 127.0.0.1")
        assert not await reached(ours, f"hs.example:{public.port}")
        assert not private.seen


async def test_a_connection_verified_for_one_name_is_not_used_for_another(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """Two names at one address and port: each has to show its own certificate."""
    async with (
        https_peer(server_context(ca, ["a.example"]), ANSWERS) as peer,
        dns_server("a.example. 60 IN A 127.0.0.1", "b.example. 60 IN A 127.0.0.1") as dns,
        federation(name_server=dns.address) as ours,
    ):
        assert await reached(ours, f"a.example:{peer.port}")
        assert not await reached(ours, f"b.example:{peer.port}")
        assert await reached(ours, f"a.example:{peer.port}")


async def test_a_certificate_of_another_authority_is_refused(federation: OpenFederation) -> None:
    """Only the authorities of the setting count."""
    stranger = make_ca()
    async with https_peer(server_context(stranger, ["127.0.0.1"]), ANSWERS) as peer, federation() as ours:
        assert not await reached(ours, peer.authority)
        assert not peer.seen


async def test_the_environment_and_cookies_play_no_part(
    ca: trustme.CA, federation: OpenFederation, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    """No proxy from the environment, and nothing that a peer sets comes back to it."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port}")
    answer = json_answer({"pdus": [{}]}, headers={"Set-Cookie": "a=b; Path=/"})
    async with https_peer(server_context(ca, ["127.0.0.1"]), answer) as peer, federation() as ours:
        assert await reached(ours, peer.authority)
        assert await reached(ours, peer.authority)
        assert "Cookie" not in peer.seen[-1].headers


@pytest.mark.parametrize(
    "name",
    [
        "-",
        ".",
        "..",
        "a..b",
        "a.",
        "x" * 250,
        ".example",
        "xn--a",
        "1",
        "256.256.256.256",
        "example:0",
        "a-.b:65535",
    ],
)
async def test_odd_names_are_unreachable_and_nothing_worse(federation: OpenFederation, name: str) -> None:
    """The grammar of server names allows what DNS and TLS do not."""
    async with dns_server() as dns, federation(name_server=dns.address, limits=QUICK) as ours:
        assert not await reached(ours, name)


async def test_many_destinations_leave_a_bounded_number_of_pools(
    ca: trustme.CA, federation: OpenFederation
) -> None:
    """Pools that nobody uses are closed, the least recently used first."""
    async with https_peer(server_context(ca, ["*.hs.example"]), ANSWERS) as peer:
        records = [f"s{number}.hs.example. 60 IN A 127.0.0.1" for number in range(300)]
        async with dns_server(*records) as dns, federation(name_server=dns.address) as ours:
            for number in random.sample(range(300), 300):
                assert await reached(ours, f"s{number}.hs.example:{peer.port}")
            assert len(ours.requester._transport._pools) == 256

"""Routes, SRV order and the well-known cache, without a network."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from email.utils import formatdate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.addresses import IpAddress
from partialstate_service.federation.discovery import ROUTE_LIFETIME_S, Discovery
from partialstate_service.federation.routes import (
    Route,
    SrvRecord,
    Target,
    direct_route,
    is_final,
    srv_targets,
)
from partialstate_service.federation.well_known import (
    DEFAULT_LIFETIME_S,
    FIRST_ERROR_LIFETIME_S,
    MAX_ERROR_LIFETIME_S,
    MAX_LIFETIME_S,
    MIN_LIFETIME_S,
    Fetched,
    WellKnownCache,
    delegated_server,
    lifetime_s,
)

NOW_S = 1_700_000_000.0


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("server", "final", "route"),
    [
        ("a.example", False, Route("a.example", "a.example", (Target("a.example", 8448),))),
        ("a.example:1", True, Route("a.example", "a.example:1", (Target("a.example", 1),))),
        ("1.2.3.4", True, Route("1.2.3.4", "1.2.3.4", (Target("1.2.3.4", 8448),))),
        ("[::1]", True, Route("::1", "[::1]", (Target("::1", 8448),))),
        ("[::1]:99", True, Route("::1", "[::1]:99", (Target("::1", 99),))),
    ],
)
def test_a_direct_route_follows_the_name(server: str, route: Route, *, final: bool) -> None:
    """Addresses and names with a port say where to connect by themselves."""
    assert direct_route(server, 8448) == route
    assert is_final(ServerName(server)) is final


def test_srv_order_is_by_priority_then_by_weighted_chance() -> None:
    """A record with three times the weight comes first three times as often, and none is left out."""
    records = [SrvRecord(2, 0, "c", 3), SrvRecord(1, 30, "a", 1), SrvRecord(1, 10, "b", 2)]
    random = Random(7)
    orders = [srv_targets(records, random) for _ in range(2000)]
    assert {order[2] for order in orders} == {Target("c", 3)}
    firsts = Counter(order[0].host for order in orders)
    assert 2.5 < firsts["a"] / firsts["b"] < 3.6


def test_srv_targets_are_bounded() -> None:
    """A zone with hundreds of records costs a few attempts."""
    assert len(srv_targets([SrvRecord(1, 1, f"t{number}", 1) for number in range(99)], Random(1))) == 8


class Dns:
    """Lookups that count."""

    def __init__(self, records: dict[str, list[SrvRecord]]) -> None:
        self.records = records
        self.asked: list[str] = []

    async def srv(self, name: str) -> Sequence[SrvRecord]:
        self.asked.append(name)
        return self.records.get(name, [])

    async def addresses(self, host: str) -> Sequence[IpAddress]:
        raise AssertionError(host)


class NoDelegation:
    """Nobody delegates."""

    async def delegate(self, host: str) -> ServerName | None:
        return None


async def test_a_route_is_remembered_for_a_minute() -> None:
    """In between, no lookup is made."""
    clock = Clock()
    dns = Dns({"_matrix._tcp.a.example": [SrvRecord(1, 1, "t", 5)]})
    discovery = Discovery(NoDelegation(), dns, random=Random(1), now_s=clock)
    route = await discovery.route(ServerName("a.example"))
    assert route == Route("a.example", "a.example", (Target("t", 5),))
    assert await discovery.route(ServerName("a.example")) is route
    assert dns.asked == ["_matrix-fed._tcp.a.example", "_matrix._tcp.a.example"]
    clock.now_s += ROUTE_LIFETIME_S
    await discovery.route(ServerName("a.example"))
    assert len(dns.asked) == 4


class Source:
    """A well-known source with the given answers, the last one for ever."""

    def __init__(self, *answers: Fetched | None) -> None:
        self.answers = list(answers)
        self.fetched = 0

    async def fetch(self, host: str) -> Fetched | None:
        self.fetched += 1
        await asyncio.sleep(0)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_a_delegation_is_kept_as_long_as_it_says() -> None:
    """And fetched by one caller, however many ask at once."""
    clock, source = Clock(), Source(Fetched(ServerName("d.example"), 1000.0))
    cache = WellKnownCache(source, now_s=clock)
    assert set(await asyncio.gather(*(cache.delegate("a.example") for _ in range(20)))) == {"d.example"}
    assert source.fetched == 1
    clock.now_s += 999
    await cache.delegate("a.example")
    assert source.fetched == 1
    clock.now_s += 1
    await cache.delegate("a.example")
    assert source.fetched == 2


async def test_errors_are_kept_longer_and_longer_up_to_an_hour() -> None:
    """A minute, two, four … an hour; a success starts it over."""
    clock, source = Clock(), Source(None)
    cache = WellKnownCache(source, now_s=clock)
    waits = []
    for _ in range(10):
        assert await cache.delegate("a.example") is None
        before = source.fetched
        waited = 0.0
        while source.fetched == before:
            clock.now_s += FIRST_ERROR_LIFETIME_S
            waited += FIRST_ERROR_LIFETIME_S
            await cache.delegate("a.example")
        waits.append(waited)
    assert waits[:3] == [60, 120, 240]
    assert waits[-1] == MAX_ERROR_LIFETIME_S


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({}, DEFAULT_LIFETIME_S),
        ({"cache-control": "public, max-age=7200"}, 7200),
        ({"cache-control": "Max-Age=7200, must-revalidate"}, 7200),
        ({"cache-control": "max-age=7200", "expires": formatdate(NOW_S + 9000)}, 7200),
        ({"cache-control": "max-age=" + "9" * 5000}, MAX_LIFETIME_S),
        ({"cache-control": "max-age=1"}, MIN_LIFETIME_S),
        ({"cache-control": "no-store"}, MIN_LIFETIME_S),
        ({"cache-control": "max-age=soon"}, DEFAULT_LIFETIME_S),
        ({"expires": formatdate(NOW_S + 9000, usegmt=True)}, 9000),
        ({"expires": formatdate(NOW_S - 9000)}, MIN_LIFETIME_S),
        ({"expires": "0"}, MIN_LIFETIME_S),
    ],
)
def test_the_lifetime_of_a_delegation(headers: dict[str, str], expected_s: float) -> None:
    """What the headers say, between five minutes and two days; a day where they say nothing."""
    assert lifetime_s(headers, NOW_S) == expected_s


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_header_is_survived(cache_control: str, expires: str) -> None:
    """There is a lifetime within bounds."""
    headers = {"cache-control": cache_control, "expires": expires}
    assert MIN_LIFETIME_S <= lifetime_s(headers, NOW_S) <= MAX_LIFETIME_S


@given(st.binary(max_size=60))
def test_any_file_is_survived(body: bytes) -> None:
    """There is a server name or none."""
    delegated_server(body)
    delegated_server(b'{"m.server": "' + body + b'"}')

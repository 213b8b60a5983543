"""Single events are spread over servers: a slow, failing or lying one costs little and spoils nothing."""

import asyncio
import random

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.resync.cooldown import CooldownPolicy
from partialstate_service.resync.event_requests import EventRequests
from partialstate_service.resync.sources import Sources

A, B, C = ServerName("a.example"), ServerName("b.example"), ServerName("c.example")
EVENTS = [EventId(f"${n:02}") for n in range(40)]


class Peers:
    """Answers `/event` as *behaviours* say: by server, a coroutine function from event id to body."""

    def __init__(self, **behaviours) -> None:
        self._behaviours = {ServerName(f"{name}.example"): answer for name, answer in behaviours.items()}
        self.asked: list[tuple[ServerName, EventId]] = []

    async def event(self, server, event_id):
        self.asked.append((server, event_id))
        return await self._behaviours[server](server, event_id)

    def asked_of(self, server):
        return [event_id for asked, event_id in self.asked if asked == server]


async def honest(server, event_id):
    await asyncio.sleep(0)
    return event_id.encode()


async def stalled(server, event_id):
    await asyncio.Event().wait()


def refusing(outcome):
    async def refuse(server, event_id):
        raise FederationError(outcome, server)

    return refuse


def requests_to(peers, *servers):
    sources = Sources(
        own_name=ServerName("us.example"),
        joined_via=None,
        servers=servers,
        records=(),
        registered_at_ms=0,
        policy=CooldownPolicy(),
        now_ms=lambda: 1000,
        jitter=random.Random(1).random,
    )
    return EventRequests(peers, sources, EVENTS, servers, hedge_after_s=0.01), sources


async def test_events_are_spread_over_the_servers_and_each_is_fetched_once():
    peers = Peers(a=honest, b=honest, c=honest)
    requests, _ = requests_to(peers, A, B, C)
    bodies = await requests.bodies(EVENTS)
    assert sorted(bodies) == [event_id.encode() for event_id in EVENTS]
    assert len(peers.asked) == len(EVENTS)
    assert all(len(peers.asked_of(server)) >= 4 for server in (A, B, C))


async def test_what_a_stalled_server_keeps_is_asked_of_another_and_not_waited_for():
    peers = Peers(a=stalled, b=honest)
    requests, _ = requests_to(peers, A, B)
    async with asyncio.timeout(10):
        bodies = await requests.bodies(EVENTS)
    assert sorted(bodies) == [event_id.encode() for event_id in EVENTS]
    assert len(peers.asked_of(A)) == 4


async def test_a_server_that_fails_is_noted_and_not_asked_for_every_event():
    peers = Peers(a=refusing(Outcome.SERVER_ERROR), b=honest)
    requests, sources = requests_to(peers, A, B)
    assert len(await requests.bodies(EVENTS)) == len(EVENTS)
    assert len(peers.asked_of(A)) <= 4
    assert [(r.server, r.outcome, r.failures) for r in sources.records()] == [(A, "server_error", 1)]


async def test_a_server_that_lacks_an_event_is_asked_for_others_and_not_blamed():
    peers = Peers(a=refusing(Outcome.NOT_FOUND), b=honest)
    requests, sources = requests_to(peers, A, B)
    assert len(await requests.bodies(EVENTS)) == len(EVENTS)
    assert sources.records() == ()


async def test_what_nobody_has_is_absent_and_nobody_is_asked_twice():
    peers = Peers(a=refusing(Outcome.NOT_FOUND), b=refusing(Outcome.NOT_FOUND))
    requests, _ = requests_to(peers, A, B)
    assert await requests.bodies(EVENTS) == []
    assert sorted(peers.asked) == sorted((server, event_id) for server in (A, B) for event_id in EVENTS)
    assert requests.askable(EVENTS) == []


async def test_what_came_in_bad_form_is_asked_of_the_others_in_turn():
    peers = Peers(a=honest, b=honest)
    requests, _ = requests_to(peers, A, B)
    await requests.bodies(EVENTS)
    again = requests.askable(EVENTS[:7])
    assert again == EVENTS[:7]
    await requests.bodies(again)
    assert all(peers.asked.count((A, e)) == peers.asked.count((B, e)) == 1 for e in again)
    assert requests.askable(again) == []

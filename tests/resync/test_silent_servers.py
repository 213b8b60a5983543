"""Servers that do not answer hold up neither the rooms of others nor, after a while, anybody."""

import asyncio
import random
from dataclasses import replace

import pytest
from partialstate_service.demo.resident.behaviour import Slow
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.federation.keys import KeyFetcher
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.resync.awaited import AwaitedServers, Waits
from partialstate_service.resync.silence import AnsweringServers
from partialstate_service.resync.slots import Slots
from support.many_rooms import running_rooms
from support.resyncing import QUICK, RoomOnStore, assert_exact, working

A, B, ROOM, EVENT = ServerName("a.example"), ServerName("b.example"), RoomId("!r:a"), EventId("$e")
PAUSE_S = 30


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


class Scripted:
    """Servers whose next answers are given: an outcome, or None for a good one. Each takes a second."""

    def __init__(self, clock, *answers):
        self.clock, self.answers, self.asked = clock, list(answers), 0

    async def event(self, server, event_id):
        self.asked += 1
        self.clock.now_s += 1
        outcome = self.answers.pop(0) if self.answers else None
        if outcome is not None:
            raise FederationError(outcome, server, text="as scripted")
        return b"{}"

    async def state(self, server, room, event_id):
        for _ in range(2):
            self.clock.now_s += 1
            yield []


def answering(*answers):
    clock = Clock()
    scripted = Scripted(clock, *answers)
    return AnsweringServers(scripted, pause_s=PAUSE_S, now_s=clock), scripted, clock


async def outcome(servers, server=A):
    try:
        await servers.event(server, EVENT)
    except FederationError as error:
        return error.outcome
    return None


@pytest.mark.parametrize("failure", [Outcome.TIMEOUT, Outcome.UNREACHABLE])
async def test_a_server_that_fails_to_answer_twice_is_left_alone_until_one_request_may_try_again(failure):
    servers, scripted, clock = answering(failure, failure)
    assert [await outcome(servers) for _ in range(2)] == [failure] * 2
    with pytest.raises(FederationError, match="left alone") as refusal:
        await servers.event(A, EVENT)
    assert (refusal.value.outcome, refusal.value.retry_after_s) == (Outcome.UNREACHABLE, PAUSE_S)
    assert await outcome(servers, B) is None
    assert scripted.asked == 3
    clock.now_s += PAUSE_S
    assert await outcome(servers) is None
    assert await outcome(servers) is None
    assert scripted.asked == 5


async def test_while_one_request_tries_again_others_fail_at_once():
    servers, scripted, clock = answering(Outcome.TIMEOUT, Outcome.TIMEOUT, Outcome.TIMEOUT)
    for _ in range(2):
        await outcome(servers)
    clock.now_s += PAUSE_S
    elements = servers.state(A, ROOM, EVENT)
    await anext(elements)
    assert await outcome(servers) is Outcome.UNREACHABLE
    assert scripted.asked == 2
    async for _ in elements:
        pass
    assert await outcome(servers) is Outcome.TIMEOUT


@pytest.mark.parametrize("answer", [None, Outcome.UNABLE, Outcome.NOT_FOUND, Outcome.SERVER_ERROR])
async def test_any_answer_between_two_failures_ends_the_silence(answer):
    servers, scripted, _ = answering(Outcome.TIMEOUT, answer, Outcome.TIMEOUT, answer)
    assert [await outcome(servers) for _ in range(4)] == [Outcome.TIMEOUT, answer] * 2
    assert scripted.asked == 4


async def test_requests_that_fail_together_count_once():
    servers, _, clock = answering()
    servers._failed(A, clock.now_s)
    for _ in range(5):
        servers._failed(A, clock.now_s - 1)
    assert await outcome(servers) is None


async def test_what_a_room_waits_for_is_a_server_and_not_itself():
    clock = Clock()
    waits = Waits(clock)
    elements = AwaitedServers(Scripted(clock), waits).state(A, ROOM, EVENT)
    await anext(elements)
    clock.now_s += 100  # the room's own work with what came
    assert waits.waited_s == 0
    with waits.waiting():
        clock.now_s += 7
        assert waits.waited_s == 7
        with waits.waiting():
            assert waits.waited_s == 7
        assert waits.waited_s == 0  # one of two requests was answered just now
    await elements.aclose()


async def test_a_room_changes_over_to_the_slot_that_suits_it_if_one_is_free():
    slots = Slots(working=1, long=1, waiting=1, long_s=5)
    first = await slots.take()
    await first.suit(6, 0)
    second = await slots.take()
    await second.suit(6, 0)
    assert slots._working.locked()  # there is one slot for long ones
    await second.suit(6, 6)
    third = await slots.take()
    await second.suit(7, 0)  # goes on, in the slot that it has
    first.release()
    await second.suit(7, 0)
    assert not slots._waiting.locked()
    for slot in (second, third):
        slot.release()
        slot.release()
    assert not slots._working.locked()
    assert not slots._long.locked()


@pytest.mark.parametrize("about", ["everything", "keys"])
async def test_rooms_of_silent_servers_hold_up_nobody(store, tmp_path, monkeypatch, about):
    limits = replace(QUICK, concurrent_rooms=1, long_room_s=0.1, waiting_rooms=8)
    async with running_rooms([WorldSize(members=8, servers=2, messages=1)] * 7, random.Random(5)) as rooms:
        silent, others = rooms[:4], rooms[4:]
        names = {server.name: running for running in silent for server in running.world.servers}
        if about == "everything":
            for name, running in names.items():
                running.residents.behave(name, Slow(3600))
        else:
            keys_for = KeyFetcher.keys_for

            async def sought(self, wanted, **others):
                if not names.keys().isdisjoint(wanted):
                    await asyncio.sleep(3600)
                return await keys_for(self, wanted, **others)

            monkeypatch.setattr(KeyFetcher, "keys_for", sought)
        async with working(rooms[0], store, tmp_path, limits=limits):
            for running in silent:
                await RoomOnStore(running, store).join()
            views = [RoomOnStore(running, store) for running in others]
            joined = [await view.join() for view in views]
            for view, join in zip(views, joined, strict=True):
                await view.until(join.room_id, RoomStatus.AWAITING_IMPORT)
                await assert_exact(view, join)

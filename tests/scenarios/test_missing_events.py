"""Events that arrive with gaps before them, after Complement's `msc3902/federation_room_join_partial_state_test.go`.

The homeserver has asked for the missing events, as far as it does, and records what it persists.
"""

import asyncio
from urllib.parse import quote

import pytest
from partialstate import Endpoint

# Of each way to write events and to resolve state, one.
pytestmark = pytest.mark.parametrize("version", ["1", "6", "11", "12"])

TOPIC = "m.room.topic"


async def test_an_event_after_the_join(room):
    """895, CanReceiveEvents: M ← E."""
    latch = room.latch()
    joined = await room.join()
    event = room.say(room.derek, "m.room.message", {"body": "E"})
    await room.record(joined, event)
    await room.becomes_full(joined, latch, event)


async def test_missing_parents(room):
    """919, MissingParents: M ← A ← B; B was sent, A was fetched by get_missing_events."""
    latch = room.latch()
    joined = await room.join()
    a = room.say(room.charlie, TOPIC, {"topic": "A"}, "")
    b = room.say(room.derek, "m.room.message", {"body": "B"})
    await room.record(joined, a, b)
    recovered = await room.becomes_full(joined, latch, a, b)
    assert recovered.before[room.id_of(b)][TOPIC, ""] == room.id_of(a)


async def test_half_missing_parents(room):
    """959, HalfMissingParents: B follows A and the join; A follows what was before the join."""
    latch = room.latch()
    before_join = room.resident.extremities
    joined = await room.join()
    a = room.say(room.charlie, TOPIC, {"topic": "A"}, "", prev=before_join)
    b = room.say(room.derek, "m.room.message", {"body": "B"}, prev=[room.id_of(a), joined.event_id])
    await room.record(joined, a, b)
    await room.becomes_full(joined, latch, a, b)


async def test_half_missing_grandparents(room):
    """1002, HalfMissingGrandparents: M ← A ← B ← C, B also cites M; A stays missing, so the state there is asked for."""
    latch = room.latch()
    joined = await room.join()
    a = room.say(room.charlie, TOPIC, {"topic": "A"}, "")
    b = room.say(room.derek, "m.room.message", {"body": "B"}, prev=[room.id_of(a), joined.event_id])
    c = room.say(room.derek, "m.room.message", {"body": "C"})
    await room.record(joined, b, c)
    recovered = await room.becomes_full(joined, latch, b, c)
    assert recovered.before[room.id_of(c)][TOPIC, ""] == room.id_of(a)
    asked = [request.uri for request in room.running.residents.log.requests]
    assert any("/state_ids/" in uri and quote(room.id_of(a), safe="") in uri for uri in asked)


async def test_an_event_whose_prev_events_were_all_unknown(room):
    """7.1 of the same: a gap before B which nobody fills; the state is asked for at the gap, not guessed."""
    latch = room.latch()
    joined = await room.join()
    room.say(room.charlie, TOPIC, {"topic": "unseen"}, "")
    b = room.say(room.derek, "m.room.message", {"body": "B"})
    await room.record(joined, b)
    await room.becomes_full(joined, latch, b)


async def test_events_that_arrive_before_their_prev_events(room):
    """1497: T1, T2 follow 100 state events and a late event that come only then; the resync ends within 30 s."""
    latch = room.latch()
    joined = await room.join()
    late = room.say(room.derek, "m.room.message", {"body": "late"})
    chain = [room.say(room.charlie, "org.example.o", {"n": n}, str(n)) for n in range(100)]
    t1 = room.say(room.derek, "m.room.message", {"body": "T1"})
    t2 = room.say(room.derek, "m.room.message", {"body": "T2"})
    await room.record(joined, t2, t1)
    async with asyncio.timeout(10):
        await latch.arrived.wait()
    await room.record(joined, late)
    for start in range(0, 100, 50):
        await room.record(joined, *chain[start : start + 50])
    await room.becomes_full(joined, latch, late, *chain, t1, t2)


async def test_late_prev_events_of_events_that_are_not_partial(room):
    """1497 as Synapse plays it: T1 and T2 have full state from `/state_ids`, so only what comes late is recorded."""
    latch = room.latch()
    joined = await room.join()
    late = room.say(room.derek, "m.room.message", {"body": "late"})
    chain = [room.say(room.charlie, "org.example.o", {"n": n}, str(n)) for n in range(100)]
    # The latest first: no order of arrival may matter.
    for start in range(100, 0, -50):
        await room.record(joined, *reversed(chain[start - 50 : start]))
    await room.record(joined, late)
    await room.becomes_full(joined, latch, late, *chain)
    assert room.count(Endpoint.STATE_IDS) <= 4

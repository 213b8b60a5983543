"""The provisional verdict by the service, from the join to the final verdict: MSC3902, "Checks on incoming events"."""

from urllib.parse import quote

import pytest
from partialstate import IncomingEvent, MissingEventsError, Pdu, ProvisionalVerdict, StateEntry, event_json

TOPIC = "m.room.topic"
MEMBER = "m.room.member"
LEVELS = "m.room.power_levels"


def incoming(room, raw, *given) -> IncomingEvent:
    """Return an event with the partial state as the homeserver has it: all but the memberships of others."""
    state = [
        StateEntry(kind, key, event_id)
        for (kind, key), event_id in room.resident.current_state().items()
        if kind != MEMBER or key == room.alice.user_id
    ]
    events = tuple(Pdu(event_json(event)) for event in given)
    return IncomingEvent(room.resident.room_id, Pdu(event_json(raw)), tuple(state), events)


async def auth_chain(room, raw) -> list:
    """Ask the sender's server for the event's auth events, as a homeserver does on its arrival."""
    path = f"event_auth/{quote(room.resident.room_id, safe='')}/{quote(room.id_of(raw), safe='')}"
    return (await room.running.get(room.world.servers[1], path)).json["auth_chain"]


async def test_an_event_of_a_member_whom_the_join_omitted(room):
    """895 with the check as an RPC: the service names what is missing, and accepts the event with it."""
    latch = room.latch()
    joined = await room.join()
    message = room.say(room.derek, "m.room.message", {"body": "E"})
    with pytest.raises(MissingEventsError) as missing:
        await room.client.authorise_incoming_event(incoming(room, message))
    assert missing.value.event_ids == (room.member(room.derek),)
    chain = await auth_chain(room, message)
    verdict = await room.client.authorise_incoming_event(incoming(room, message, *chain))
    assert verdict.provisional_verdict is ProvisionalVerdict.ACCEPTED
    assert (verdict.event_id, verdict.generation) == (room.id_of(message), joined.generation)
    await room.record(joined, message, verdict=verdict.provisional_verdict)
    recovered = await room.becomes_full(joined, latch, message)
    assert not recovered.verdicts[room.id_of(message)].flipped


async def test_a_verdict_that_full_state_overturns(room):
    """1682 with the check as an RPC: accepted by what the join left of the state, rejected by all of it."""
    content = {"users": {room.charlie.user_id: 100, room.derek.user_id: 50}, "state_default": 50}
    room.say(room.charlie, LEVELS, content, "")
    old_join = room.member(room.derek)
    room.say(room.derek, MEMBER, {"membership": "leave"}, room.derek.user_id)
    latch = room.latch()
    joined = await room.join()
    cited = room.cited(room.state(LEVELS), old_join)
    topic = room.say(room.derek, TOPIC, {"topic": "mine"}, "", auth=cited, enters=False)
    old = room.resident.event(old_join).raw
    verdict = await room.client.authorise_incoming_event(incoming(room, topic, old))
    assert verdict.provisional_verdict is ProvisionalVerdict.ACCEPTED
    await room.record(joined, topic, verdict=verdict.provisional_verdict)
    latch.released.set()
    recovered = await room.recovered(joined)
    final = recovered.verdicts[room.id_of(topic)]
    assert (final.accepted, final.flipped) == (False, True)
    # The resync has fetched what the check needs by now.
    again = await room.client.authorise_incoming_event(incoming(room, topic))
    assert again.provisional_verdict is ProvisionalVerdict.ACCEPTED
    entry = StateEntry(MEMBER, room.derek.user_id, room.member(room.derek))
    known = incoming(room, topic)
    known = IncomingEvent(known.room_id, known.pdu, (*known.state_before, entry))
    again = await room.client.authorise_incoming_event(known)
    assert again.provisional_verdict is ProvisionalVerdict.REJECTED
    assert again.rejecting_rule == "SENDER_JOINED"

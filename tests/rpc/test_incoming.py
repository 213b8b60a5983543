"""AuthoriseIncomingEvent: the provisional verdict on an event, from what the request and the store have."""

import grpc
import pytest
from partialstate.v1 import rooms_service_pb2 as pb
from partialstate.v1 import types_pb2 as types
from partialstate_service.domain.errors import MissingEventsError
from partialstate_service.matrix.event import Event
from partialstate_service.ownership.given_events import stored_json
from partialstate_service.ownership.incoming import MAX_GIVEN, IncomingAuthorisation, IncomingEvent
from partialstate_service.ownership.recording import GivenPdu
from partialstate_service.store.protocol import ChunkKind, PduItem
from support.api import partial_event, pdu, record, refused
from support.send_joins import sent_join

BOB = "@bob:b.example"
ACCEPTED, REJECTED = pb.PROVISIONAL_VERDICT_ACCEPTED, pb.PROVISIONAL_VERDICT_REJECTED


def partial_state(join) -> dict:
    """Return the state that the homeserver has: what the response brought, and its own member."""
    return {
        key: event_id
        for key, event_id in join.room.state.items()
        if key[0] != "m.room.member" or key[1].endswith(":us.example")
    }


def request(join, event: Event, *given: Event, state=None, rejected=()) -> pb.AuthoriseIncomingEventRequest:
    state = partial_state(join) if state is None else state
    return pb.AuthoriseIncomingEventRequest(
        room_id=join.room_id,
        pdu=pdu(event),
        state_before=[
            types.StateEntry(type=kind, state_key=key, event_id=event_id)
            for (kind, key), event_id in state.items()
        ],
        events=map(pdu, given),
        rejected_event_ids=rejected,
    )


def member(join, user: str) -> Event:
    return join.room.current("m.room.member", user)


@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
async def test_a_member_whom_the_partial_state_lacks_is_believed(api, version):
    join = sent_join(version)
    generation = (await api.register(join)).generation
    message = join.room.message(BOB)
    verdict = await api.rooms.AuthoriseIncomingEvent(request(join, message, member(join, BOB)))
    assert verdict == pb.AuthoriseIncomingEventResponse(
        provisional_verdict=ACCEPTED, event_id=message.event_id, generation=generation
    )


async def test_a_rejection_names_the_rule(api):
    join = sent_join()
    await api.register(join)
    topic = join.room.build("m.room.topic", BOB, {"topic": "mine"}, "")
    verdict = await api.rooms.AuthoriseIncomingEvent(request(join, topic, member(join, BOB)))
    assert verdict.provisional_verdict == REJECTED
    assert verdict.rejecting_rule == "REQUIRED_LEVEL"
    assert verdict.rejection


async def test_missing_events_are_named_and_can_be_brought(api):
    join = sent_join()
    await api.register(join)
    message = join.room.message(BOB)
    with refused() as refusal:
        await api.rooms.AuthoriseIncomingEvent(request(join, message))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MISSING_EVENTS")
    assert refusal.facts == {"event_ids": member(join, BOB).event_id, "count": "1"}
    verdict = await api.rooms.AuthoriseIncomingEvent(request(join, message, member(join, BOB)))
    assert verdict.provisional_verdict == ACCEPTED


async def test_very_many_missing_events_are_named_in_part(api):
    join = sent_join()
    await api.register(join)
    event = join.room.build("m.room.message", BOB, {})
    state = {("m.room.member", f"@u{n}:b.example"): f"$missing-{n:040}" for n in range(MAX_GIVEN)}
    with refused() as refusal:
        await api.rooms.AuthoriseIncomingEvent(request(join, event, member(join, BOB), state=state))
    assert refusal.reason == "MISSING_EVENTS"
    assert refusal.facts is not None
    assert refusal.facts["count"] == str(MAX_GIVEN)
    assert 50 < len(refusal.facts["event_ids"].split()) < MAX_GIVEN


async def test_what_a_resync_has_fetched_is_held(api):
    join = sent_join()
    await api.register(join)
    bob = member(join, BOB)
    lease = await api.lease(join.room_id)
    items = [PduItem(bob.event_id, stored_json(bob))]
    chunk = await api.store.bulk.put(join.room_id, ChunkKind.VERIFIED, "tests", items)
    await api.store.registry.commit_verified(lease, chunk)
    verdict = await api.rooms.AuthoriseIncomingEvent(request(join, join.room.message(BOB)))
    assert verdict.provisional_verdict == ACCEPTED


async def test_of_a_very_large_room_only_a_part_is_looked_at(api):
    join = sent_join()
    await api.register(join)
    event = IncomingEvent(
        room_id=join.room_id,
        pdu=GivenPdu("", stored_json(join.room.message(join.room.creator))),
        state_before=partial_state(join),
        events=(),
        rejected=frozenset(),
    )
    whole = IncomingAuthorisation(api.store.registry, api.store.bulk)
    assert (await whole.authorise(event)).rejection is None
    nothing = IncomingAuthorisation(api.store.registry, api.store.bulk, max_read_bytes=10)
    with pytest.raises(MissingEventsError) as missing:
        await nothing.authorise(event)
    assert join.room.state["m.room.create", ""] in missing.value.event_ids


async def test_a_recorded_event_is_held(api):
    join = sent_join()
    await api.register(join)
    dave = join.room.join("@dave:d.example")
    await api.rooms.RecordPartialEvents(record(join.room, dave))
    message = join.room.message("@dave:d.example")
    verdict = await api.rooms.AuthoriseIncomingEvent(request(join, message))
    assert verdict.provisional_verdict == ACCEPTED


async def test_a_recorded_event_that_was_rejected_authorises_nothing(api):
    join = sent_join()
    await api.register(join)
    dave = join.room.join("@dave:d.example")
    await api.rooms.RecordPartialEvents(
        pb.RecordPartialEventsRequest(room_id=join.room_id, events=[partial_event(dave, accepted=False)])
    )
    message = join.room.message("@dave:d.example")
    verdict = await api.rooms.AuthoriseIncomingEvent(request(join, message))
    assert verdict.rejecting_rule == "AUTH_EVENTS_REJECTED"


async def test_what_the_homeserver_holds_as_rejected_authorises_nothing(api):
    join = sent_join()
    await api.register(join)
    bob = member(join, BOB)
    message = join.room.message(BOB)
    verdict = await api.rooms.AuthoriseIncomingEvent(request(join, message, bob, rejected=[bob.event_id]))
    assert verdict.rejecting_rule == "AUTH_EVENTS_REJECTED"


async def test_a_known_ban_beats_the_membership_that_the_event_claims(api):
    """MSC3902: the event is authorised by the resolution of both."""
    join = sent_join()
    await api.register(join)
    bob = member(join, BOB)
    late = join.room.fork()
    ban = join.room.ban(BOB)
    await api.rooms.RecordPartialEvents(record(join.room, ban))
    state = {**partial_state(join), ("m.room.member", BOB): ban.event_id}
    verdict = await api.rooms.AuthoriseIncomingEvent(request(join, late.message(BOB), bob, state=state))
    assert verdict.rejecting_rule == "SENDER_JOINED"


async def test_nothing_is_stored(api):
    join = sent_join()
    await api.register(join)
    token = await api.token()
    await api.rooms.AuthoriseIncomingEvent(request(join, join.room.message(BOB), member(join, BOB)))
    assert await api.token() == token


async def test_the_request_is_checked(api):
    join = sent_join()
    await api.register(join)
    message = join.room.message(BOB)
    good = request(join, message, member(join, BOB))

    def changed(**fields) -> pb.AuthoriseIncomingEventRequest:
        copy = pb.AuthoriseIncomingEventRequest()
        copy.CopyFrom(good)
        copy.MergeFrom(pb.AuthoriseIncomingEventRequest(**fields))
        return copy

    create = types.StateEntry(type="m.room.create", event_id=join.room.state["m.room.create", ""])
    for bad, reason in (
        (changed(room_id="no room"), "INVALID_FIELD"),
        (changed(room_id="!full:a.example"), "ROOM_NOT_PARTIAL"),
        (changed(pdu=types.Pdu(json=b"{}")), "INVALID_EVENT"),
        (changed(pdu=types.Pdu(event_id="$another")), "EVENT_ID_MISMATCH"),
        (changed(state_before=[create]), "INVALID_FIELD"),
        (changed(state_before=[types.StateEntry(type="m.room.topic")]), "INVALID_FIELD"),
        (changed(events=[types.Pdu(json=b"[]")]), "INVALID_EVENT"),
        (changed(rejected_event_ids=[f"$x{n}" for n in range(MAX_GIVEN + 1)]), "TOO_LARGE"),
    ):
        with refused() as refusal:
            await api.rooms.AuthoriseIncomingEvent(bad)
        assert refusal.reason == reason

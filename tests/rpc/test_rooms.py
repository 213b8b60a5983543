"""The life of a room through RoomsService."""

import grpc
import pytest
from partialstate.v1 import rooms_service_pb2 as pb
from partialstate.v1 import types_pb2 as types
from support.api import partial_event, pdu, record, refused, registration
from support.send_joins import sent_join


async def get(api, room_id):
    return (await api.rooms.GetPartialRoom(pb.GetPartialRoomRequest(room_id=room_id))).room


@pytest.mark.parametrize("version", ["1", "6", "10", "11", "12"])
async def test_a_registered_room_is_partial(api, version):
    join = sent_join(version)
    registered = await api.register(join, optional_device_list_position=42)
    assert registered.outcome == pb.REGISTRATION_OUTCOME_REGISTERED
    assert registered.join_event_id == join.join.event_id
    room = await get(api, join.room_id)
    assert room.generation == registered.generation
    assert room.status == types.ROOM_STATUS_RESYNCING
    assert room.room_version == version
    assert list(room.servers) == ["a.example", "b.example", "c.example"]
    assert (room.join_confirmed, room.state_verified) == (False, False)
    assert room.pending_event_count == 1
    assert room.optional_device_list_position == 42
    assert room.resync.stage == pb.RESYNC_STAGE_WAITING
    assert room.registered_at.seconds > 1_700_000_000


async def test_a_repeated_registration_gives_the_same_generation(api):
    join = sent_join()
    first = await api.register(join)
    again = await api.register(join)
    assert again.outcome == pb.REGISTRATION_OUTCOME_ALREADY_REGISTERED
    assert again.generation == first.generation
    assert again.state_token == first.state_token


async def test_a_repeated_registration_after_the_end_changes_nothing(api):
    join = sent_join()
    first = await api.register(join)
    await release(api, join, first, pb.RELEASE_REASON_PURGED)
    token = await api.token()
    again = await api.register(join)
    assert again.outcome == pb.REGISTRATION_OUTCOME_ENDED
    assert again.optional_ending == types.ENDING_PURGED
    assert again.generation == first.generation
    assert await api.token() == token
    with refused() as refusal:
        await get(api, join.room_id)
    assert refusal.reason == "ROOM_NOT_PARTIAL"
    assert refusal.facts == {
        "room_id": join.room_id,
        "last_generation": str(first.generation),
        "ending": "PURGED",
    }


async def test_a_further_join_raises_the_generation(api):
    join = sent_join()
    first = await api.register(join)
    join.join = join.room.join("@alice:us.example", displayname="again")
    join.response["event"] = dict(join.join.raw)
    second = await api.register(join)
    assert second.outcome == pb.REGISTRATION_OUTCOME_REGISTERED
    assert second.generation > first.generation
    with refused() as refusal:
        await release(api, join, first, pb.RELEASE_REASON_LEFT)
    assert refusal.reason == "STALE_GENERATION"
    assert refusal.facts == {"given": str(first.generation), "current": str(second.generation)}


@pytest.mark.parametrize(
    ("change", "reason", "code"),
    [
        ({"members_omitted": False}, "RESPONSE_NOT_PARTIAL", grpc.StatusCode.FAILED_PRECONDITION),
        ({"servers_in_room": []}, "NO_SERVERS_IN_ROOM", grpc.StatusCode.INVALID_ARGUMENT),
        ({"state": []}, "MISSING_CREATE_EVENT", grpc.StatusCode.INVALID_ARGUMENT),
        ({"auth_chain": 1}, "INVALID_FIELD", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_refused_response_stores_nothing(api, change, reason, code):
    join = sent_join()
    join.response |= change
    token = await api.token()
    with refused() as refusal:
        await api.register(join)
    assert (refusal.reason, refusal.code) == (reason, code)
    assert await api.token() == token
    assert not (await api.rooms.ListPartialRooms(pb.ListPartialRoomsRequest())).rooms


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"room_id": ""}, "INVALID_FIELD"),
        ({"room_id": "#alias:a.example"}, "INVALID_FIELD"),
        ({"joined_via": "not a server"}, "INVALID_FIELD"),
        ({"room_version": "99"}, "UNSUPPORTED_ROOM_VERSION"),
        ({"room_id": "!other:a.example"}, "WRONG_ROOM"),
        ({"join_event": b""}, "INVALID_EVENT"),
        ({"omit_members_requested": False}, "MEMBERS_OMITTED_UNASKED"),
        ({"joined_via": "us.example"}, None),
    ],
)
async def test_the_header_is_checked(api, header, reason):
    if reason is None:
        assert (await api.register(sent_join(), **header)).generation
        return
    with refused() as refusal:
        await api.register(sent_join(), **header)
    assert refusal.reason == reason


async def test_a_registration_is_a_header_and_then_chunks(api):
    join = sent_join()
    messages = [message async for message in registration(join)]

    async def send(some):
        for message in some:
            yield message

    for some in ([], messages[1:], [messages[0], messages[0]], [pb.RegisterPartialJoinRequest()]):
        with refused() as refusal:
            await api.rooms.RegisterPartialJoin(send(some))
        assert refusal.reason == "INVALID_STREAM"
    with refused() as refusal:
        await api.rooms.RegisterPartialJoin(send(messages[:-1]))
    assert refusal.reason == "TRUNCATED_RESPONSE"


async def test_confirm_join_is_idempotent_even_after_the_end(api):
    join = sent_join()
    registered = await api.register(join)
    request = pb.ConfirmJoinRequest(room_id=join.room_id, generation=registered.generation)
    await api.rooms.ConfirmJoin(request)
    assert (await get(api, join.room_id)).join_confirmed
    await api.rooms.ConfirmJoin(request)
    await release(api, join, registered, pb.RELEASE_REASON_PURGED)
    await api.rooms.ConfirmJoin(request)


async def test_a_confirmed_join_did_not_fail(api):
    join = sent_join()
    registered = await api.register(join)
    await api.rooms.ConfirmJoin(pb.ConfirmJoinRequest(room_id=join.room_id, generation=registered.generation))
    with refused() as refusal:
        await release(api, join, registered, pb.RELEASE_REASON_JOIN_FAILED)
    assert refusal.reason == "JOIN_CONFIRMED"


async def test_a_left_room_is_abandoned_and_stays_partial(api):
    join = sent_join()
    registered = await api.register(join)
    await release(api, join, registered, pb.RELEASE_REASON_LEFT)
    assert (await get(api, join.room_id)).status == types.ROOM_STATUS_ABANDONED
    await release(api, join, registered, pb.RELEASE_REASON_LEFT)
    with refused() as refusal:
        await api.rooms.RetryResync(pb.RetryResyncRequest(room_id=join.room_id))
    assert refusal.reason == "ROOM_ABANDONED"


async def test_a_release_needs_a_reason(api):
    with refused() as refusal:
        await api.rooms.ReleaseRoom(pb.ReleaseRoomRequest(room_id="!a:b.example", generation=1))
    assert (refusal.reason, refusal.facts) == ("INVALID_FIELD", {"field": "reason"})


async def test_partial_events_are_recorded_once(api):
    join = sent_join()
    registered = await api.register(join)
    events = [join.room.message("@bob:b.example"), join.room.message("@alice:us.example")]
    first = await api.rooms.RecordPartialEvents(record(join.room, *events))
    assert list(first.outcomes) == [pb.RECORD_OUTCOME_RECORDED] * 2
    assert first.generation == registered.generation
    again = await api.rooms.RecordPartialEvents(record(join.room, *events))
    assert (again.outcomes, again.state_token) == (first.outcomes, first.state_token)
    assert (await get(api, join.room_id)).pending_event_count == 3
    recorded = await api.store.registry.recorded_events(join.room_id)
    assert [event.event_id for event in recorded] == [join.join.event_id, *(e.event_id for e in events)]


async def test_recording_in_a_full_room_says_so(api):
    join = sent_join()
    answer = await api.rooms.RecordPartialEvents(record(join.room, join.room.message("@bob:b.example")))
    assert list(answer.outcomes) == [pb.RECORD_OUTCOME_ROOM_NOT_PARTIAL]
    assert answer.generation == 0


async def test_a_recorded_event_must_have_its_id_and_room(api):
    join = sent_join()
    await api.register(join)
    event = join.room.message("@bob:b.example")
    request = record(join.room, event)
    request.events[0].pdu.event_id = "$another"
    with refused() as refusal:
        await api.rooms.RecordPartialEvents(request)
    assert refusal.reason == "EVENT_ID_MISMATCH"
    assert refusal.facts == {"field": "events[0].pdu", "given": "$another", "computed": event.event_id}
    elsewhere = sent_join().room.message("@bob:b.example")
    with refused() as refusal:
        await api.rooms.RecordPartialEvents(record(join.room, event, elsewhere))
    assert refusal.reason == "WRONG_ROOM"
    request.events[0].pdu.event_id = ""
    request.events[0].provisional_verdict = pb.PROVISIONAL_VERDICT_UNSPECIFIED
    with refused() as refusal:
        await api.rooms.RecordPartialEvents(request)
    assert refusal.facts == {"field": "events[0].provisional_verdict"}
    assert (await get(api, join.room_id)).pending_event_count == 1


async def test_too_many_events_are_refused(api):
    join = sent_join()
    await api.register(join)
    event = partial_event(join.room.message("@bob:b.example"))
    request = pb.RecordPartialEventsRequest(room_id=join.room_id, events=[event] * 501)
    with refused() as refusal:
        await api.rooms.RecordPartialEvents(request)
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.facts == {"field": "events", "limit": "500"}


async def test_sent_events_are_recorded_for_partial_rooms_only(api):
    join = sent_join()
    request = pb.RecordSentEventsRequest(
        room_id=join.room_id,
        events=[pb.SentEvent(event_id=join.join.event_id, destinations=["a.example", "b.example"])],
    )
    assert not (await api.rooms.RecordSentEvents(request)).room_is_partial
    await api.register(join)
    assert (await api.rooms.RecordSentEvents(request)).room_is_partial
    ledger = api.store.ledger
    assert await ledger.sent_to(join.room_id, [join.join.event_id], "b.example") == {join.join.event_id}
    assert await ledger.sent_to(join.room_id, [join.join.event_id], "c.example") == set()


async def test_destinations_are_the_servers_without_us(api):
    join = sent_join()
    join.response["servers_in_room"] += ["us.example"]
    registered = await api.register(join)
    answer = await api.rooms.GetDestinations(pb.GetDestinationsRequest(room_id=join.room_id))
    assert list(answer.servers) == ["a.example", "b.example", "c.example"]
    assert answer.generation == registered.generation


async def test_servers_seen_joining_are_destinations_at_once(api):
    join = sent_join()
    await api.register(join)
    refused_join = partial_event(join.room.join("@eve:e.example"))
    refused_join.provisional_verdict = pb.PROVISIONAL_VERDICT_REJECTED
    events = [partial_event(join.room.join("@dora:d.example")), refused_join]
    await api.rooms.RecordPartialEvents(pb.RecordPartialEventsRequest(room_id=join.room_id, events=events))
    answer = await api.rooms.GetDestinations(pb.GetDestinationsRequest(room_id=join.room_id))
    assert list(answer.servers) == ["a.example", "b.example", "c.example", "d.example"]


async def test_a_retry_adds_servers(api):
    join = sent_join()
    await api.register(join)
    answer = await api.rooms.RetryResync(
        pb.RetryResyncRequest(room_id=join.room_id, additional_servers=["d.example", "us.example"])
    )
    assert list(answer.room.servers) == ["a.example", "b.example", "c.example", "d.example"]


async def test_rooms_are_listed_in_pages(api):
    joins = sorted([sent_join() for _ in range(5)], key=lambda join: join.room_id)
    for join in joins:
        await api.register(join)
    found, page_token = [], ""
    while True:
        page = await api.rooms.ListPartialRooms(
            pb.ListPartialRoomsRequest(page_size=2, page_token=page_token)
        )
        assert len(page.rooms) <= 2
        found += [room.room_id for room in page.rooms]
        page_token = page.next_page_token
        if not page_token:
            break
    assert found == [join.room_id for join in joins]


async def test_rooms_are_listed_by_status(api):
    left, kept = sent_join(), sent_join()
    registered = await api.register(left)
    await api.register(kept)
    await release(api, left, registered, pb.RELEASE_REASON_LEFT)
    for status, join in ((types.ROOM_STATUS_ABANDONED, left), (types.ROOM_STATUS_RESYNCING, kept)):
        page = await api.rooms.ListPartialRooms(pb.ListPartialRoomsRequest(statuses=[status]))
        assert [room.room_id for room in page.rooms] == [join.room_id]


async def test_recorded_state_after_an_event_must_be_of_the_room(api):
    join = sent_join()
    await api.register(join)
    event = join.room.join_rules("invite")
    other = sent_join().room.join_rules("invite")
    request = pb.RecordPartialEventsRequest(
        room_id=join.room_id, events=[partial_event(event, after=[other])]
    )
    with refused() as refusal:
        await api.rooms.RecordPartialEvents(request)
    assert refusal.reason == "WRONG_ROOM"
    request.events[0].non_member_state_after[0].CopyFrom(pdu(event))
    assert list((await api.rooms.RecordPartialEvents(request)).outcomes) == [pb.RECORD_OUTCOME_RECORDED]
    room = await api.store.registry.get(join.room_id)
    assert room.summary.join_rules == ({"join_rule": "invite"},)


async def release(api, join, registered, reason):
    await api.rooms.ReleaseRoom(
        pb.ReleaseRoomRequest(room_id=join.room_id, generation=registered.generation, reason=reason)
    )

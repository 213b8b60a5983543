"""Registering joins and reconciling rooms: streams of requests."""

import contextlib

import grpc
import pytest
from partialstate import (
    NO_RETRIES,
    Ending,
    HeldRoom,
    InvalidRequestError,
    PartialEvent,
    PartialJoin,
    PartialStateClient,
    Pdu,
    ProvisionalVerdict,
    RecordOutcome,
    RegistrationOutcome,
    ReleaseReason,
    ResyncPriority,
    SentEvent,
    StateToken,
    UnavailableError,
    event_json,
)
from partialstate.v1 import rooms_service_pb2 as pb
from partialstate.v1 import types_pb2
from support.fake_service import UNAVAILABLE, answering, failing

TOKEN = types_pb2.StateToken(token="t1")
JOIN = PartialJoin("!r:a", "11", b"{}", "a", device_list_position=0, priority=ResyncPriority.USER_WAITING)
REGISTERED = pb.RegisterPartialJoinResponse(
    generation=7, outcome=pb.REGISTRATION_OUTCOME_REGISTERED, state_token=TOKEN, join_event_id="$j"
)
BODY = bytes(range(256)) * 4096  # a megabyte


def body_of(call) -> bytes:
    assert call.requests[0].WhichOneof("part") == "header"
    return b"".join(message.send_join_response_chunk for message in call.requests[1:])


async def pieces(*parts: bytes):
    for part in parts:
        yield part


@pytest.mark.parametrize(
    "response",
    [BODY, [BODY[:10], b"", BODY[10:]], iter([BODY[:700_000], BODY[700_000:]])],
    ids=["bytes", "list", "iterator"],
)
async def test_a_response_is_sent_in_chunks_whatever_it_comes_in(fake, client, response):
    fake.on("RegisterPartialJoin", answering(REGISTERED))
    registration = await client.register_partial_join(JOIN, response)
    assert (registration.generation, registration.outcome) == (7, RegistrationOutcome.REGISTERED)
    assert (registration.ending, registration.state_token, registration.join_event_id) == (None, "t1", "$j")
    (call,) = fake.calls("RegisterPartialJoin")
    assert body_of(call) == BODY
    assert max(len(message.send_join_response_chunk) for message in call.requests) <= 1024 * 1024
    header = call.request.header
    assert (header.room_id, header.room_version, header.joined_via) == ("!r:a", "11", "a")
    assert header.HasField("optional_device_list_position")
    assert header.priority == pb.RESYNC_PRIORITY_USER_WAITING
    assert header.omit_members_requested


async def test_an_asynchronous_response_is_passed_on(fake, client):
    fake.on("RegisterPartialJoin", answering(REGISTERED))
    await client.register_partial_join(JOIN, pieces(b"ab", b"c"))
    assert body_of(fake.calls("RegisterPartialJoin")[0]) == b"abc"


async def test_a_registration_whose_answer_was_lost_is_sent_again_whole(fake, client):
    fake.on("RegisterPartialJoin", failing(grpc.StatusCode.UNAVAILABLE, first=2), answering(REGISTERED))
    assert (await client.register_partial_join(JOIN, BODY)).generation == 7
    assert body_of(fake.calls("RegisterPartialJoin")[1]) == BODY


async def test_what_can_be_read_only_once_is_not_sent_again(fake, client):
    fake.on("RegisterPartialJoin", UNAVAILABLE, answering(REGISTERED))
    with pytest.raises(UnavailableError):
        await client.register_partial_join(JOIN, pieces(b"ab"))
    assert len(fake.calls("RegisterPartialJoin")) == 1


async def test_a_refusal_in_the_middle_of_the_upload_is_told(fake, client):
    fake.on("RegisterPartialJoin", failing(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", first=1))
    for _ in range(10):  # the status and the failing write race
        with pytest.raises(InvalidRequestError):
            await client.register_partial_join(JOIN, BODY * 20)


async def test_an_answer_before_the_upload_is_read_is_lost_not_a_defect(fake, client):
    fake.on("RegisterPartialJoin", lambda _call, _context: REGISTERED)
    async with PartialStateClient(fake.target, retry_policy=NO_RETRIES) as once:
        for _ in range(5):
            with contextlib.suppress(UnavailableError):
                assert (await once.register_partial_join(JOIN, BODY * 20)).generation == 7


async def test_a_source_that_fails_ends_the_call_with_its_own_error(fake, client):
    async def broken():
        yield b"ab"
        raise OSError("the resident hung up")

    fake.on("RegisterPartialJoin", answering(REGISTERED))
    with pytest.raises(OSError, match="hung up"):
        await client.register_partial_join(JOIN, broken())


async def test_a_registration_that_has_ended_says_how(fake, client):
    ended = pb.RegisterPartialJoinResponse(
        generation=7,
        outcome=pb.REGISTRATION_OUTCOME_ENDED,
        optional_ending=types_pb2.ENDING_IMPORTED,
        state_token=TOKEN,
    )
    fake.on("RegisterPartialJoin", answering(ended))
    registration = await client.register_partial_join(JOIN, b"{}")
    assert (registration.outcome, registration.ending) == (RegistrationOutcome.ENDED, Ending.IMPORTED)


async def test_rooms_are_reconciled_in_a_stream(fake, client):
    answer = pb.ReconcileRoomsResponse(
        registered=[pb.ReconciledRoom(room_id="!new:a", generation=9)],
        failed=[pb.UnregistrableRoom(room_id="!bad:a", reason="INVALID_EVENT", message="no")],
        ended=[pb.ReconciledRoom(room_id="!old:a", generation=2, optional_ending=types_pb2.ENDING_PURGED)],
        agreed_count=1,
        state_token=TOKEN,
    )
    fake.on("ReconcileRooms", UNAVAILABLE, answering(answer))
    held = [
        HeldRoom("!known:a"),
        HeldRoom(
            "!new:a",
            "11",
            join_event=b"{}",
            servers=("a",),
            non_member_state=(Pdu(b"{}"),),
            partial_events=(PartialEvent(Pdu(b"{}"), ProvisionalVerdict.REJECTED),),
        ),
    ]
    found = await client.reconcile_rooms(StateToken("t0"), held)
    assert (found.registered[0].room_id, found.registered[0].ending) == ("!new:a", None)
    assert (found.failed[0].reason, found.ended[0].ending) == ("INVALID_EVENT", Ending.PURGED)
    assert (found.agreed_count, found.unknown_to_homeserver, found.state_token) == (1, (), "t1")
    sent = fake.calls("ReconcileRooms")[1].requests
    assert sent[0].header.state_token.token == "t0"
    assert [message.room.room_id for message in sent[1:]] == ["!known:a", "!new:a"]
    assert sent[2].room.partial_events[0].provisional_verdict == pb.PROVISIONAL_VERDICT_REJECTED
    assert not sent[1].room.HasField("optional_device_list_position")


async def test_events_are_recorded(fake, client):
    fake.on(
        "RecordPartialEvents",
        answering(
            pb.RecordPartialEventsResponse(
                outcomes=[pb.RECORD_OUTCOME_RECORDED, pb.RECORD_OUTCOME_EVENT_NOT_PARTIAL],
                generation=7,
                state_token=TOKEN,
            )
        ),
    )
    event = PartialEvent(
        Pdu(event_json({"type": "m.room.join_rules"})), ProvisionalVerdict.ACCEPTED, (Pdu(b"{}", "$x"),)
    )
    recorded = await client.record_partial_events("!r:a", [event, event])
    assert recorded.outcomes == (RecordOutcome.RECORDED, RecordOutcome.EVENT_NOT_PARTIAL)
    request = fake.calls("RecordPartialEvents")[0].request
    assert request.events[0].pdu.json == b'{"type":"m.room.join_rules"}'
    assert request.events[0].non_member_state_after[0].event_id == "$x"


async def test_sent_events_are_recorded(fake, client):
    fake.on("RecordSentEvents", answering(pb.RecordSentEventsResponse(room_is_partial=True)))
    assert await client.record_sent_events("!r:a", [SentEvent("$e", ("a", "b"))]) is True
    (event,) = fake.calls("RecordSentEvents")[0].request.events
    assert (event.event_id, list(event.destinations)) == ("$e", ["a", "b"])


async def test_a_room_is_released_and_retried(fake, client):
    fake.on("ReleaseRoom", answering(pb.ReleaseRoomResponse(state_token=TOKEN)))
    assert await client.release_room("!r:a", 7, ReleaseReason.LEFT) == "t1"
    assert fake.calls("ReleaseRoom")[0].request.reason == pb.RELEASE_REASON_LEFT
    room = pb.PartialRoom(room_id="!r:a", generation=7, optional_device_list_position=5)
    fake.on("RetryResync", answering(pb.RetryResyncResponse(room=room, state_token=TOKEN)))
    snapshot = await client.retry_resync("!r:a", additional_servers=["c"])
    assert (snapshot.room.generation, snapshot.room.device_list_position) == (7, 5)
    assert list(fake.calls("RetryResync")[0].request.additional_servers) == ["c"]


def test_an_event_becomes_json_whatever_its_strings_hold():
    assert event_json({"a": "ü\ud800"}) == b'{"a":"\\u00fc\\ud800"}'
    with pytest.raises(ValueError, match="JSON"):
        event_json({"a": float("nan")})

"""Checks through the API: how fresh they are, in batches, in streams."""

import asyncio

import grpc
import pytest
from partialstate.v1 import check_service_pb2 as pb
from partialstate.v1 import rooms_service_pb2 as rooms
from partialstate.v1 import types_pb2 as types
from support.api import partial_event, record, refused, running_api
from support.send_joins import sent_join


def state_ids(room_id: str, /, **fields) -> pb.CheckRequest:
    return pb.CheckRequest(
        **{
            "endpoint": pb.ENDPOINT_STATE_IDS,
            "origin": "b.example",
            "room_id": room_id,
            "event_ids": ["$e"],
            **fields,
        }
    )


def at_least(token: types.StateToken) -> types.Consistency:
    return types.Consistency(at_least_as_fresh=token)


async def test_a_room_is_refused_from_its_registration_to_its_end(api):
    join = sent_join()
    before = await api.check.Check(state_ids(join.room_id))
    assert (before.verdict, before.reason) == (pb.VERDICT_PROCEED, pb.REASON_ROOM_NOT_PARTIAL)
    registered = await api.register(join)
    refused_now = await api.check.Check(state_ids(join.room_id))
    assert (refused_now.verdict, refused_now.reason) == (pb.VERDICT_REFUSE, pb.REASON_ACL_UNKNOWN)
    assert refused_now.generation == registered.generation
    assert refused_now.optional_error == types.MatrixError(
        http_status=403,
        errcode="ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE",
        error=refused_now.optional_error.error,
    )
    await api.verify(join.room_id)
    verified = await api.check.Check(state_ids(join.room_id))
    assert (verified.verdict, verified.reason) == (pb.VERDICT_REFUSE, pb.REASON_STATE_UNKNOWN)
    for reason, verdict in (
        (rooms.RELEASE_REASON_LEFT, pb.VERDICT_REFUSE),
        (rooms.RELEASE_REASON_PURGED, pb.VERDICT_PROCEED),
    ):
        await api.rooms.ReleaseRoom(
            rooms.ReleaseRoomRequest(room_id=join.room_id, generation=registered.generation, reason=reason)
        )
        assert (await api.check.Check(state_ids(join.room_id))).verdict == verdict


async def test_the_acl_of_the_response_counts_once_verified(api):
    join = sent_join(acl={"allow": ["*"], "deny": ["b.example"]})
    await api.register(join)
    await api.verify(join.room_id)
    denied = await api.check.Check(state_ids(join.room_id))
    assert (denied.reason, denied.optional_error.errcode) == (pb.REASON_ACL_DENIED, "M_FORBIDDEN")
    allowed = await api.check.Check(state_ids(join.room_id, origin="c.example"))
    assert allowed.reason == pb.REASON_STATE_UNKNOWN


async def test_a_recorded_change_of_the_acl_counts_at_once(api):
    join = sent_join()
    await api.register(join)
    await api.verify(join.room_id)
    acl = join.room.send("m.room.server_acl", join.room.creator, {"allow": ["*"], "deny": ["b.*"]}, "")
    await api.rooms.RecordPartialEvents(
        rooms.RecordPartialEventsRequest(room_id=join.room_id, events=[partial_event(acl, after=[acl])])
    )
    assert (await api.check.Check(state_ids(join.room_id))).reason == pb.REASON_ACL_DENIED


async def test_what_we_sent_is_answered(api):
    join = sent_join()
    await api.register(join)
    await api.verify(join.room_id)
    ours = join.room.message("@alice:us.example")
    await api.rooms.RecordPartialEvents(record(join.room, ours))
    await api.rooms.RecordSentEvents(
        rooms.RecordSentEventsRequest(
            room_id=join.room_id,
            events=[rooms.SentEvent(event_id=ours.event_id, destinations=["b.example"])],
        )
    )
    request = state_ids(join.room_id, endpoint=pb.ENDPOINT_EVENT_AUTH, event_ids=[ours.event_id])
    assert (await api.check.Check(request)).verdict == pb.VERDICT_ANSWER
    request.origin = "c.example"
    assert (await api.check.Check(request)).reason == pb.REASON_MEMBERSHIP_UNKNOWN
    elsewhere = state_ids("!elsewhere:a.example", endpoint=pb.ENDPOINT_EVENT, event_ids=[ours.event_id])
    assert (await api.check.Check(elsewhere)).reason == pb.REASON_EVENT_IN_OTHER_ROOM


async def test_a_check_without_a_room_needs_no_store(store_url):
    async with running_api(store_url, reconciled=False) as api:
        send = pb.CheckRequest(endpoint=pb.ENDPOINT_SEND, origin="b.example")
        assert (await api.check.Check(send)).verdict == pb.VERDICT_PROCEED


async def test_a_fresh_store_decides_nothing(store_url):
    async with running_api(store_url, reconciled=False) as api:
        token = await api.token()
        staleness = types.Consistency()
        staleness.bounded_staleness.FromSeconds(60)
        for consistency in (None, at_least(token), staleness):
            with refused() as refusal:
                await api.check.Check(state_ids("!room:a.example", optional_consistency=consistency))
            assert (refusal.reason, refusal.code) == ("NOT_RECONCILED", grpc.StatusCode.UNAVAILABLE)
        await api.reconcile()
        assert (await api.check.Check(state_ids("!room:a.example"))).verdict == pb.VERDICT_PROCEED


@pytest.mark.parametrize("repeat", range(3))
async def test_a_check_sees_every_write_that_was_answered_before_it(api, repeat):
    del repeat

    async def one():
        join = sent_join()
        registered = await api.register(join)
        by_default = await api.check.Check(state_ids(join.room_id))
        by_token = await api.check.Check(
            state_ids(join.room_id, optional_consistency=at_least(registered.state_token))
        )
        return by_default.verdict, by_token.verdict

    verdicts = await asyncio.gather(*(one() for _ in range(20)))
    assert set(verdicts) == {(pb.VERDICT_REFUSE, pb.VERDICT_REFUSE)}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"endpoint": 0}, "endpoint"),
        ({"endpoint": 999}, "endpoint"),
        ({"origin": ""}, "origin"),
        ({"room_id": ""}, "room_id"),
        ({"room_id": "room"}, "room_id"),
        ({"event_ids": ["e"]}, "event_ids"),
        ({"user_id": "alice"}, "user_id"),
        ({"allow_room_ids": ["x"]}, "allow_room_ids"),
        ({"candidates": [pb.Candidate(event_id="")]}, "candidates.event_id"),
    ],
)
async def test_a_malformed_check_is_refused_and_never_proceeds(api, fields, field):
    with refused() as refusal:
        await api.check.Check(state_ids("!room:a.example", **fields))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (refusal.reason, refusal.facts) == ("INVALID_FIELD", {"field": field})


async def test_tokens_are_checked(api, store_url):
    async with running_api(store_url) as other:
        foreign = await other.token()
    for token, reason in (
        (foreign, "FOREIGN_TOKEN"),
        (types.StateToken(token="nonsense"), "INVALID_TOKEN"),
        (types.StateToken(), "INVALID_TOKEN"),
    ):
        with refused() as refusal:
            await api.check.Check(state_ids("!a:b.example", optional_consistency=at_least(token)))
        assert refusal.reason == reason


@pytest.mark.parametrize("seconds", [-1, 61])
async def test_staleness_is_bounded(api, seconds):
    staleness = types.Consistency()
    staleness.bounded_staleness.FromSeconds(seconds)
    with refused() as refusal:
        await api.check.Check(state_ids("!a:b.example", optional_consistency=staleness))
    assert refusal.facts == {"field": "optional_consistency.bounded_staleness"}


async def test_a_batch_decides_each_item_and_a_bad_one_spoils_none(api):
    join = sent_join()
    await api.register(join)
    answer = await api.check.BatchCheck(
        pb.BatchCheckRequest(
            requests=[
                state_ids(join.room_id),
                state_ids(join.room_id, room_id=""),
                state_ids("!full:a.example"),
                state_ids(join.room_id, origin="?"),
            ]
        )
    )
    partial, no_room, full, no_origin = answer.results
    assert partial.decision.verdict == pb.VERDICT_REFUSE
    assert full.decision.verdict == pb.VERDICT_PROCEED
    for item in (no_room, no_origin):
        assert item.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert item.error.reason == "INVALID_FIELD"
        assert item.error.message


async def test_a_batch_is_bounded(api):
    with refused() as refusal:
        await api.check.BatchCheck(pb.BatchCheckRequest(requests=[pb.CheckRequest()] * 1001))
    assert refusal.facts == {"field": "requests", "limit": "1000"}
    assert not (await api.check.BatchCheck(pb.BatchCheckRequest())).results


async def test_a_stream_answers_in_order_and_survives_errors(api):
    join = sent_join()
    await api.register(join)

    async def requests():
        for index in range(300):
            room_id = join.room_id if index % 3 == 0 else "!full:a.example" if index % 3 == 1 else "bad"
            yield pb.StreamCheckRequest(request=state_ids(room_id))

    answers = [answer.result async for answer in api.check.StreamCheck(requests())]
    assert len(answers) == 300
    for index, answer in enumerate(answers):
        match index % 3:
            case 0:
                assert answer.decision.verdict == pb.VERDICT_REFUSE
            case 1:
                assert answer.decision.verdict == pb.VERDICT_PROCEED
            case _:
                assert answer.error.reason == "INVALID_FIELD"


async def test_a_stream_answers_before_it_ends(api):
    stream = api.check.StreamCheck()
    for _ in range(3):
        await stream.write(pb.StreamCheckRequest(request=state_ids("!full:a.example")))
        answer = await asyncio.wait_for(stream.read(), 10)
        assert answer.result.decision.verdict == pb.VERDICT_PROCEED
    await stream.done_writing()
    assert await asyncio.wait_for(stream.read(), 10) is grpc.aio.EOF

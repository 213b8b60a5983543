"""Checks: single, decided whatever happens, batched and streamed."""

import asyncio

import grpc
import partialstate
import pytest
from partialstate import (
    STABLE_ERRCODE,
    UNSTABLE_ERRCODE,
    AtLeastAsFresh,
    BoundedStaleness,
    Candidate,
    CheckRequest,
    DeadlineExceededError,
    Deadlines,
    Endpoint,
    ErrorResponse,
    FullyConsistent,
    PartialStateClient,
    Reason,
    StateToken,
    Verdict,
)
from partialstate.v1 import check_service_pb2 as pb
from partialstate.v1 import types_pb2
from support.fake_service import answering, failing, per_request, stalling, streaming

REQUEST = CheckRequest(Endpoint.STATE_IDS, "b.example", "!r:a", ("$e",))
TOKEN = types_pb2.StateToken(token="t1")
REFUSAL = pb.CheckResponse(
    verdict=pb.VERDICT_REFUSE,
    reason=pb.REASON_STATE_UNKNOWN,
    generation=3,
    optional_error=types_pb2.MatrixError(http_status=403, errcode="M_UNABLE", error="no"),
    state_token=TOKEN,
)


async def test_a_refusal_is_a_decision(fake, client):
    fake.on("Check", answering(REFUSAL))
    decision = await client.check(REQUEST)
    assert (decision.verdict, decision.reason) == (Verdict.REFUSE, Reason.STATE_UNKNOWN)
    assert decision.error == ErrorResponse(403, "M_UNABLE", "no")
    assert (decision.generation, decision.state_token) == (3, "t1")
    assert decision.error_instead_of_forbidden is None
    request = fake.calls("Check")[0].request
    assert (request.endpoint, request.origin, request.room_id) == (pb.ENDPOINT_STATE_IDS, "b.example", "!r:a")
    assert list(request.event_ids) == ["$e"]
    for absent in ("user_in_a_full_allow_room", "user_invited_or_joined", "can_issue_invite", "consistency"):
        assert not request.HasField(f"optional_{absent}")


async def test_every_field_of_a_request_is_sent(fake, client):
    fake.on("Check", answering(REFUSAL))
    await client.check(
        CheckRequest(
            Endpoint.MAKE_JOIN,
            "b.example",
            "!r:a",
            user_id="@u:b",
            candidates=(Candidate("$c", "@s:b", "shared"),),
            allow_room_ids=("!x:a",),
            user_in_a_full_allow_room=False,
            user_invited_or_joined=False,
            can_issue_invite=True,
            consistency=AtLeastAsFresh(StateToken("t0")),
        )
    )
    request = fake.calls("Check")[0].request
    assert request.user_id == "@u:b"
    assert request.candidates[0] == pb.Candidate(event_id="$c", sender="@s:b", history_visibility="shared")
    assert list(request.allow_room_ids) == ["!x:a"]
    assert request.HasField("optional_user_in_a_full_allow_room")
    assert not request.optional_user_in_a_full_allow_room
    assert request.HasField("optional_user_invited_or_joined")
    assert request.optional_can_issue_invite
    assert request.optional_consistency.at_least_as_fresh.token == "t0"


async def test_consistency(fake, client):
    fake.on("BatchCheck", answering(pb.BatchCheckResponse()))
    await client.batch_check([], consistency=FullyConsistent())
    await client.batch_check([], consistency=BoundedStaleness(1.5))
    full, bounded = (call.request.optional_consistency for call in fake.calls("BatchCheck"))
    assert full.fully_consistent
    assert bounded.bounded_staleness.ToNanoseconds() == 1_500_000_000


async def test_a_verdict_of_a_newer_service_is_no_decision(fake, client):
    fake.on("Check", answering(pb.CheckResponse(verdict=17)))
    with pytest.raises(partialstate.ServiceDefectError):
        await client.check(REQUEST)
    assert (await client.decide(REQUEST)).verdict is Verdict.REFUSE


async def test_a_decision_of_the_service_stands(fake, client):
    fake.on("Check", answering(REFUSAL))
    assert (await client.decide(REQUEST)).reason is Reason.STATE_UNKNOWN


@pytest.mark.parametrize("endpoint", Endpoint)
async def test_without_a_decision_the_table_answers_for_every_endpoint(fake, client, endpoint):
    fake.on("Check", failing(grpc.StatusCode.INTERNAL))
    decision = await client.decide(CheckRequest(endpoint, "b.example", "!r:a"))
    error = partialstate.error_without_decision(endpoint)
    assert decision.error == error
    assert decision.verdict is (Verdict.PROCEED if error is None else Verdict.REFUSE)
    asked = partialstate.needs_check(endpoint)
    assert len(fake.calls("Check")) == asked
    assert decision.reason is (Reason.NO_DECISION if asked else Reason.NO_CHECK_NEEDED)
    assert isinstance(decision.failure, partialstate.ServiceDefectError) is asked


async def test_a_service_that_hangs_costs_a_request_the_deadline_and_no_more(fake):
    fake.on("Check", stalling())
    async with PartialStateClient(fake.target, deadlines=Deadlines(check_s=0.05)) as client:
        decision = await client.decide(REQUEST, errcode=STABLE_ERRCODE)
    assert isinstance(decision.failure, DeadlineExceededError)
    assert decision.error is not None
    assert decision.error.errcode == STABLE_ERRCODE


async def test_without_a_service_send_proceeds_and_a_join_is_not_found():
    async with PartialStateClient("127.0.0.1:1") as client:
        send = await client.decide(CheckRequest(Endpoint.SEND, "b.example"))
        join = await client.decide(CheckRequest(Endpoint.MAKE_JOIN, "b.example", "!r:a"))
        state = await client.decide(REQUEST)
    assert send.verdict is Verdict.PROCEED
    assert join.error is not None
    assert (join.error.http_status, join.error.errcode) == (404, "M_NOT_FOUND")
    assert state.error is not None
    assert (state.error.http_status, state.error.errcode) == (403, UNSTABLE_ERRCODE)


async def test_a_bad_item_of_a_batch_spoils_no_other(fake, client):
    error = pb.CheckError(code=3, reason="INVALID_FIELD", message="room_id must be given")
    answer = pb.BatchCheckResponse(
        results=[
            pb.BatchCheckResult(error=error),
            pb.BatchCheckResult(decision=REFUSAL),
            pb.BatchCheckResult(decision=pb.CheckResponse(verdict=17)),
        ]
    )
    fake.on("BatchCheck", answering(answer))
    flaw, refusal, foreign = await client.batch_check([REQUEST] * 3)
    assert isinstance(flaw, partialstate.InvalidRequestError)
    assert (flaw.status, str(flaw)) == ("INVALID_ARGUMENT", "room_id must be given")
    assert isinstance(refusal, partialstate.Decision)
    assert isinstance(foreign, partialstate.ServiceDefectError)


def echoing(message: pb.StreamCheckRequest) -> pb.StreamCheckResponse:
    """A decision whose generation is the number in the request's event id."""
    number = int(message.request.event_ids[0].removeprefix("$"))
    decision = pb.CheckResponse(verdict=pb.VERDICT_ANSWER, generation=number, state_token=TOKEN)
    return pb.StreamCheckResponse(result=pb.BatchCheckResult(decision=decision))


def numbered(number: int) -> CheckRequest:
    return CheckRequest(Endpoint.EVENT, "b.example", "!r:a", (f"${number}",))


async def test_concurrent_checks_of_a_stream_get_their_own_answers(fake, client):
    fake.on("StreamCheck", per_request(echoing))
    async with client.stream_check() as stream:
        decisions = await asyncio.gather(*(stream.check(numbered(number)) for number in range(200)))
    assert [decision.generation for decision in decisions] == list(range(200))
    assert len(fake.calls("StreamCheck")) == 1


async def test_an_error_of_one_item_does_not_end_the_stream(fake, client):
    def answer(message: pb.StreamCheckRequest) -> pb.StreamCheckResponse:
        if message.request.room_id:
            return echoing(message)
        error = pb.CheckError(code=3, reason="INVALID_FIELD", message="no room")
        return pb.StreamCheckResponse(result=pb.BatchCheckResult(error=error))

    fake.on("StreamCheck", per_request(answer))
    async with client.stream_check() as stream:
        with pytest.raises(partialstate.InvalidRequestError):
            await stream.check(CheckRequest(Endpoint.EVENT, "b.example"))
        assert (await stream.check(numbered(4))).generation == 4
    assert len(fake.calls("StreamCheck")) == 1


async def test_a_stream_that_breaks_fails_its_checks_and_the_next_begins_a_new_one(fake, client):
    fake.on("StreamCheck", failing(grpc.StatusCode.UNAVAILABLE, "STOPPING", first=1), per_request(echoing))
    async with client.stream_check() as stream:
        with pytest.raises(partialstate.UnavailableError):
            await stream.check(numbered(1))
        assert (await stream.check(numbered(2))).generation == 2


async def test_a_stream_that_ends_early_is_unavailable(fake, client):
    fake.on("StreamCheck", streaming())
    async with client.stream_check() as stream:
        with pytest.raises(partialstate.UnavailableError):
            await stream.check(numbered(1))


async def test_a_streamed_check_has_a_deadline(fake):
    fake.on("StreamCheck", streaming(then=stalling()))
    async with PartialStateClient(fake.target, deadlines=Deadlines(check_s=0.05)) as client:
        async with client.stream_check() as stream:
            with pytest.raises(DeadlineExceededError):
                await stream.check(numbered(1))
        with pytest.raises(RuntimeError, match="closed"):
            await stream.check(numbered(1))


async def test_a_late_answer_is_not_taken_for_the_next_check(fake, client):
    arrived, late = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def answer(message: pb.StreamCheckRequest) -> pb.StreamCheckResponse:
        if message.request.event_ids[0] == "$1":
            loop.call_soon_threadsafe(arrived.set)
            asyncio.run_coroutine_threadsafe(late.wait(), loop).result(20)
        return echoing(message)

    fake.on("StreamCheck", per_request(answer))
    async with client.stream_check() as stream:
        given_up = asyncio.create_task(stream.check(numbered(1)))
        await arrived.wait()
        given_up.cancel()
        following = asyncio.create_task(stream.check(numbered(2)))
        late.set()
        assert (await following).generation == 2
    with pytest.raises(asyncio.CancelledError):
        await given_up

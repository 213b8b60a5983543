"""Deadlines, repetitions, credentials and errors of calls."""

import time

import grpc
import partialstate
import pytest
import trustme
from google.protobuf.timestamp_pb2 import Timestamp
from partialstate import (
    NO_RETRIES,
    DeadlineExceededError,
    Deadlines,
    Ending,
    ErrorReason,
    PartialStateClient,
    RetryPolicy,
    RoomStatus,
    Tls,
    UnauthenticatedError,
    UnavailableError,
)
from partialstate.v1 import rooms_service_pb2 as rooms_pb
from partialstate.v1 import types_pb2
from support.fake_service import UNAVAILABLE, answering, failing, running_fake, stalling

TOKEN = types_pb2.StateToken(token="t1")
DESTINATIONS = rooms_pb.GetDestinationsResponse(servers=["a", "b"], generation=3)


async def test_a_call_is_repeated_while_the_service_is_unavailable(fake, client):
    fake.on("GetDestinations", UNAVAILABLE, UNAVAILABLE, answering(DESTINATIONS))
    assert (await client.get_destinations("!r:a")).servers == ("a", "b")
    assert len(fake.calls("GetDestinations")) == 3


async def test_a_write_whose_answer_was_lost_is_repeated_as_it_was(fake, client):
    fake.on("ConfirmJoin", UNAVAILABLE, answering(rooms_pb.ConfirmJoinResponse(state_token=TOKEN)))
    assert await client.confirm_join("!r:a", 3) == "t1"
    first, second = fake.calls("ConfirmJoin")
    assert first.request == second.request


@pytest.mark.parametrize(
    "code", [c for c in grpc.StatusCode if c.name in {"INTERNAL", "FAILED_PRECONDITION", "NOT_FOUND"}]
)
async def test_other_failures_are_not_repeated(fake, client, code):
    fake.on("GetDestinations", failing(code), answering(DESTINATIONS))
    with pytest.raises(partialstate.PartialStateError):
        await client.get_destinations("!r:a")
    assert len(fake.calls("GetDestinations")) == 1


async def test_a_service_that_waits_for_people_is_not_asked_again(fake, client):
    fake.on("GetDestinations", failing(grpc.StatusCode.UNAVAILABLE, "NOT_RECONCILED"))
    with pytest.raises(partialstate.NotReconciledError):
        await client.get_destinations("!r:a")
    assert len(fake.calls("GetDestinations")) == 1


async def test_repetitions_end_with_the_deadline(fake):
    fake.on("GetDestinations", UNAVAILABLE)
    policy = RetryPolicy(first_delay_s=0.01, max_delay_s=0.02)
    async with PartialStateClient(
        fake.target, deadlines=Deadlines(read_s=0.3), retry_policy=policy
    ) as client:
        began = time.monotonic()
        with pytest.raises(partialstate.NoAnswerError):
            await client.get_destinations("!r:a")
        assert time.monotonic() - began < 5
    assert len(fake.calls("GetDestinations")) > 1


async def test_who_calls_too_often_calls_again_when_the_service_says(fake, client):
    exceeded = failing(grpc.StatusCode.RESOURCE_EXHAUSTED, "CALL_RATE_EXCEEDED", retry_after_s=0.3)
    fake.on("GetDestinations", exceeded, answering(DESTINATIONS))
    began = time.monotonic()
    await client.get_destinations("!r:a")
    assert time.monotonic() - began >= 0.3


async def test_without_retries_a_failure_is_raised_at_once(fake):
    fake.on("GetDestinations", UNAVAILABLE)
    async with PartialStateClient(fake.target, retry_policy=NO_RETRIES) as client:
        with pytest.raises(UnavailableError):
            await client.get_destinations("!r:a")
    assert len(fake.calls("GetDestinations")) == 1


async def test_a_call_without_an_answer_ends_at_its_deadline(fake):
    fake.on("GetDestinations", stalling())
    async with PartialStateClient(fake.target, deadlines=Deadlines(read_s=0.05)) as client:
        with pytest.raises(DeadlineExceededError):
            await client.get_destinations("!r:a")


async def test_a_service_that_is_not_there_is_unavailable():
    async with PartialStateClient("127.0.0.1:1", deadlines=Deadlines(read_s=0.2)) as client:
        with pytest.raises(partialstate.NoAnswerError):
            await client.get_destinations("!r:a")


def test_delays_double_up_to_the_most_with_jitter_around_the_mean():
    least = RetryPolicy(first_delay_s=1.0, max_delay_s=5.0, random=lambda: 0.0)
    most = RetryPolicy(first_delay_s=1.0, max_delay_s=5.0, random=lambda: 1.0)
    assert [least.delay_s(failures) for failures in (1, 2, 3, 4, 10_000)] == [0.5, 1.0, 2.0, 2.5, 2.5]
    assert [most.delay_s(failures) for failures in (1, 2, 3, 4, 10_000)] == [1.5, 3.0, 6.0, 7.5, 7.5]


async def test_the_token_goes_with_every_call(fake):
    fake.on("GetDestinations", answering(DESTINATIONS))
    async with PartialStateClient(fake.target, token="secret") as client:
        await client.get_destinations("!r:a")
    assert fake.calls("GetDestinations")[0].metadata["authorization"] == "Bearer secret"


async def test_mutual_tls():
    authority = trustme.CA()
    ca = authority.cert_pem.bytes()
    server, user = authority.issue_cert("service.test"), authority.issue_cert("frontend.test")
    credentials = grpc.ssl_server_credentials(
        [(server.private_key_pem.bytes(), b"".join(pem.bytes() for pem in server.cert_chain_pems))],
        root_certificates=ca,
        require_client_auth=True,
    )
    with running_fake(credentials) as fake:
        fake.on("GetDestinations", answering(DESTINATIONS))
        chain = b"".join(pem.bytes() for pem in user.cert_chain_pems)
        tls = Tls(ca, chain, user.private_key_pem.bytes(), server_name="service.test")
        async with PartialStateClient(fake.target, tls=tls) as client:
            assert (await client.get_destinations("!r:a")).generation == 3
        deadlines = Deadlines(read_s=0.3)
        async with PartialStateClient(
            fake.target, tls=Tls(ca, server_name="service.test"), deadlines=deadlines
        ) as stranger:
            with pytest.raises(partialstate.NoAnswerError):
                await stranger.get_destinations("!r:a")


def test_half_a_client_certificate_is_refused():
    with pytest.raises(ValueError, match="both"):
        Tls(certificate_chain=b"pem")


async def test_a_client_that_is_not_open_says_so():
    client = PartialStateClient("127.0.0.1:1")
    with pytest.raises(RuntimeError, match="async with"):
        await client.get_destinations("!r:a")
    async with client:
        with pytest.raises(RuntimeError, match="open already"):
            await client.__aenter__()


REASONS = {
    "INVALID_FIELD": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "INVALID_STREAM": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "TRUNCATED_RESPONSE": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "RESPONSE_NOT_PARTIAL": ("FAILED_PRECONDITION", partialstate.ResponseNotPartialError),
    "MEMBERS_OMITTED_UNASKED": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "NO_SERVERS_IN_ROOM": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "ONLY_OURSELVES_IN_ROOM": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "MISSING_CREATE_EVENT": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "WRONG_ROOM_VERSION": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "UNSUPPORTED_ROOM_VERSION": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "EVENT_ID_MISMATCH": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "INVALID_EVENT": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "WRONG_ROOM": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "NOT_OUR_JOIN": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "TOO_LARGE": ("RESOURCE_EXHAUSTED", partialstate.TooLargeError),
    "ROOM_NOT_PARTIAL": ("NOT_FOUND", partialstate.RoomNotPartialError),
    "STALE_GENERATION": ("FAILED_PRECONDITION", partialstate.StaleGenerationError),
    "JOIN_CONFIRMED": ("FAILED_PRECONDITION", partialstate.JoinConfirmedError),
    "IMPORT_INCOMPLETE": ("FAILED_PRECONDITION", partialstate.ImportIncompleteError),
    "POSITION_OUT_OF_RANGE": ("OUT_OF_RANGE", partialstate.PositionOutOfRangeError),
    "TOKEN_TOO_OLD": ("OUT_OF_RANGE", partialstate.ListAgainError),
    "FOREIGN_TOKEN": ("FAILED_PRECONDITION", partialstate.ListAgainError),
    "INVALID_TOKEN": ("INVALID_ARGUMENT", partialstate.InvalidRequestError),
    "NOT_RECONCILED": ("UNAVAILABLE", partialstate.NotReconciledError),
    "STORE_UNAVAILABLE": ("UNAVAILABLE", UnavailableError),
    "READER_TOO_SLOW": ("RESOURCE_EXHAUSTED", partialstate.ReaderTooSlowError),
    "UNAUTHENTICATED": ("UNAUTHENTICATED", UnauthenticatedError),
    "STOPPING": ("UNAVAILABLE", UnavailableError),
    "ROOM_ABANDONED": ("FAILED_PRECONDITION", partialstate.RoomAbandonedError),
    "MISSING_EVENTS": ("FAILED_PRECONDITION", partialstate.MissingEventsError),
    "PERMISSION_DENIED": ("PERMISSION_DENIED", UnauthenticatedError),
    "TOO_MANY_CALLS": ("RESOURCE_EXHAUSTED", UnavailableError),
    "CALL_RATE_EXCEEDED": ("RESOURCE_EXHAUSTED", UnavailableError),
    "STORE_NOT_UNDERSTOOD": ("UNAVAILABLE", UnavailableError),
    "INTERNAL": ("INTERNAL", partialstate.ServiceDefectError),
}


@pytest.mark.parametrize("reason", sorted(set(ErrorReason.__members__) - {"UNKNOWN"}))
async def test_every_reason_has_its_exception(fake, reason):
    status, kind = REASONS[reason]
    fake.on("GetDestinations", failing(grpc.StatusCode[status], reason, "why", room_id="!r:a"))
    async with PartialStateClient(fake.target, retry_policy=NO_RETRIES) as client:
        with pytest.raises(kind) as caught:
            await client.get_destinations("!r:a")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.reason) == (status, ErrorReason[reason])
    assert (str(caught.value), caught.value.facts) == ("why", {"room_id": "!r:a"})


async def test_a_status_without_a_reason_is_told_by_its_code(fake):
    fake.on("GetDestinations", failing(grpc.StatusCode.FAILED_PRECONDITION, "A_NEW_REASON", "why"))
    async with PartialStateClient(fake.target) as client:
        with pytest.raises(partialstate.RefusedError) as caught:
            await client.get_destinations("!r:a")
        assert caught.value.reason is ErrorReason.UNKNOWN
        fake.on("GetDestinations", failing(grpc.StatusCode.DATA_LOSS))
        with pytest.raises(partialstate.ServiceDefectError):
            await client.get_destinations("!r:a")


async def test_errors_tell_their_facts(fake, client):
    fake.on(
        "ConfirmImport",
        failing(
            grpc.StatusCode.FAILED_PRECONDITION,
            "IMPORT_INCOMPLETE",
            position="10",
            log_position="12",
            pending_events="1",
        ),
    )
    with pytest.raises(partialstate.ImportIncompleteError) as incomplete:
        await client.confirm_import("!r:a", 3, 10)
    assert (incomplete.value.log_position, incomplete.value.pending_events) == (12, 1)
    fake.on(
        "ConfirmJoin",
        failing(grpc.StatusCode.FAILED_PRECONDITION, "STALE_GENERATION", given="3", current="9"),
    )
    with pytest.raises(partialstate.StaleGenerationError) as stale:
        await client.confirm_join("!r:a", 3)
    assert stale.value.current == 9
    fake.on(
        "GetPartialRoom",
        failing(grpc.StatusCode.NOT_FOUND, "ROOM_NOT_PARTIAL", last_generation="3", ending="IMPORTED"),
    )
    with pytest.raises(partialstate.RoomNotPartialError) as gone:
        await client.get_partial_room("!r:a")
    assert (gone.value.last_generation, gone.value.ending) == (3, Ending.IMPORTED)


async def test_a_list_is_read_page_by_page(fake, client):
    def page(room_id: str, next_page: str) -> rooms_pb.ListPartialRoomsResponse:
        room = rooms_pb.PartialRoom(
            room_id=room_id,
            status=types_pb2.ROOM_STATUS_STALLED,
            registered_at=Timestamp(seconds=60),
            resync=rooms_pb.ResyncProgress(stage=rooms_pb.RESYNC_STAGE_WAITING),
        )
        return rooms_pb.ListPartialRoomsResponse(rooms=[room], next_page_token=next_page, state_token=TOKEN)

    fake.on("ListPartialRooms", answering(page("!a:a", "p2")), UNAVAILABLE, answering(page("!b:a", "")))
    pages = [page async for page in client.list_partial_rooms(statuses=[RoomStatus.STALLED], page_size=1)]
    assert [page.rooms[0].room_id for page in pages] == ["!a:a", "!b:a"]
    assert pages[0].rooms[0].registered_at.isoformat() == "1970-01-01T00:01:00+00:00"
    assert pages[0].rooms[0].resync.next_attempt is None
    assert pages[0].rooms[0].device_list_position is None
    requests = [call.request for call in fake.calls("ListPartialRooms")]
    assert [request.page_token for request in requests] == ["", "p2", "p2"]
    assert all(request.statuses == [types_pb2.ROOM_STATUS_STALLED] for request in requests)

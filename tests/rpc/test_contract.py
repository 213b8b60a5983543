"""The API's words are the service's words: enums, errors and RPCs agree with what is behind them."""

import re
from pathlib import Path

import grpc
import pytest
from partialstate.v1 import check_service_pb2, errors_pb2, rooms_service_pb2, types_pb2
from partialstate_service.domain import checks, endpoints, errors
from partialstate_service.domain import rooms as domain_rooms
from partialstate_service.domain.ids import EventId, Generation, Position, RoomId
from partialstate_service.ownership.refusals import InputFlaw, RefusedInputError
from partialstate_service.rpc import status
from partialstate_service.rpc.check import CheckServicer
from partialstate_service.rpc.recovered_state import RecoveredStateServicer
from partialstate_service.rpc.rooms import RoomsServicer
from partialstate_service.rpc.watch import WatchServicer
from partialstate_service.store import protocol

PROTOS = Path(__file__).parents[2] / "protos" / "partialstate" / "v1"
ROOM = RoomId("!a:b.example")


@pytest.mark.parametrize(
    ("enum", "prefix", "words"),
    [
        (check_service_pb2.Endpoint, "ENDPOINT_", endpoints.Endpoint),
        (check_service_pb2.Verdict, "VERDICT_", checks.Verdict),
        (check_service_pb2.Reason, "REASON_", checks.Reason),
        (types_pb2.RoomStatus, "ROOM_STATUS_", domain_rooms.RoomStatus),
        (types_pb2.Ending, "ENDING_", domain_rooms.Ending),
        (rooms_service_pb2.ReleaseReason, "RELEASE_REASON_", domain_rooms.ReleaseReason),
        (rooms_service_pb2.ResyncPriority, "RESYNC_PRIORITY_", domain_rooms.Priority),
        (rooms_service_pb2.ResyncStage, "RESYNC_STAGE_", domain_rooms.ResyncStage),
        (rooms_service_pb2.RecordOutcome, "RECORD_OUTCOME_", protocol.RecordOutcome),
        (rooms_service_pb2.RegistrationOutcome, "REGISTRATION_OUTCOME_", protocol.RegistrationOutcome),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_enums_have_the_same_members(enum, prefix, words):
    names = {name.removeprefix(prefix) for name in enum.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - no mapping
    assert names == {word.name for word in words}


def test_every_endpoint_is_commented_with_its_method_and_path():
    text = (PROTOS / "check_service.proto").read_text()
    for endpoint in endpoints.Endpoint:
        assert re.search(
            rf"// ENDPOINT_{endpoint.name} is {endpoint.method} {re.escape(endpoint.path)}\.", text
        ), endpoint.name


def test_every_rpc_is_implemented():
    for servicer in (RoomsServicer, CheckServicer, RecoveredStateServicer, WatchServicer):
        [base] = [each for each in servicer.__bases__ if each.__name__.endswith("Servicer")]
        for name in vars(base):
            if not name.startswith("_"):
                assert name in vars(servicer), f"{servicer.__name__}.{name}"


EXAMPLES: list[Exception] = [
    *(RefusedInputError(flaw, "text") for flaw in InputFlaw),
    *(checks.InvalidCheckError(flaw, "text") for flaw in checks.InvalidCheck),
    errors.RoomNotPartialError(ROOM),
    errors.StaleGenerationError(ROOM, Generation(1), Generation(2)),
    errors.OtherRoomVersionError(ROOM, "10", "11"),
    errors.JoinConfirmedError(ROOM, Generation(1)),
    errors.RoomAbandonedError(ROOM),
    errors.MissingEventsError(ROOM, frozenset({EventId("$a")})),
    errors.ImportIncompleteError(ROOM, Position(1), Position(2), 0),
    errors.PositionOutOfRangeError(ROOM, Position(2), Position(1)),
    errors.TokenTooOldError("secret"),
    errors.ForeignTokenError("secret"),
    errors.ReaderTooSlowError("secret"),
    errors.NotReconciledError("secret"),
    errors.StoreUnavailableError("secret"),
    errors.StoreNotUnderstoodError("secret"),
    status.UnauthenticatedError("secret"),
    status.PermissionDeniedError("frontend-1", ["joiner"]),
    status.TooManyCallsError(2, "client"),
    status.CallRateExceededError(2, 4, 0.5),
    status.StoppingError("secret"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: f"{type(error).__name__}-{error}")
def test_the_status_of_an_error_is_the_documented_one(error):
    failure = status.failure_of(error)
    assert failure is not None
    assert documented()[failure.reason_name] == failure.code.name
    assert failure.message
    assert "secret" not in failure.message


def test_every_reason_has_an_error():
    reached = {failure.reason_name for error in EXAMPLES if (failure := status.failure_of(error)) is not None}
    assert reached | {status.INTERNAL_ERROR.reason_name} == documented().keys()


def test_what_was_not_raised_on_purpose_is_not_described():
    assert status.failure_of(ValueError("secret")) is None
    assert status.INTERNAL_ERROR.code is grpc.StatusCode.INTERNAL


def documented() -> dict[str, str]:
    """Return the status code that errors.proto says for each reason."""
    text = (PROTOS / "errors.proto").read_text()
    found = re.findall(r"// ([A-Z_]+): [^=]*?\n  ERROR_REASON_([A-Z_]+) = ", text)
    codes = {reason: code for code, reason in found}
    assert len(codes) == len(errors_pb2.ErrorReason.keys()) - 1
    return codes

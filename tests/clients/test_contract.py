"""The client mirrors the API: every RPC, every name, every field; and what it exports is pinned."""

import dataclasses
import re
from pathlib import Path

import partialstate
import pytest
from partialstate import errors
from partialstate._wire import names
from partialstate._wire.names import Names
from partialstate.errors import ErrorReason, PartialStateError
from partialstate.v1 import (
    check_service_pb2,
    errors_pb2,
    recovered_state_service_pb2,
    rooms_service_pb2,
    types_pb2,
    watch_service_pb2,
)
from support.fake_service import SERVICES

# The one RPC whose method is not called as it is.
RENAMED = {"StreamRecoveredState": "recovered_state"}
# What the client knows beyond the API.
CLIENT_ONLY = {"UNKNOWN", "NO_CHECK_NEEDED", "NO_DECISION"}


def snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_the_exported_names_are_pinned():
    pinned = Path(__file__).with_name("exported_names.txt").read_text().split()
    assert sorted(partialstate.__all__) == pinned
    assert not [name for name in pinned if not hasattr(partialstate, name)]


def test_every_rpc_has_a_method():
    rpcs = [method.name for service in SERVICES.values() for method in service.methods]
    assert len(rpcs) == 18
    missing = [
        rpc for rpc in rpcs if not hasattr(partialstate.PartialStateClient, RENAMED.get(rpc, snake_case(rpc)))
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("enum", "api", "prefix"),
    [
        (partialstate.Endpoint, check_service_pb2.Endpoint, "ENDPOINT_"),
        (partialstate.Verdict, check_service_pb2.Verdict, "VERDICT_"),
        (partialstate.Reason, check_service_pb2.Reason, "REASON_"),
        (partialstate.RoomStatus, types_pb2.RoomStatus, "ROOM_STATUS_"),
        (partialstate.Ending, types_pb2.Ending, "ENDING_"),
        (partialstate.ResyncStage, rooms_service_pb2.ResyncStage, "RESYNC_STAGE_"),
        (partialstate.ResyncPriority, rooms_service_pb2.ResyncPriority, "RESYNC_PRIORITY_"),
        (partialstate.RegistrationOutcome, rooms_service_pb2.RegistrationOutcome, "REGISTRATION_OUTCOME_"),
        (partialstate.ProvisionalVerdict, rooms_service_pb2.ProvisionalVerdict, "PROVISIONAL_VERDICT_"),
        (partialstate.RecordOutcome, rooms_service_pb2.RecordOutcome, "RECORD_OUTCOME_"),
        (partialstate.ReleaseReason, rooms_service_pb2.ReleaseReason, "RELEASE_REASON_"),
        (ErrorReason, errors_pb2.ErrorReason, "ERROR_REASON_"),
    ],
)
def test_every_name_of_the_api_is_known(enum, api, prefix):
    wire = {name.removeprefix(prefix) for name, number in api.items() if number}
    assert {member.name for member in enum} - CLIENT_ONLY == wire
    assert all(member.value == member.name for member in enum)


@pytest.mark.parametrize(
    ("type_", "message"),
    [
        (partialstate.PartialRoom, rooms_service_pb2.PartialRoom),
        (partialstate.ResyncProgress, rooms_service_pb2.ResyncProgress),
        (partialstate.ServerOutcome, rooms_service_pb2.ServerOutcome),
        (partialstate.PartialJoin, rooms_service_pb2.RegisterPartialJoinHeader),
        (partialstate.Registration, rooms_service_pb2.RegisterPartialJoinResponse),
        (partialstate.PartialEvent, rooms_service_pb2.PartialEvent),
        (partialstate.RecordedEvents, rooms_service_pb2.RecordPartialEventsResponse),
        (partialstate.IncomingEvent, rooms_service_pb2.AuthoriseIncomingEventRequest),
        (partialstate.IncomingVerdict, rooms_service_pb2.AuthoriseIncomingEventResponse),
        (partialstate.SentEvent, rooms_service_pb2.SentEvent),
        (partialstate.HeldRoom, rooms_service_pb2.HeldRoom),
        (partialstate.Reconciliation, rooms_service_pb2.ReconcileRoomsResponse),
        (partialstate.ReconciledRoom, rooms_service_pb2.ReconciledRoom),
        (partialstate.UnregistrableRoom, rooms_service_pb2.UnregistrableRoom),
        (partialstate.Destinations, rooms_service_pb2.GetDestinationsResponse),
        (partialstate.RoomSnapshot, rooms_service_pb2.GetPartialRoomResponse),
        (partialstate.CheckRequest, check_service_pb2.CheckRequest),
        (partialstate.Candidate, check_service_pb2.Candidate),
        (partialstate.Decision, check_service_pb2.CheckResponse),
        (partialstate.ErrorResponse, types_pb2.MatrixError),
        (partialstate.Pdu, types_pb2.Pdu),
        (partialstate.StateEntry, types_pb2.StateEntry),
        (partialstate.StateBefore, recovered_state_service_pb2.StateBefore),
        (partialstate.RecoveredEvent, recovered_state_service_pb2.RecoveredEvent),
        (partialstate.EventVerdict, recovered_state_service_pb2.EventVerdict),
        (partialstate.CurrentState, recovered_state_service_pb2.CurrentState),
        (partialstate.RoomServers, recovered_state_service_pb2.RoomServers),
        (partialstate.LogEnd, recovered_state_service_pb2.LogEnd),
        (partialstate.Acknowledgement, recovered_state_service_pb2.AckImportResponse),
        (partialstate.RoomEnded, watch_service_pb2.RoomEnded),
    ],
)
def test_every_field_of_a_message_is_carried(type_, message):
    ours = {field.name for field in dataclasses.fields(type_)}
    # A record's position and a change's token stand beside it in its response; a failure is the client's own.
    ours -= {"position", "state_token", "failure"}
    wire = {field.name.removeprefix("optional_") for field in message.DESCRIPTOR.fields}
    assert ours == wire - {"position", "state_token"}


def test_a_name_that_the_client_does_not_know_is_unknown_or_a_defect():
    assert names.REASONS.name(999) is partialstate.Reason.UNKNOWN
    assert names.STATUSES.name(999) is partialstate.RoomStatus.UNKNOWN
    with pytest.raises(partialstate.ServiceDefectError, match="Verdict 999"):
        names.VERDICTS.name(999)
    with pytest.raises(partialstate.ServiceDefectError):
        names.VERDICTS.name(0)


def test_names_of_the_client_alone_cannot_be_sent():
    codec: Names[partialstate.RoomStatus] = names.STATUSES
    with pytest.raises(ValueError, match="UNKNOWN"):
        codec.number(partialstate.RoomStatus.UNKNOWN)


def test_the_tree_of_errors_in_the_docstring_is_the_tree_of_classes():
    drawn = re.findall(r"^[ │]*[├└]── (\w+)", PartialStateError.__doc__ or "", re.MULTILINE)
    classes = [value.__name__ for value in vars(errors).values() if _is_proper_error(value)]
    assert sorted(drawn) == sorted(classes)
    assert set(classes) <= set(partialstate.__all__)


def _is_proper_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, PartialStateError) and value is not PartialStateError

"""The one table from exception to gRPC status, with the `ErrorInfo` of `errors.proto`.

A text goes to the caller only from exceptions that are raised on purpose; those of drivers stay in the log.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # googleapis-common-protos has none
from grpc_status import rpc_status
from partialstate.v1.errors_pb2 import ErrorReason

from partialstate_service.domain import errors
from partialstate_service.domain.checks import InvalidCheck, InvalidCheckError
from partialstate_service.ownership.refusals import InputFlaw, RefusedInputError

DOMAIN = "partialstate.v1"
_PREFIX = "ERROR_REASON_"
# gRPC refuses trailing metadata of more than 8 KiB, and carries the details in base64.
_MAX_IDS_CHARACTERS = 4000


class UnauthenticatedError(Exception):
    """A call carries no token, or a wrong one."""


class PermissionDeniedError(Exception):
    """A client may not call this."""

    def __init__(self, client: str, roles: Iterable[str]) -> None:
        """*client* lacks all of *roles*, each of which would do."""
        self.client = client
        self.roles = sorted(roles)
        super().__init__(f"{client} may not call this: that takes the role {' or '.join(self.roles)}")


class TooManyCallsError(Exception):
    """There are too many calls at the same time."""

    def __init__(self, limit: int, scope: Literal["client", "service"]) -> None:
        """*scope* has as many calls as it may have, which is *limit*."""
        self.limit = limit
        self.scope = scope
        super().__init__(
            f"the {scope} has {limit} calls at the same time, which is the limit: call again when some have ended"
        )


class CallRateExceededError(Exception):
    """A client makes more calls than it may."""

    def __init__(self, per_second: float, burst: int, retry_after_s: float) -> None:
        """The client may make *per_second*, and *burst* at once; *retry_after_s* from now it may make the next."""
        self.per_second = per_second
        self.burst = burst
        self.retry_after_s = retry_after_s
        super().__init__(
            f"the client makes more than {per_second:g} calls per second and {burst} at once, items of batches "
            f"included: call again in {retry_after_s:.3f} s"
        )


class StoppingError(Exception):
    """The service is stopping."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no result, as a caller is told."""

    code: grpc.StatusCode
    reason: ErrorReason.ValueType
    message: str
    facts: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    """When the call may succeed, where that is known."""

    @property
    def reason_name(self) -> str:
        """The reason as `ErrorInfo.reason` has it."""
        return ErrorReason.Name(self.reason).removeprefix(_PREFIX)

    @property
    def code_number(self) -> int:
        """The status code on the wire."""
        number: int = self.code.value[0]
        return number

    def with_facts(self, **facts: str) -> "Failure":
        """Return the same failure with further facts."""
        return replace(self, facts={**self.facts, **facts})

    def rich_status(self) -> Any:
        """Return code, message and trailing metadata with the details, as `grpc_status` builds them."""
        status = status_pb2.Status(code=self.code_number, message=self.message)
        status.details.add().Pack(
            error_details_pb2.ErrorInfo(reason=self.reason_name, domain=DOMAIN, metadata=dict(self.facts))
        )
        if self.retry_after_s is not None:
            again = error_details_pb2.RetryInfo()
            again.retry_delay.FromNanoseconds(int(1e9 * self.retry_after_s))
            status.details.add().Pack(again)
        return rpc_status.to_status(status)


INTERNAL_ERROR = Failure(
    grpc.StatusCode.INTERNAL,
    ErrorReason.ERROR_REASON_INTERNAL,
    "a defect of the service: its log has more",
)


def failure_of(error: BaseException) -> Failure | None:
    """Return what a caller is told of *error*, or None if it was not raised on purpose."""
    describe = _TABLE.get(type(error))
    return None if describe is None else describe(error)


def _always(
    code: grpc.StatusCode, reason: ErrorReason.ValueType, message: str = ""
) -> Callable[[Any], Failure]:
    return lambda error: Failure(code, reason, message or str(error))


def _refused_input(error: RefusedInputError) -> Failure:
    match error.flaw:
        case InputFlaw.RESPONSE_NOT_PARTIAL:
            code = grpc.StatusCode.FAILED_PRECONDITION
        case InputFlaw.TOO_LARGE:
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
        case _:
            code = grpc.StatusCode.INVALID_ARGUMENT
    return Failure(code, ErrorReason.Value(_PREFIX + error.flaw.name), str(error), error.facts)


def _invalid_check(error: InvalidCheckError) -> Failure:
    match error.reason:
        case InvalidCheck.ROOM_ID_MISSING:
            facts = {"field": "room_id"}
        case InvalidCheck.EVENT_IDS_MISSING:
            facts = {"field": "event_ids"}
        case _:
            return Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_TOO_LARGE, str(error))
    return Failure(
        grpc.StatusCode.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_INVALID_FIELD, str(error), facts
    )


def _room_not_partial(error: errors.RoomNotPartialError) -> Failure:
    facts: dict[str, str] = {"room_id": error.room_id}
    if (tombstone := error.tombstone) is not None:
        facts |= {"last_generation": str(tombstone.generation), "ending": tombstone.ending.name}
    return Failure(grpc.StatusCode.NOT_FOUND, ErrorReason.ERROR_REASON_ROOM_NOT_PARTIAL, str(error), facts)


def _stale_generation(error: errors.StaleGenerationError) -> Failure:
    facts = {"given": str(error.given), "current": str(error.current)}
    return Failure(
        grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.ERROR_REASON_STALE_GENERATION,
        str(error),
        facts,
    )


def _other_room_version(error: errors.OtherRoomVersionError) -> Failure:
    return Failure(
        grpc.StatusCode.INVALID_ARGUMENT,
        ErrorReason.ERROR_REASON_WRONG_ROOM_VERSION,
        str(error),
        {"given": error.given, "found": error.current},
    )


def _missing_events(error: errors.MissingEventsError) -> Failure:
    ids = ""
    for event_id in sorted(error.event_ids):
        if len(ids) + len(event_id) >= _MAX_IDS_CHARACTERS:
            break
        ids += f" {event_id}"
    return Failure(
        grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.ERROR_REASON_MISSING_EVENTS,
        str(error),
        {"event_ids": ids.strip(), "count": str(len(error.event_ids))},
    )


def _import_incomplete(error: errors.ImportIncompleteError) -> Failure:
    facts = {
        "position": str(error.given),
        "log_position": str(error.log_position),
        "pending_events": str(error.pending_events),
    }
    return Failure(
        grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.ERROR_REASON_IMPORT_INCOMPLETE,
        str(error),
        facts,
    )


def _position_out_of_range(error: errors.PositionOutOfRangeError) -> Failure:
    facts = {"position": str(error.given), "log_position": str(error.log_position)}
    return Failure(
        grpc.StatusCode.OUT_OF_RANGE,
        ErrorReason.ERROR_REASON_POSITION_OUT_OF_RANGE,
        str(error),
        facts,
    )


def _permission_denied(error: PermissionDeniedError) -> Failure:
    return Failure(
        grpc.StatusCode.PERMISSION_DENIED,
        ErrorReason.ERROR_REASON_PERMISSION_DENIED,
        str(error),
        {"client": error.client, "roles": ",".join(error.roles)},
    )


def _too_many_calls(error: TooManyCallsError) -> Failure:
    return Failure(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        ErrorReason.ERROR_REASON_TOO_MANY_CALLS,
        str(error),
        {"limit": str(error.limit), "scope": error.scope},
    )


def _call_rate_exceeded(error: CallRateExceededError) -> Failure:
    return Failure(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        ErrorReason.ERROR_REASON_CALL_RATE_EXCEEDED,
        str(error),
        {"calls_per_second": f"{error.per_second:g}", "burst": str(error.burst)},
        error.retry_after_s,
    )


_TABLE: Mapping[type[BaseException], Callable[[Any], Failure]] = {
    RefusedInputError: _refused_input,
    InvalidCheckError: _invalid_check,
    errors.RoomNotPartialError: _room_not_partial,
    errors.StaleGenerationError: _stale_generation,
    errors.OtherRoomVersionError: _other_room_version,
    errors.MissingEventsError: _missing_events,
    errors.ImportIncompleteError: _import_incomplete,
    errors.PositionOutOfRangeError: _position_out_of_range,
    errors.JoinConfirmedError: _always(
        grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_JOIN_CONFIRMED
    ),
    errors.RoomAbandonedError: _always(
        grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_ROOM_ABANDONED
    ),
    errors.TokenTooOldError: _always(
        grpc.StatusCode.OUT_OF_RANGE,
        ErrorReason.ERROR_REASON_TOKEN_TOO_OLD,
        "the change log no longer reaches back to the token: list again",
    ),
    errors.ForeignTokenError: _always(
        grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.ERROR_REASON_FOREIGN_TOKEN,
        "the token is of another store, or of a history that this store has lost: list again",
    ),
    errors.ReaderTooSlowError: _always(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        ErrorReason.ERROR_REASON_READER_TOO_SLOW,
        "the reader of the stream is too slow: resume with the last token",
    ),
    errors.NotReconciledError: _always(
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.ERROR_REASON_NOT_RECONCILED,
        "the store is fresh or has lost writes: call ReconcileRooms",
    ),
    errors.StoreUnavailableError: _always(
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.ERROR_REASON_STORE_UNAVAILABLE,
        "the store did not answer in time, or refused",
    ),
    errors.StoreNotUnderstoodError: _always(
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.ERROR_REASON_STORE_NOT_UNDERSTOOD,
        "a newer release has written what this replica cannot read: call another one, and update this one",
    ),
    DecodeError: _always(
        grpc.StatusCode.INVALID_ARGUMENT,
        ErrorReason.ERROR_REASON_INVALID_STREAM,
        "a message of the call cannot be read: it is none of this method's",
    ),
    UnauthenticatedError: _always(
        grpc.StatusCode.UNAUTHENTICATED,
        ErrorReason.ERROR_REASON_UNAUTHENTICATED,
        "the call carries no valid token",
    ),
    PermissionDeniedError: _permission_denied,
    TooManyCallsError: _too_many_calls,
    CallRateExceededError: _call_rate_exceeded,
    StoppingError: _always(
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.ERROR_REASON_STOPPING,
        "the service is stopping: call again",
    ),
}

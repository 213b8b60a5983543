"""From a gRPC status to the client's exception: one table, by reason, else by status code."""

from collections.abc import Iterable, Mapping

import grpc
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # googleapis-common-protos has none

from partialstate import errors
from partialstate.errors import ErrorReason, PartialStateError

_DOMAIN = "partialstate.v1"
_DETAILS = "grpc-status-details-bin"

_BY_REASON: Mapping[ErrorReason, type[PartialStateError]] = {
    ErrorReason.RESPONSE_NOT_PARTIAL: errors.ResponseNotPartialError,
    ErrorReason.TOO_LARGE: errors.TooLargeError,
    ErrorReason.ROOM_NOT_PARTIAL: errors.RoomNotPartialError,
    ErrorReason.STALE_GENERATION: errors.StaleGenerationError,
    ErrorReason.JOIN_CONFIRMED: errors.JoinConfirmedError,
    ErrorReason.IMPORT_INCOMPLETE: errors.ImportIncompleteError,
    ErrorReason.POSITION_OUT_OF_RANGE: errors.PositionOutOfRangeError,
    ErrorReason.TOKEN_TOO_OLD: errors.ListAgainError,
    ErrorReason.FOREIGN_TOKEN: errors.ListAgainError,
    ErrorReason.NOT_RECONCILED: errors.NotReconciledError,
    ErrorReason.READER_TOO_SLOW: errors.ReaderTooSlowError,
    ErrorReason.ROOM_ABANDONED: errors.RoomAbandonedError,
    ErrorReason.TOO_MANY_CALLS: errors.UnavailableError,
    ErrorReason.CALL_RATE_EXCEEDED: errors.UnavailableError,
    ErrorReason.MISSING_EVENTS: errors.MissingEventsError,
}

_BY_STATUS: Mapping[grpc.StatusCode, type[PartialStateError]] = {
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    # What a server that stops makes of the calls that it still had.
    grpc.StatusCode.CANCELLED: errors.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.TooLargeError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.UnauthenticatedError,
    grpc.StatusCode.NOT_FOUND: errors.RefusedError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.RefusedError,
    grpc.StatusCode.OUT_OF_RANGE: errors.RefusedError,
}

_STATUS_BY_NUMBER: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def error_of(failure: grpc.aio.AioRpcError) -> PartialStateError:
    """Return the exception for a call that ended with a status other than OK."""
    reason, facts, retry_after_s = _details(failure)
    error = _error(failure.code(), reason, failure.details() or failure.code().name, facts)
    error.retry_after_s = retry_after_s
    return error


def error_of_item(code: int, reason: str, message: str) -> PartialStateError:
    """Return the exception for one item of a batch or a stream."""
    status = _STATUS_BY_NUMBER.get(code, grpc.StatusCode.UNKNOWN)
    return _error(status, _reason(reason), message, {})


def _error(
    status: grpc.StatusCode, reason: ErrorReason, message: str, facts: Mapping[str, str]
) -> PartialStateError:
    kind = _BY_REASON.get(reason) or _BY_STATUS.get(status, errors.ServiceDefectError)
    return kind(message, status=status.name, reason=reason, facts=facts)


def _details(failure: grpc.aio.AioRpcError) -> tuple[ErrorReason, Mapping[str, str], float]:
    """Return reason and facts (ErrorInfo), and after how many seconds to call again (RetryInfo)."""
    trailing: Iterable[tuple[str, str | bytes]] = failure.trailing_metadata() or ()  # type: ignore[assignment]  # the stubs have an opaque type
    reason, facts, retry_after_s = ErrorReason.UNKNOWN, {}, 0.0
    for key, value in trailing:
        if key != _DETAILS or not isinstance(value, bytes):
            continue
        info, again = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        for detail in status_pb2.Status.FromString(value).details:
            if detail.Unpack(info) and info.domain == _DOMAIN:
                reason, facts = _reason(info.reason), dict(info.metadata)
            elif detail.Unpack(again):
                retry_after_s = again.retry_delay.ToNanoseconds() / 1e9
    return reason, facts, retry_after_s


def _reason(name: str) -> ErrorReason:
    return ErrorReason.__members__.get(name, ErrorReason.UNKNOWN)

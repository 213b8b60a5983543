"""Between the messages of CheckService and the domain's words."""

from partialstate.v1 import check_service_pb2 as pb
from partialstate.v1 import types_pb2 as types_pb

from partialstate_service.domain.checks import (
    Candidate,
    CheckRequest,
    Decision,
    MatrixError,
    Reason,
    Verdict,
)
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import UserId
from partialstate_service.domain.rooms import StateToken
from partialstate_service.ownership.checking import (
    AtLeastAsFresh,
    BoundedStaleness,
    Freshness,
    FullyConsistent,
)
from partialstate_service.rpc import convert
from partialstate_service.rpc.status import Failure

MAX_STALENESS_S = 60

_ENDPOINTS = {pb.Endpoint.Value(f"ENDPOINT_{endpoint.name}"): endpoint for endpoint in Endpoint}
_VERDICTS = {verdict: pb.Verdict.Value(f"VERDICT_{verdict.name}") for verdict in Verdict}
_REASONS = {reason: pb.Reason.Value(f"REASON_{reason.name}") for reason in Reason}


def request_of(message: pb.CheckRequest) -> CheckRequest:
    """Return the request, its ids parsed; raises `RefusedInputError`."""
    endpoint = _ENDPOINTS.get(message.endpoint)
    if endpoint is None:
        raise convert.invalid_field("endpoint", "endpoint must be one that this service knows")
    return CheckRequest(
        endpoint=endpoint,
        origin=convert.server_name(message.origin, "origin"),
        room_id=convert.room_id(message.room_id) if message.room_id else None,
        event_ids=tuple(convert.event_id(text, "event_ids") for text in message.event_ids),
        user_id=convert.user_id(message.user_id, "user_id") if message.user_id else None,
        candidates=tuple(map(_candidate, message.candidates)),
        allow_room_ids=tuple(convert.room_id(text, "allow_room_ids") for text in message.allow_room_ids),
        user_in_a_full_allow_room=_optional(message, "optional_user_in_a_full_allow_room"),
        user_invited_or_joined=_optional(message, "optional_user_invited_or_joined"),
        can_issue_invite=_optional(message, "optional_can_issue_invite"),
    )


def freshness_of(message: pb.CheckRequest | pb.BatchCheckRequest) -> Freshness:
    """Return how fresh the registry must be."""
    consistency = message.optional_consistency
    match consistency.WhichOneof("requirement"):
        case "at_least_as_fresh":
            return AtLeastAsFresh(convert.state_token(consistency.at_least_as_fresh))
        case "bounded_staleness":
            seconds = consistency.bounded_staleness.ToNanoseconds() / 1e9
            if not 0 <= seconds <= MAX_STALENESS_S:
                field = "optional_consistency.bounded_staleness"
                raise convert.invalid_field(field, f"{field} is from 0 to {MAX_STALENESS_S} seconds")
            return BoundedStaleness(seconds)
        case _:
            return FullyConsistent()


def response_of(decision: Decision, token: StateToken) -> pb.CheckResponse:
    """Return the message of a decision."""
    return pb.CheckResponse(
        verdict=_VERDICTS[decision.verdict],
        reason=_REASONS[decision.reason],
        generation=decision.generation or 0,
        optional_error=_error(decision.error),
        optional_error_instead_of_forbidden=_error(decision.optional_error_instead_of_forbidden),
        visible_event_ids=decision.visible_event_ids,
        walk_from_event_ids=decision.walk_from,
        state_token=convert.token_message(token),
    )


def error_of(failure: Failure) -> pb.CheckError:
    """Return the message of an item that has no decision."""
    return pb.CheckError(code=failure.code_number, reason=failure.reason_name, message=failure.message)


def _candidate(message: pb.Candidate) -> Candidate:
    return Candidate(
        event_id=convert.event_id(message.event_id, "candidates.event_id"),
        # Old rooms have senders that are no user ids; no decision hangs on them.
        sender=UserId(message.sender),
        history_visibility=message.history_visibility or None,
    )


def _optional(message: pb.CheckRequest, field: str) -> bool | None:
    value: bool = getattr(message, field)
    return value if message.HasField(field) else None  # type: ignore[arg-type]  # one of three names


def _error(error: MatrixError | None) -> types_pb.MatrixError | None:
    if error is None:
        return None
    return types_pb.MatrixError(http_status=error.http_status, errcode=error.errcode, error=error.error)

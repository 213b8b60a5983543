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
from partialstate_service.domain.decisions import ALLOW_ROOMS_MATTER
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

_FULLY_CONSISTENT = FullyConsistent()
_ENDPOINTS = {pb.Endpoint.Value(f"ENDPOINT_{endpoint.name}"): endpoint for endpoint in Endpoint}
_VERDICTS = {verdict: pb.Verdict.Value(f"VERDICT_{verdict.name}") for verdict in Verdict}
_REASONS = {reason: pb.Reason.Value(f"REASON_{reason.name}") for reason in Reason}


def request_of(message: pb.CheckRequest) -> CheckRequest:
    """Return the request, its ids parsed; raises `RefusedInputError`."""
    endpoint = _ENDPOINTS.get(message.endpoint)
    if endpoint is None:
        raise convert.invalid_field("endpoint", "endpoint must be one that this service knows")
    # Every access to a message's field makes an object anew: of many requests, most have few fields.
    candidates, allow_rooms = message.candidates, message.allow_room_ids
    request = CheckRequest(
        endpoint,
        convert.server_name(message.origin, "origin"),
        convert.room_id(room_id) if (room_id := message.room_id) else None,
        tuple([convert.event_id(text, "event_ids") for text in message.event_ids]),
        convert.user_id(user_id, "user_id") if (user_id := message.user_id) else None,
        tuple(map(_candidate, candidates)) if candidates else (),
        tuple([convert.room_id(text, "allow_room_ids") for text in allow_rooms]) if allow_rooms else (),
    )
    if endpoint not in ALLOW_ROOMS_MATTER:
        return request
    return request._replace(
        user_in_a_full_allow_room=_optional(message, "optional_user_in_a_full_allow_room"),
        user_invited_or_joined=_optional(message, "optional_user_invited_or_joined"),
        can_issue_invite=_optional(message, "optional_can_issue_invite"),
    )


def freshness_of(message: pb.CheckRequest | pb.BatchCheckRequest) -> Freshness:
    """Return how fresh the registry must be."""
    if not message.HasField("optional_consistency"):
        return _FULLY_CONSISTENT
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
            return _FULLY_CONSISTENT


def response_of(decision: Decision, token: StateToken) -> pb.CheckResponse:
    """Return the message of a decision."""
    message = pb.CheckResponse(
        verdict=_VERDICTS[decision.verdict],
        reason=_REASONS[decision.reason],
        generation=decision.generation or 0,
        state_token=convert.token_message(token),
    )
    if decision.error is not None:
        message.optional_error.CopyFrom(_error(decision.error))
    if decision.optional_error_instead_of_forbidden is not None:
        message.optional_error_instead_of_forbidden.CopyFrom(
            _error(decision.optional_error_instead_of_forbidden)
        )
    message.visible_event_ids.extend(decision.visible_event_ids)
    message.walk_from_event_ids.extend(decision.walk_from)
    return message


class Responses:
    """The messages of decisions. Those of the last one are used again: most requests concern no partial room."""

    def __init__(self) -> None:
        self._last: tuple[Decision, StateToken, pb.CheckResponse, pb.BatchCheckResult] | None = None

    def of(self, decision: Decision, token: StateToken) -> pb.CheckResponse:
        """Return the message of a decision, which must not be changed."""
        return self._both(decision, token)[0]

    def result(self, decision: Decision, token: StateToken) -> pb.BatchCheckResult:
        """Return the message of a decision on one of many requests, which must not be changed."""
        return self._both(decision, token)[1]

    def _both(self, decision: Decision, token: StateToken) -> tuple[pb.CheckResponse, pb.BatchCheckResult]:
        if self._last is None or self._last[0] is not decision or self._last[1] is not token:
            message = response_of(decision, token)
            self._last = decision, token, message, pb.BatchCheckResult(decision=message)
        return self._last[2:]


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
    if not message.HasField(field):  # type: ignore[arg-type]  # one of three names
        return None
    value: bool = getattr(message, field)
    return value


def _error(error: MatrixError) -> types_pb.MatrixError:
    return types_pb.MatrixError(http_status=error.http_status, errcode=error.errcode, error=error.error)

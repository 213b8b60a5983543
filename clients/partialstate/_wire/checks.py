"""Checks and decisions."""

from partialstate._calls.statuses import error_of_item
from partialstate._wire import names, words
from partialstate.checks import Candidate, CheckRequest, Decision
from partialstate.errors import PartialStateError
from partialstate.v1 import check_service_pb2 as pb


def request_message(request: CheckRequest) -> pb.CheckRequest:
    """Return the message of a request."""
    message = pb.CheckRequest(
        endpoint=pb.Endpoint.ValueType(names.ENDPOINTS.number(request.endpoint)),
        origin=request.origin,
        room_id=request.room_id,
        event_ids=request.event_ids,
        user_id=request.user_id,
        candidates=map(_candidate_message, request.candidates),
        allow_room_ids=request.allow_room_ids,
        optional_user_in_a_full_allow_room=request.user_in_a_full_allow_room,
        optional_user_invited_or_joined=request.user_invited_or_joined,
        optional_can_issue_invite=request.can_issue_invite,
    )
    if request.consistency is not None:
        message.optional_consistency.CopyFrom(words.consistency_message(request.consistency))
    return message


def _candidate_message(candidate: Candidate) -> pb.Candidate:
    return pb.Candidate(
        event_id=candidate.event_id,
        sender=candidate.sender,
        history_visibility=candidate.history_visibility,
    )


def decision(message: pb.CheckResponse) -> Decision:
    """Return a decision; ServiceDefectError if this client cannot act on it."""
    instead = message.optional_error_instead_of_forbidden
    return Decision(
        verdict=names.VERDICTS.name(message.verdict),
        reason=names.REASONS.name(message.reason),
        generation=message.generation,
        error=words.error_response(message.optional_error) if message.HasField("optional_error") else None,
        error_instead_of_forbidden=(
            words.error_response(instead) if message.HasField("optional_error_instead_of_forbidden") else None
        ),
        visible_event_ids=tuple(message.visible_event_ids),
        walk_from_event_ids=tuple(message.walk_from_event_ids),
        state_token=words.token(message.state_token),
    )


def result(message: pb.BatchCheckResult) -> Decision | PartialStateError:
    """Return the decision of one item, or why it has none."""
    if message.HasField("decision"):
        try:
            return decision(message.decision)
        except PartialStateError as error:
            return error
    return error_of_item(message.error.code, message.error.reason, message.error.message)

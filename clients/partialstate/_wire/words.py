"""The words that all services share: events, tokens, times, errors."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from partialstate.consistency import (
    AtLeastAsFresh,
    BoundedStaleness,
    Consistency,
    FullyConsistent,
    StateToken,
)
from partialstate.events import Pdu, StateEntry
from partialstate.no_decision import ErrorResponse
from partialstate.v1 import types_pb2


def token(message: types_pb2.StateToken) -> StateToken:
    """Return the token of *message*."""
    return StateToken(message.token)


def token_message(state_token: StateToken) -> types_pb2.StateToken:
    """Return the message of a token."""
    return types_pb2.StateToken(token=state_token)


def consistency_message(consistency: Consistency) -> types_pb2.Consistency:
    """Return the message of a consistency."""
    match consistency:
        case FullyConsistent():
            return types_pb2.Consistency(fully_consistent=True)
        case AtLeastAsFresh(state_token):
            return types_pb2.Consistency(at_least_as_fresh=token_message(state_token))
        case BoundedStaleness(max_age_s):
            message = types_pb2.Consistency()
            message.bounded_staleness.FromNanoseconds(round(max_age_s * 1_000_000_000))
            return message


def moment(timestamp: Timestamp) -> datetime | None:
    """Return a time; None where none was sent."""
    if not timestamp.seconds and not timestamp.nanos:
        return None
    return timestamp.ToDatetime(tzinfo=UTC)


def pdu(message: types_pb2.Pdu) -> Pdu:
    """Return an event."""
    return Pdu(message.json, message.event_id)


def pdu_message(event: Pdu) -> types_pb2.Pdu:
    """Return the message of an event."""
    return types_pb2.Pdu(event_id=event.event_id, json=event.json)


def entry(message: types_pb2.StateEntry) -> StateEntry:
    """Return a slot of state."""
    return StateEntry(message.type, message.state_key, message.event_id)


def entry_message(entry: StateEntry) -> types_pb2.StateEntry:
    """Return the message of a slot of state."""
    return types_pb2.StateEntry(type=entry.type, state_key=entry.state_key, event_id=entry.event_id)


def error_response(message: types_pb2.MatrixError) -> ErrorResponse:
    """Return a finished error."""
    return ErrorResponse(message.http_status, message.errcode, message.error)

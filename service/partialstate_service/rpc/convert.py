"""Between the messages of the API and the service's own types: parsed once here, trusted inside."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from partialstate.v1 import rooms_service_pb2 as rooms_pb
from partialstate.v1 import types_pb2 as types_pb

from partialstate_service.domain.ids import (
    EventId,
    Generation,
    InvalidIdError,
    Position,
    RoomId,
    ServerName,
    UserId,
    parse_event_id,
    parse_room_id,
    parse_server_name,
    parse_user_id,
)
from partialstate_service.domain.rooms import (
    Ending,
    InvalidStateTokenError,
    PartialRoom,
    Priority,
    Progress,
    RoomStatus,
    ServerRecord,
    StateToken,
    parse_state_token,
)
from partialstate_service.matrix.event import StateKey
from partialstate_service.ownership.incoming import IncomingEvent
from partialstate_service.ownership.recording import GivenPartialEvent, GivenPdu
from partialstate_service.ownership.refusals import InputFlaw, RefusedInputError

_Id = TypeVar("_Id")
_MAX_COUNTER = 2**53
_REMEMBERED_IDS = 4096


# The same rooms and servers are named over and over; what is refused is not remembered.
_known_room_id = lru_cache(_REMEMBERED_IDS)(parse_room_id)
_known_server_name = lru_cache(_REMEMBERED_IDS)(parse_server_name)


def room_id(text: str, field: str = "room_id") -> RoomId:
    """Return a room id, or refuse *field* with INVALID_FIELD; so all of the following."""
    return _parsed(_known_room_id, text, field)


def event_id(text: str, field: str) -> EventId:
    """Return an event id."""
    return _parsed(parse_event_id, text, field)


def server_name(text: str, field: str) -> ServerName:
    """Return a server name."""
    return _parsed(_known_server_name, text, field)


def user_id(text: str, field: str) -> UserId:
    """Return a user id."""
    return _parsed(parse_user_id, text, field)


def generation(number: int) -> Generation:
    """Return a generation; they begin with 1."""
    if not 0 < number < _MAX_COUNTER:
        raise invalid_field("generation", "generation must be one that RegisterPartialJoin gave")
    return Generation(number)


def position(number: int, field: str) -> Position:
    """Return a position in the recovered-state log; 0 is before the first record."""
    if not 0 <= number < _MAX_COUNTER:
        raise invalid_field(field, f"{field} must not be negative")
    return Position(number)


def state_token(message: types_pb.StateToken) -> StateToken:
    """Return the token, or refuse it with INVALID_TOKEN."""
    try:
        return parse_state_token(message.token)
    except InvalidStateTokenError as error:
        raise RefusedInputError(InputFlaw.INVALID_TOKEN, "the state token is not one of ours") from error


def partial_event(message: rooms_pb.PartialEvent, field: str) -> GivenPartialEvent:
    """Return a partial event, its PDUs unread."""
    match message.provisional_verdict:
        case rooms_pb.PROVISIONAL_VERDICT_ACCEPTED:
            accepted = True
        case rooms_pb.PROVISIONAL_VERDICT_REJECTED:
            accepted = False
        case _:
            name = f"{field}.provisional_verdict"
            raise invalid_field(name, f"{name} must be given")
    return GivenPartialEvent(
        given_pdu(message.pdu), accepted, tuple(map(given_pdu, message.non_member_state_after))
    )


def incoming_event(message: rooms_pb.AuthoriseIncomingEventRequest) -> IncomingEvent:
    """Return an event that came in, its PDUs unread."""
    state: dict[StateKey, EventId] = {}
    for index, entry in enumerate(message.state_before):
        field = f"state_before[{index}]"
        key = (entry.type, entry.state_key)
        if key in state:
            raise invalid_field(field, f"{field} is the second event in its slot")
        state[key] = event_id(entry.event_id, f"{field}.event_id")
    return IncomingEvent(
        room_id=room_id(message.room_id),
        pdu=given_pdu(message.pdu),
        state_before=state,
        events=tuple(map(given_pdu, message.events)),
        rejected=frozenset(event_id(text, "rejected_event_ids") for text in message.rejected_event_ids),
    )


def given_pdu(message: types_pb.Pdu) -> GivenPdu:
    """Return an event, unread."""
    return GivenPdu(message.event_id, message.json)


def invalid_field(field: str, text: str) -> RefusedInputError:
    """Return the refusal of a field."""
    return RefusedInputError(InputFlaw.INVALID_FIELD, text, field=field)


def token_message(token: StateToken) -> types_pb.StateToken:
    """Return the message of a token."""
    return types_pb.StateToken(token=str(token))


def ending_value(ending: Ending) -> types_pb.Ending.ValueType:
    """Return the API's word for an ending."""
    return types_pb.Ending.Value(f"ENDING_{ending.name}")


def status_of(value: types_pb.RoomStatus.ValueType) -> RoomStatus:
    """Return the status that *value* names."""
    try:
        return RoomStatus[types_pb.RoomStatus.Name(value).removeprefix("ROOM_STATUS_")]
    except (ValueError, KeyError) as error:
        raise invalid_field("statuses", "statuses has an unknown status") from error


def priority_of(value: rooms_pb.ResyncPriority.ValueType) -> Priority:
    """Return the priority; unspecified or unknown means normal."""
    return Priority.USER_WAITING if value == rooms_pb.RESYNC_PRIORITY_USER_WAITING else Priority.NORMAL


def room_message(room: PartialRoom) -> rooms_pb.PartialRoom:
    """Return the message of a room."""
    return rooms_pb.PartialRoom(
        room_id=room.room_id,
        generation=room.generation,
        status=types_pb.RoomStatus.Value(f"ROOM_STATUS_{room.status.name}"),
        room_version=room.room_version,
        join_event_id=room.join_event_id,
        joined_via=room.joined_via or "",
        servers=room.servers,
        join_confirmed=room.join_confirmed,
        state_verified=room.state_verified,
        registered_at=_timestamp(room.registered_at_ms),
        pending_event_count=room.pending_events,
        unimported_event_count=room.unimported_events,
        log_position=room.log_position,
        acknowledged_position=room.acknowledged,
        resync=_progress_message(room.progress),
        optional_device_list_position=room.device_list_position,
    )


def _progress_message(progress: Progress) -> rooms_pb.ResyncProgress:
    return rooms_pb.ResyncProgress(
        stage=rooms_pb.ResyncStage.Value(f"RESYNC_STAGE_{progress.stage.name}"),
        events_fetched=progress.events_fetched,
        events_verified=progress.events_verified,
        events_expected=progress.events_expected,
        attempt_count=progress.attempts,
        optional_next_attempt=_optional_timestamp(progress.next_attempt_ms),
        servers=map(_outcome_message, progress.servers),
        unverified_event_ids=progress.unverified,
        left_out_event_ids=progress.left_out,
        last_failure=progress.last_failure,
        findings=progress.findings,
    )


def _outcome_message(record: ServerRecord) -> rooms_pb.ServerOutcome:
    return rooms_pb.ServerOutcome(
        server_name=record.server,
        outcome=record.outcome,
        at=_timestamp(record.at_ms),
        detail=record.detail,
        optional_cooldown_until=_optional_timestamp(record.cooldown_until_ms),
    )


def _optional_timestamp(ms: int | None) -> Timestamp | None:
    return None if ms is None else _timestamp(ms)


def _timestamp(ms: int) -> Timestamp:
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


def _parsed(parse: Callable[[str], _Id], text: str, field: str) -> _Id:
    try:
        return parse(text)
    except InvalidIdError as error:
        raise invalid_field(field, f"{field}: {error}") from error

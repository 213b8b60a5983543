"""Rooms and their resyncs."""

from partialstate._wire import names, words
from partialstate.rooms import (
    Destinations,
    PartialRoom,
    ResyncProgress,
    RoomSnapshot,
    RoomsPage,
    ServerOutcome,
)
from partialstate.v1 import rooms_service_pb2 as pb


def room(message: pb.PartialRoom) -> PartialRoom:
    """Return a room."""
    device_list_position = message.optional_device_list_position
    return PartialRoom(
        room_id=message.room_id,
        generation=message.generation,
        status=names.STATUSES.name(message.status),
        room_version=message.room_version,
        join_event_id=message.join_event_id,
        joined_via=message.joined_via,
        servers=tuple(message.servers),
        join_confirmed=message.join_confirmed,
        state_verified=message.state_verified,
        registered_at=words.moment(message.registered_at),
        pending_event_count=message.pending_event_count,
        unimported_event_count=message.unimported_event_count,
        log_position=message.log_position,
        acknowledged_position=message.acknowledged_position,
        resync=_progress(message.resync),
        device_list_position=(
            device_list_position if message.HasField("optional_device_list_position") else None
        ),
    )


def _progress(message: pb.ResyncProgress) -> ResyncProgress:
    return ResyncProgress(
        stage=names.STAGES.name(message.stage),
        events_fetched=message.events_fetched,
        events_verified=message.events_verified,
        events_expected=message.events_expected,
        attempt_count=message.attempt_count,
        next_attempt=words.moment(message.optional_next_attempt),
        servers=tuple(map(_server_outcome, message.servers)),
        unverified_event_ids=tuple(message.unverified_event_ids),
        left_out_event_ids=tuple(message.left_out_event_ids),
        last_failure=message.last_failure,
        findings=tuple(message.findings),
    )


def _server_outcome(message: pb.ServerOutcome) -> ServerOutcome:
    return ServerOutcome(
        server_name=message.server_name,
        outcome=message.outcome,
        at=words.moment(message.at),
        detail=message.detail,
        cooldown_until=words.moment(message.optional_cooldown_until),
    )


def snapshot(message: pb.GetPartialRoomResponse | pb.RetryResyncResponse) -> RoomSnapshot:
    """Return a room with the registry that it was read from."""
    return RoomSnapshot(room(message.room), words.token(message.state_token))


def page(message: pb.ListPartialRoomsResponse) -> RoomsPage:
    """Return a page of rooms."""
    return RoomsPage(tuple(map(room, message.rooms)), words.token(message.state_token))


def destinations(message: pb.GetDestinationsResponse) -> Destinations:
    """Return the servers of a room."""
    return Destinations(tuple(message.servers), message.generation)

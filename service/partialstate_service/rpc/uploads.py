"""Streams of requests that begin with a header: RegisterPartialJoin and ReconcileRooms."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress

from partialstate.v1 import rooms_service_pb2 as rooms_pb

from partialstate_service.domain.ids import RoomId, ServerName
from partialstate_service.ownership.given_events import supported_version
from partialstate_service.ownership.reconciliation import HeldRoom, UnreadableRoom
from partialstate_service.ownership.refusals import InputFlaw, RefusedInputError
from partialstate_service.ownership.send_join import JoinHeader
from partialstate_service.rpc import convert


async def read_registration(
    messages: AsyncIterator[rooms_pb.RegisterPartialJoinRequest], max_body_bytes: int
) -> tuple[rooms_pb.RegisterPartialJoinHeader, bytes]:
    """Return the header and the body of the send_join response; refuses more than *max_body_bytes*."""
    header: rooms_pb.RegisterPartialJoinHeader | None = None
    body = bytearray()
    async for message in messages:
        match message.WhichOneof("part"):
            case "header" if header is None:
                header = message.header
            case "send_join_response_chunk" if header is not None:
                body += message.send_join_response_chunk
                if len(body) > max_body_bytes:
                    raise RefusedInputError(
                        InputFlaw.TOO_LARGE,
                        f"the send_join response is larger than {max_body_bytes} bytes",
                        limit=max_body_bytes,
                    )
            case _:
                raise _bad_stream("the stream is one header and then chunks")
    if header is None:
        raise _bad_stream("the stream is empty: it begins with a header")
    return header, bytes(body)


def join_header(message: rooms_pb.RegisterPartialJoinHeader) -> JoinHeader:
    """Return the header, parsed but for the join event."""
    return JoinHeader(
        room_id=convert.room_id(message.room_id, "header.room_id"),
        version=supported_version(message.room_version),
        join_event=message.join_event,
        joined_via=convert.server_name(message.joined_via, "header.joined_via"),
        omit_members_requested=message.omit_members_requested,
    )


async def read_reconciliation_header(
    messages: AsyncIterator[rooms_pb.ReconcileRoomsRequest],
) -> rooms_pb.ReconcileRoomsHeader:
    """Return the header; the rooms are left in *messages*."""
    async for message in messages:
        if message.WhichOneof("part") != "header":
            break
        return message.header
    raise _bad_stream("the stream begins with a header")


async def held_rooms(
    messages: AsyncIterator[rooms_pb.ReconcileRoomsRequest],
) -> AsyncIterator[HeldRoom | UnreadableRoom]:
    """Yield the rooms after the header; what is wrong with one is no matter of the others."""
    index = 0
    async for message in messages:
        if message.WhichOneof("part") != "room":
            raise _bad_stream("the stream is one header and then rooms")
        room_id = _id_of_room(message.room.room_id, index)
        room: HeldRoom | UnreadableRoom
        try:
            room = held_room(room_id, message.room)
        except RefusedInputError as error:
            room = UnreadableRoom(room_id, error)
        yield room
        index += 1


def held_room(room_id: RoomId, message: rooms_pb.HeldRoom) -> HeldRoom:
    """Return a room that the homeserver holds, its events unread; names that are no servers' are passed over."""
    return HeldRoom(
        room_id=room_id,
        room_version=message.room_version,
        join_event=message.join_event,
        joined_via=_optional_server(message.joined_via),
        servers=tuple(_server_names(message.servers)),
        non_member_state=tuple(map(convert.given_pdu, message.non_member_state)),
        partial_events=tuple(
            convert.partial_event(event, f"room.partial_events[{index}]")
            for index, event in enumerate(message.partial_events)
        ),
        device_list_position=(
            message.optional_device_list_position
            if message.HasField("optional_device_list_position")
            else None
        ),
    )


def _id_of_room(text: str, index: int) -> RoomId:
    """Return the id of the room at *index* of the stream; without one it fails the call, for nothing else names it."""
    field = f"rooms[{index}].room_id"
    try:
        return convert.room_id(text, field)
    except RefusedInputError as error:
        raise RefusedInputError(
            error.flaw, str(error), field=field, index=index, given=f"{text!a:.80}"
        ) from error


def _server_names(names: Iterable[str]) -> Iterator[ServerName]:
    # As in a send_join response: rooms of old versions have users on impossible servers.
    for name in names:
        with suppress(RefusedInputError):
            yield convert.server_name(name, "room.servers")


def _optional_server(name: str) -> ServerName | None:
    return convert.server_name(name, "room.joined_via") if name else None


def _bad_stream(text: str) -> RefusedInputError:
    return RefusedInputError(InputFlaw.INVALID_STREAM, text)

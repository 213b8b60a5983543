"""Events that a frontend hands over: parsed, of the right room, with the id that they claim."""

from collections.abc import Iterable

from partialstate_service.domain.ids import EventId, RoomId
from partialstate_service.domain.rooms import StateSummary
from partialstate_service.matrix.canonical_json import InvalidJsonError, encode_canonical, parse_json
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.parsing import Flaw, InvalidEventError, parse_event, parse_event_bytes
from partialstate_service.matrix.room_versions import (
    EventIdFormat,
    RoomVersion,
    UnsupportedRoomVersionError,
    room_version,
)
from partialstate_service.ownership.refusals import InputFlaw, RefusedInputError

_ACL = ("m.room.server_acl", "")
_JOIN_RULES = ("m.room.join_rules", "")
_HISTORY_VISIBILITY = ("m.room.history_visibility", "")


def supported_version(text: str) -> RoomVersion:
    """Return the capabilities of a room version, or refuse with UNSUPPORTED_ROOM_VERSION."""
    try:
        return room_version(text)
    except UnsupportedRoomVersionError as error:
        raise RefusedInputError(InputFlaw.UNSUPPORTED_ROOM_VERSION, str(error), given=text[:32]) from error


def parse_given(data: bytes, version: RoomVersion, room: RoomId, field: str, event_id: str = "") -> Event:
    """Return the event that is the JSON text *data*.

    *event_id* is the id that the frontend gives beside it, "" for none; where it, or an `event_id` inside the JSON, is
    not the one that is computed, refuses with EVENT_ID_MISMATCH. Refuses with INVALID_EVENT or WRONG_ROOM otherwise.
    """
    try:
        event = parse_event_bytes(data, version)
    except InvalidEventError as error:
        raise RefusedInputError(
            InputFlaw.INVALID_EVENT, f"{field} is not a valid event: {error}", field=field, event=event_id
        ) from error
    if event.room_id != room:
        raise wrong_room(event.event_id, room)
    for given in (event_id, _id_inside(data, version)):
        if given and given != event.event_id:
            raise RefusedInputError(
                InputFlaw.EVENT_ID_MISMATCH,
                f"{field} is given as {given!a:.80} but its id is {event.event_id!a}",
                field=field,
                given=given[:255],
                computed=event.event_id,
            )
    return event


def parse_sent(raw: object, version: RoomVersion, room: RoomId) -> Event | None:
    """Return an event of a resident server's answer, or None for a malformed one; refuses one of another room."""
    if not isinstance(raw, dict):
        return None
    try:
        return parse_event(raw, version, room_id=room)
    except InvalidEventError as error:
        if error.reason is Flaw.WRONG_ROOM:
            raise wrong_room("", room) from error
        return None


def wrong_room(event_id: EventId | str, room: RoomId) -> RefusedInputError:
    """Return the refusal of an event that is not of *room*."""
    shown = event_id or "of the response"
    return RefusedInputError(
        InputFlaw.WRONG_ROOM, f"the event {shown} is not of the room {room!a}", event=event_id
    )


def stored_json(event: Event) -> bytes:
    """Return the event as it is stored and passed on: canonical JSON without `unsigned`."""
    return encode_canonical(event.raw, strict=False)


def summarise(state: Iterable[Event]) -> StateSummary:
    """Return what checks need of the given current state events; several of one kind count as candidates."""
    acls, join_rules, visibilities = [], [], []
    for event in state:
        match (event.type, event.state_key):
            case slot if slot == _ACL:
                acls.append(event.content)
            case slot if slot == _JOIN_RULES:
                join_rules.append(event.content)
            case slot if slot == _HISTORY_VISIBILITY:
                visibility = event.content.get("history_visibility")
                # What is no text is no known visibility: it counts as closed, as an unknown text does.
                visibilities.append(visibility if isinstance(visibility, str) else "")
            case _:
                pass
    return StateSummary(tuple(acls), tuple(join_rules), tuple(visibilities))


def _id_inside(data: bytes, version: RoomVersion) -> str:
    """Return the `event_id` inside the JSON of a room version whose ids are computed, "" if there is none."""
    if version.event_ids is EventIdFormat.GIVEN or b'"event_id"' not in data:
        return ""
    try:
        raw = parse_json(data, strict=False)
    except InvalidJsonError:
        return ""
    found = raw.get("event_id") if isinstance(raw, dict) else None
    return found if isinstance(found, str) else ""

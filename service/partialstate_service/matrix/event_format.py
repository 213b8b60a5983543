"""The event format of each room version, field by field (specification v1.19, room versions, "Event format").

Each function returns one parsed field of an event's JSON, or raises `InvalidEventError`.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, Never, TypeVar

from partialstate_service.domain.ids import (
    MAX_ID_BYTES,
    EventId,
    InvalidIdError,
    RoomId,
    UserId,
    parse_event_id,
    parse_room_id,
    parse_server_name,
    parse_user_id,
)
from partialstate_service.matrix.canonical_json import MAX_INTEGER
from partialstate_service.matrix.event import JsonObject
from partialstate_service.matrix.room_versions import EventIdFormat, RoomVersion

MAX_PREV_EVENTS: Final = 20
MAX_AUTH_EVENTS: Final = 10
# Below this many characters a text cannot have too many bytes.
_SURELY_SHORT: Final = MAX_ID_BYTES // 4
# The same room, create event and power levels recur in every event of a room: each is parsed once.
_CACHED_IDS: Final = 4096

_T = TypeVar("_T")


class Flaw(StrEnum):
    """Why an event is dropped."""

    JSON = "not_json"
    CANONICAL = "not_canonical_json"
    TOO_LARGE = "too_large"
    FIELD = "bad_field"
    REFERENCES = "too_many_references"
    WRONG_ROOM = "wrong_room"


class InvalidEventError(ValueError):
    """An event that is malformed, beyond the limits, or of another room than it should be."""

    def __init__(self, reason: Flaw, text: str) -> None:
        self.reason = reason
        super().__init__(text)


def drop(reason: Flaw, text: str) -> Never:
    """Raise `InvalidEventError`."""
    raise InvalidEventError(reason, text)


def event_type(raw: JsonObject) -> str:
    """Return the event's type."""
    return _short_text(raw, "type")


def state_key(raw: JsonObject) -> str | None:
    """Return the state key, or None for an event that is no state."""
    return _short_text(raw, "state_key") if "state_key" in raw else None


def sender(raw: JsonObject) -> UserId:
    """Return the sender."""
    text = _text(raw, "sender")
    try:
        return parse_user_id(text)
    except InvalidIdError as error:
        raise InvalidEventError(Flaw.FIELD, f"sender: {error}") from None


def content(raw: JsonObject) -> dict[str, Any]:
    """Return the content, an object."""
    return _object(raw, "content")


def depth(raw: JsonObject) -> int:
    """Return the depth: 0 to 2^53-1, also in the versions that allow greater integers elsewhere."""
    value = _integer(raw, "depth")
    if not 0 <= value <= MAX_INTEGER:
        drop(Flaw.FIELD, "depth: out of range")
    return value


def origin_server_ts(raw: JsonObject) -> int:
    """Return when the origin says that it sent the event: milliseconds since the epoch, never to be trusted."""
    return _integer(raw, "origin_server_ts")


def sha256_text(raw: JsonObject) -> str:
    """Return the content hash that the event claims, in base64."""
    return _text(_object(raw, "hashes"), "sha256")


def check_signatures(raw: JsonObject) -> None:
    """Require that `signatures`, where there are any, are objects by server. What they say is checked elsewhere."""
    signatures = raw.get("signatures", {})
    if not isinstance(signatures, dict) or not all(
        isinstance(by_key, dict) for by_key in signatures.values()
    ):
        drop(Flaw.FIELD, "signatures: not objects by server")


def given_event_id(raw: JsonObject) -> EventId:
    """Return the event id of versions 1 and 2, whose domain is one that must have signed."""
    event_id = _event_id(_text(raw, "event_id"), "event_id", parse_event_id)
    try:
        parse_server_name(event_id.partition(":")[2])
    except InvalidIdError as error:
        raise InvalidEventError(Flaw.FIELD, f"event_id: {error}") from None
    return event_id


def room_id(raw: JsonObject) -> RoomId:
    """Return the room id of an event that has one; a create event from version 12 has none."""
    try:
        return _cached_room_id(_text(raw, "room_id"))
    except InvalidIdError as error:
        raise InvalidEventError(Flaw.FIELD, f"room_id: {error}") from None


def is_roomless_create(raw: JsonObject, version: RoomVersion) -> bool:
    """Whether this is a create event whose room id is its own hash, as all are from version 12.

    A `room_id` in it, or another state key than the empty one, is malformed: Synapse parses neither, nor their
    redacted copies.
    """
    if not version.room_ids_as_hashes or raw.get("type") != "m.room.create":
        return False
    if "room_id" in raw:
        drop(Flaw.FIELD, "room_id: a create event of this room version has none")
    if raw.get("state_key") != "":
        drop(Flaw.FIELD, "state_key: a create event's is empty")
    return True


def references(raw: JsonObject, name: str, version: RoomVersion, limit: int | None) -> tuple[EventId, ...]:
    """Return the event ids in `prev_events` or `auth_events`, at most *limit*.

    Versions 1 and 2 give each with hashes of the event, which nobody relies on: `[event id, {"sha256": …}]`.
    """
    given = raw.get(name)
    if not isinstance(given, list):
        drop(Flaw.FIELD, f"{name}: not a list")
    if limit is not None and len(given) > limit:
        drop(Flaw.REFERENCES, f"{name}: more than {limit}")
    if version.event_ids is EventIdFormat.GIVEN:
        given = [_first_of_pair(item, name) for item in given]
    parse = _cached_event_id if name == "auth_events" else parse_event_id
    return tuple([_event_id(item, name, parse) for item in given])


def check_authorising_user(event_content: JsonObject, kind: str, version: RoomVersion) -> None:
    """Require that the user who authorised a restricted join has a server, since that server must have signed."""
    if not version.restricted_joins or kind != "m.room.member" or event_content.get("membership") != "join":
        return
    if "join_authorised_via_users_server" in event_content:
        try:
            parse_user_id(_text(event_content, "join_authorised_via_users_server"))
        except InvalidIdError as error:
            raise InvalidEventError(Flaw.FIELD, f"join_authorised_via_users_server: {error}") from None


def _first_of_pair(item: object, name: str) -> object:
    if not isinstance(item, list) or len(item) != 2 or not isinstance(item[1], dict):  # noqa: PLR2004 - a pair
        drop(Flaw.FIELD, f"{name}: not pairs of event id and hashes")
    return item[0]


def _event_id(value: object, name: str, parse: Callable[[str], EventId]) -> EventId:
    if not isinstance(value, str):
        drop(Flaw.FIELD, f"{name}: not an event id")
    try:
        return parse(value)
    except InvalidIdError as error:
        raise InvalidEventError(Flaw.FIELD, f"{name}: {error}") from None


_cached_event_id = lru_cache(_CACHED_IDS)(parse_event_id)
_cached_room_id = lru_cache(_CACHED_IDS)(parse_room_id)


def _field(raw: JsonObject, name: str, kind: type[_T], expected: str) -> _T:
    value = raw.get(name)
    if type(value) is not kind:  # exactly: a boolean is no integer
        drop(Flaw.FIELD, f"{name}: {'missing' if name not in raw else f'not {expected}'}")
    return value


def _text(raw: JsonObject, name: str) -> str:
    return _field(raw, name, str, "a string")


def _integer(raw: JsonObject, name: str) -> int:
    return _field(raw, name, int, "an integer")


def _object(raw: JsonObject, name: str) -> dict[str, Any]:
    return _field(raw, name, dict, "an object")


def _short_text(raw: JsonObject, name: str) -> str:
    text = _text(raw, name)
    if len(text) > _SURELY_SHORT and len(text.encode()) > MAX_ID_BYTES:
        drop(Flaw.FIELD, f"{name}: longer than {MAX_ID_BYTES} bytes")
    return text

"""From the bytes that a server sent to an `Event`: format, limits, content hash, event id.

Source: specification v1.19, server-server API, "PDUs" and "Checks performed on receipt of a PDU", steps 1 and 3; room
version 12 for room ids. Whatever the input, the only exception is `InvalidEventError`: such an event is dropped.
"""

from hashlib import sha256
from typing import Any, Final, NamedTuple

from unpaddedbase64 import decode_base64, encode_base64

from partialstate_service.domain.ids import EventId, RoomId
from partialstate_service.matrix import event_format
from partialstate_service.matrix.canonical_json import (
    InvalidJsonError,
    encode_canonical,
    encode_plain,
    is_plain,
    parse_loose,
)
from partialstate_service.matrix.event import Event, JsonObject
from partialstate_service.matrix.event_format import (
    MAX_AUTH_EVENTS,
    MAX_PREV_EVENTS,
    Flaw,
    InvalidEventError,
    drop,
)
from partialstate_service.matrix.hashes import content_hash_input, event_id_of_hash, signed_part
from partialstate_service.matrix.redaction import redact
from partialstate_service.matrix.room_versions import EventIdFormat, RoomVersion

__all__ = [
    "Flaw",
    "InvalidEventError",
    "ReceivedEvent",
    "parse_event",
    "parse_event_bytes",
    "parse_received",
    "verified_event",
]

MAX_EVENT_BYTES: Final = 65_536
"""Of an event as canonical JSON, with its signatures and without `unsigned`."""
MAX_RECEIVED_BYTES: Final = 1 << 20
"""Of an event as received, with `unsigned`, escapes and white space."""
MAX_EVENT_NESTING: Final = 127
"""Levels of arrays and objects, the event itself included. No specification has this limit, but Synapse drops what is
deeper, and a homeserver could not import it."""


class ReceivedEvent(NamedTuple):
    """An event, and what had to be encoded of it on the way: nobody needs to encode that again."""

    event: Event
    canonical: bytes
    """`event.raw` as canonical JSON."""
    covered: bytes | None
    """What the signatures of the event cover; None in versions 1 and 2, where no event id is made of it."""


def parse_event_bytes(
    data: bytes, version: RoomVersion, *, room_id: RoomId | None = None, limit_references: bool = True
) -> Event:
    """Return the event that the JSON text *data* is; as `parse_event`, and repeated keys are refused too."""
    return parse_received(data, version, room_id=room_id, limit_references=limit_references).event


def parse_received(
    data: bytes, version: RoomVersion, *, room_id: RoomId | None = None, limit_references: bool = True
) -> ReceivedEvent:
    """Return the event that the JSON text *data* is, as `parse_event_bytes` does, and its encodings."""
    if len(data) > MAX_RECEIVED_BYTES:
        drop(Flaw.TOO_LARGE, f"an event of {len(data)} bytes")
    try:
        raw, plain = parse_loose(data, max_nesting=MAX_EVENT_NESTING)
    except InvalidJsonError as error:
        raise InvalidEventError(Flaw.JSON, str(error)) from error
    return _parse(raw, version, room_id, plain=plain, limit_references=limit_references)


def parse_event(
    raw: JsonObject, version: RoomVersion, *, room_id: RoomId | None = None, limit_references: bool = True
) -> Event:
    """Return the event that the parsed JSON *raw* is, or raise `InvalidEventError`.

    *room_id* is the room that it must belong to. *limit_references* is off for what `/backfill` returns, where the
    limits on previous and auth events do not apply.

    The event's `raw` lacks `unsigned`, which nobody signs and anybody may change, and from version 3 an `event_id`
    that a sender added: neither is to be trusted, stored or passed on. Where the content hash does not match, `raw`
    and `content` are the redacted copy. *raw* itself is not changed; the event shares its values.
    """
    try:
        plain = is_plain(raw, max_nesting=MAX_EVENT_NESTING)
    except InvalidJsonError as error:
        raise InvalidEventError(Flaw.JSON, str(error)) from error
    return _parse(raw, version, room_id, plain=plain, limit_references=limit_references).event


def verified_event(
    given: JsonObject, event_id: EventId, version: RoomVersion, room_id: RoomId, *, hash_matches: bool
) -> Event:
    """Return the event that `parse_event` made of *given*, without checking and hashing it again.

    *given* is what `parse_event` was given or, where the content hash did not match, the `raw` that it made; the
    other arguments are the event's. For anything else the result is undefined.
    """
    raw = _without_unsigned(given, version)
    return Event(
        event_id=event_id,
        room_id=room_id,
        type=raw["type"],
        state_key=raw.get("state_key"),
        sender=raw["sender"],
        depth=raw["depth"],
        origin_server_ts=raw["origin_server_ts"],
        prev_event_ids=event_format.references(raw, "prev_events", version, None),
        auth_event_ids=event_format.references(raw, "auth_events", version, None),
        content=raw["content"],
        raw=raw,
        room_version=version,
        hash_matches=hash_matches,
    )


def _parse(
    given: Any, version: RoomVersion, expected: RoomId | None, *, plain: bool, limit_references: bool
) -> ReceivedEvent:
    if not isinstance(given, dict):
        drop(Flaw.FIELD, "an event is a JSON object")
    raw = _without_unsigned(given, version)
    if "unsigned" in given and not plain:
        plain = is_plain(raw)  # the float may have been in `unsigned`, where it does not matter
    try:
        canonical = _encode(raw, version, plain=plain)
    except InvalidJsonError as error:
        raise InvalidEventError(Flaw.CANONICAL, str(error)) from error
    if len(canonical) > MAX_EVENT_BYTES:
        drop(Flaw.TOO_LARGE, f"more than {MAX_EVENT_BYTES} bytes")
    event, covered = _parse_fields(raw, version, expected, plain=plain, limit_references=limit_references)
    if not event.hash_matches:
        canonical = _encode(event.raw, version, plain=plain)
    return ReceivedEvent(event, canonical, covered)


def _without_unsigned(given: JsonObject, version: RoomVersion) -> dict[str, Any]:
    raw = dict(given)
    raw.pop("unsigned", None)
    if version.event_ids is not EventIdFormat.GIVEN:
        raw.pop("event_id", None)
    return raw


def _parse_fields(
    raw: dict[str, Any], version: RoomVersion, expected: RoomId | None, *, plain: bool, limit_references: bool
) -> tuple[Event, bytes | None]:
    """Return the event, and what its id is the hash of, if it is one."""
    kind = event_format.event_type(raw)
    content = event_format.content(raw)
    event_format.check_signatures(raw)
    roomless = event_format.is_roomless_create(raw, version)
    room_id = None if roomless else _room_id(raw, expected)
    hash_matches = _content_hash_matches(raw, version, plain=plain)
    if not hash_matches:
        raw = redact(raw, version)
        content = raw["content"]
    event_format.check_authorising_user(content, kind, version)
    covered: bytes | None = None
    if version.event_ids is EventIdFormat.GIVEN:
        event_id = event_format.given_event_id(raw)
    else:
        covered = _encode(signed_part(raw, version), version, plain=plain)
        event_id = event_id_of_hash(sha256(covered).digest(), version)
    if room_id is None:
        room_id = RoomId("!" + event_id[1:])
        if expected is not None and room_id != expected:
            drop(Flaw.WRONG_ROOM, "a create event of another room")
    event = Event(
        event_id=event_id,
        room_id=room_id,
        type=kind,
        state_key=event_format.state_key(raw),
        sender=event_format.sender(raw),
        depth=event_format.depth(raw),
        origin_server_ts=event_format.origin_server_ts(raw),
        prev_event_ids=event_format.references(
            raw, "prev_events", version, MAX_PREV_EVENTS if limit_references else None
        ),
        auth_event_ids=event_format.references(
            raw, "auth_events", version, MAX_AUTH_EVENTS if limit_references else None
        ),
        content=content,
        raw=raw,
        room_version=version,
        hash_matches=hash_matches,
    )
    return event, covered


def _room_id(raw: JsonObject, expected: RoomId | None) -> RoomId:
    room_id = event_format.room_id(raw)
    if expected is not None and room_id != expected:
        drop(Flaw.WRONG_ROOM, "an event of another room")
    return room_id


def _content_hash_matches(raw: JsonObject, version: RoomVersion, *, plain: bool) -> bool:
    claimed = event_format.sha256_text(raw)
    actual = sha256(_encode(content_hash_input(raw), version, plain=plain)).digest()
    if claimed == encode_base64(actual):
        return True
    try:
        # As bytes: the same hash may be written with padding, or in the URL-safe alphabet.
        return decode_base64(claimed) == actual
    except ValueError as error:
        raise InvalidEventError(Flaw.FIELD, "hashes.sha256: not base64") from error


def _encode(value: JsonObject, version: RoomVersion, *, plain: bool) -> bytes:
    encode = encode_plain if plain else encode_canonical
    return encode(value, strict=version.strict_canonical_json)

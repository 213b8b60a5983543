"""Single signed events of any room version, well-formed unless told otherwise."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.matrix.room_versions import EventIdFormat, RoomVersion
from partialstate_service.matrix.signing import sign_event
from support.spec_vectors import KEY, SERVER

TS = 1_700_000_000_000


class Omit(Enum):
    """As a field's value: leave the field out; an enum, so that tests are named alike in every process."""

    OMIT = "omit"


OMIT = Omit.OMIT


def unsigned_event(version: RoomVersion, **fields: Any) -> dict[str, Any]:
    """Return a message of `@a:domain` with *fields* changed, with the references of *version*."""
    given = version.event_ids is EventIdFormat.GIVEN
    raw: dict[str, Any] = {
        "auth_events": [["$create:domain", {"sha256": "abc"}]] if given else ["$" + "c" * 43],
        "content": {"body": "text"},
        "depth": 5,
        "origin_server_ts": TS,
        "prev_events": [["$prev:domain", {"sha256": "abc"}]] if given else ["$" + "p" * 43],
        "room_id": "!room" if version.room_ids_as_hashes else "!room:domain",
        "sender": "@a:domain",
        "type": "m.room.message",
    }
    if given:
        raw["event_id"] = "$event:domain"
    return {name: value for name, value in (raw | fields).items() if value is not OMIT}


def signed_event(version: RoomVersion, **fields: Any) -> dict[str, Any]:
    """Return `unsigned_event` with its hash and the signature of the server `domain`."""
    return sign_event(unsigned_event(version, **fields), version, ServerName(SERVER), KEY)


def server_keys(**fields: Any) -> Mapping[ServerName, ServerKeys]:
    """Return the keys of the server `domain`, valid at the event's time, with *fields* changed."""
    given: dict[str, Any] = {
        "valid_until_ts": TS,
        "verify_keys": {KEY.key_id: KEY.public},
        "old_verify_keys": {},
    }
    return {ServerName(SERVER): ServerKeys(server_name=ServerName(SERVER), **(given | fields))}

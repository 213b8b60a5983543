"""Content hash, reference hash and event id (specification v1.19, server-server API, "Signing Events").

The hashes follow the specification to the letter: only `unsigned`, `signatures` and, for the content hash, `hashes`
are left out. (Synapse also leaves out `age_ts`, `outlier` and `destinations` from the content hash; no event of
today carries them at its top level.)
"""

from hashlib import sha256
from typing import Any

from unpaddedbase64 import encode_base64

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.canonical_json import encode_canonical
from partialstate_service.matrix.event import JsonObject
from partialstate_service.matrix.redaction import redact
from partialstate_service.matrix.room_versions import EventIdFormat, RoomVersion


def content_hash(raw: JsonObject, version: RoomVersion) -> bytes:
    """Return the SHA-256 (32 bytes) that `hashes.sha256` of *raw* should name.

    Raises `InvalidJsonError` where *raw* has no canonical JSON.
    """
    return sha256(encode_canonical(content_hash_input(raw), strict=version.strict_canonical_json)).digest()


def reference_hash(raw: JsonObject, version: RoomVersion) -> bytes:
    """Return the SHA-256 (32 bytes) of what redaction leaves of *raw*; event ids from version 3 are made of it.

    Raises `InvalidJsonError` where *raw* has no canonical JSON.
    """
    return sha256(encode_canonical(signed_part(raw, version), strict=version.strict_canonical_json)).digest()


def event_id_of(raw: JsonObject, version: RoomVersion) -> EventId:
    """Return the id of *raw*: computed, or in versions 1 and 2 the `event_id` that it carries.

    Raises `InvalidJsonError` where *raw* has no canonical JSON, `KeyError` where the id should be given and is not.
    """
    if version.event_ids is EventIdFormat.GIVEN:
        return EventId(raw["event_id"])
    return event_id_of_hash(reference_hash(raw, version), version)


def event_id_of_hash(digest: bytes, version: RoomVersion) -> EventId:
    """Return the event id that a reference hash makes in *version* (3 or newer)."""
    return EventId("$" + encode_base64(digest, urlsafe=version.event_ids is EventIdFormat.HASH_URL_SAFE))


def content_hash_input(raw: JsonObject) -> dict[str, Any]:
    """Return what the content hash of *raw* covers."""
    covered = dict(raw)
    covered.pop("unsigned", None)
    covered.pop("signatures", None)
    covered.pop("hashes", None)
    return covered


def signed_part(raw: JsonObject, version: RoomVersion) -> dict[str, Any]:
    """Return what the reference hash and the signatures of *raw* cover."""
    covered = redact(raw, version)
    covered.pop("signatures", None)
    if version.event_ids is not EventIdFormat.GIVEN:
        # From version 3 the id follows from the hash; one that a sender added all the same is not part of it.
        covered.pop("event_id", None)
    return covered

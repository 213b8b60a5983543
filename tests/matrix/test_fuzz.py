"""No bytes from a peer raise anything but the error that drops the event."""

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from partialstate_service.matrix.keys import InvalidKeysError, parse_server_keys
from partialstate_service.matrix.parsing import InvalidEventError, parse_event_bytes
from partialstate_service.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from partialstate_service.matrix.signatures import verify_event
from partialstate_service.matrix.signing import sign_json
from support.json_texts import rendered, trees
from support.signed_events import OMIT, server_keys, signed_event
from support.spec_vectors import KEY, SERVER
from unpaddedbase64 import encode_base64

VERSIONS = st.sampled_from(list(ROOM_VERSIONS.values()))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["$a:b", "@a:b", "!a:b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "auth_events",
        "content",
        "depth",
        "event_id",
        "hashes",
        "origin_server_ts",
        "prev_events",
        "room_id",
        "sender",
        "signatures",
        "state_key",
        "type",
        "unsigned",
    ]
)
TYPES = st.sampled_from(["m.room.member", "m.room.create", "m.room.power_levels", "m.room.redaction", "x"])
CONTENT_KEYS = st.sampled_from(
    ["membership", "third_party_invite", "join_authorised_via_users_server", "users"]
)
CONTENTS = st.dictionaries(CONTENT_KEYS, VALUES | st.sampled_from(["join", "invite"]))


def _survives(data: bytes, version: RoomVersion) -> None:
    try:
        event = parse_event_bytes(data, version)
    except InvalidEventError:
        return
    # What parses can be verified and parsed again: nothing malformed is left in it.
    verify_event(event, server_keys())
    again = parse_event_bytes(json.dumps(event.raw).encode(), version)
    assert again.event_id == event.event_id


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")), VERSIONS)
def test_any_bytes(data, version):
    """Mostly not even JSON."""
    _survives(data, version)


@given(trees(), VERSIONS, st.data())
def test_any_json(tree, version, data):
    """In any spelling."""
    _survives(rendered(tree, data.draw), version)


@settings(max_examples=500)
@given(VERSIONS, st.dictionaries(FIELDS, VALUES | st.just(OMIT)), TYPES, CONTENTS, st.booleans())
def test_events_that_are_almost_good(version, fields, event_type, content, signed):
    """A good event with fields replaced, before it was signed and hashed or after."""
    good = {"type": event_type, "content": content}
    try:
        raw = signed_event(version, **(good | fields if signed else good))
    except (ValueError, TypeError, AttributeError):
        return  # not even signable
    raw = {name: value for name, value in (raw | fields).items() if value is not OMIT}
    _survives(json.dumps(raw).encode(), version)


@given(VERSIONS, st.data())
def test_events_with_flipped_bytes(version, data):
    """As a fuzzer does it."""
    mutable = bytearray(json.dumps(signed_event(version)).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        mutable[data.draw(st.integers(0, len(mutable) - 1))] = data.draw(st.integers(0, 255))
    _survives(bytes(mutable), version)


@given(
    st.dictionaries(
        st.sampled_from(["verify_keys", "old_verify_keys", "valid_until_ts", "signatures"]), VALUES
    )
)
def test_any_published_keys(fields):
    """Are keys, or are refused."""
    good = {
        "server_name": SERVER,
        "valid_until_ts": 1,
        "verify_keys": {KEY.key_id: {"key": encode_base64(KEY.public)}},
        "old_verify_keys": {},
    }
    with contextlib.suppress(InvalidKeysError):
        parse_server_keys(sign_json(good, SERVER, KEY) | fields, SERVER)

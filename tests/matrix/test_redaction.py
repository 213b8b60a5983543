"""What redaction leaves of an event, by room version (specification v1.19, room versions, "Redactions")."""

import pytest
from partialstate_service.matrix.redaction import redact
from partialstate_service.matrix.room_versions import ROOM_VERSIONS, room_version

ALL = tuple(ROOM_VERSIONS)


def _from(first: int) -> frozenset[str]:
    return frozenset(version for version in ALL if int(version) >= first)


# Event type, a key of its content, the versions that keep it.
KEPT = [
    ("m.room.member", "membership", _from(1)),
    ("m.room.member", "join_authorised_via_users_server", _from(9)),
    ("m.room.member", "displayname", frozenset()),
    ("m.room.create", "creator", _from(1)),
    ("m.room.create", "m.federate", _from(11)),
    ("m.room.create", "room_version", _from(11)),
    ("m.room.create", "additional_creators", _from(11)),
    ("m.room.join_rules", "join_rule", _from(1)),
    ("m.room.join_rules", "allow", _from(8)),
    *[
        ("m.room.power_levels", key, _from(1))
        for key in (
            "ban",
            "events",
            "events_default",
            "kick",
            "redact",
            "state_default",
            "users",
            "users_default",
        )
    ],
    ("m.room.power_levels", "invite", _from(11)),
    ("m.room.power_levels", "notifications", frozenset()),
    ("m.room.aliases", "aliases", _from(1) - _from(6)),
    ("m.room.history_visibility", "history_visibility", _from(1)),
    ("m.room.redaction", "redacts", _from(11)),
    ("m.room.redaction", "reason", frozenset()),
    ("m.room.message", "body", frozenset()),
    ("m.room.server_acl", "deny", frozenset()),
    ("m.room.third_party_invite", "public_key", frozenset()),
]

TOP_LEVEL = [
    *[
        (key, _from(1))
        for key in (
            "auth_events",
            "depth",
            "event_id",
            "hashes",
            "origin_server_ts",
            "prev_events",
            "room_id",
            "sender",
            "signatures",
            "state_key",
        )
    ],
    *[(key, _from(1) - _from(11)) for key in ("membership", "origin", "prev_state")],
    *[(key, frozenset()) for key in ("unsigned", "redacts", "age_ts", "org.example.custom")],
]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(("event_type", "key", "versions"), KEPT)
def test_keys_of_the_content(version, event_type, key, versions):
    """Each event type keeps the keys that its version lists, and no other."""
    content = {key: {"any": ["value"]}, "org.example.other": 1}
    redacted = redact({"type": event_type, "content": content}, room_version(version))
    expected = {key: {"any": ["value"]}} if version in versions else {}
    if event_type == "m.room.create" and version in _from(11):
        expected = content
    assert redacted == {"type": event_type, "content": expected}


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(("key", "versions"), TOP_LEVEL)
def test_keys_of_the_event(version, key, versions):
    """Top-level keys go by version; absent ones are not made up."""
    redacted = redact({"type": "m.room.message", key: "value", "content": {}}, room_version(version))
    kept = {key: "value"} if version in versions else {}
    assert redacted == {"type": "m.room.message", "content": {}, **kept}


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    ("invite", "kept"),
    [
        ({"signed": {"token": "t"}, "display_name": "d"}, {"signed": {"token": "t"}}),
        ({"signed": 1}, {"signed": 1}),
        ({"display_name": "d"}, {}),
        ({}, {}),
    ],
)
def test_a_third_party_invite_keeps_signed(version, invite, kept):
    """From version 11. Without `signed` an empty object stays, as in Synapse: the event id depends on it."""
    content = {"membership": "invite", "third_party_invite": invite}
    redacted = redact({"type": "m.room.member", "content": content}, room_version(version))
    expected = {"membership": "invite"}
    if version in _from(11):
        expected["third_party_invite"] = kept
    assert redacted["content"] == expected


def test_a_third_party_invite_that_is_no_object_goes():
    """There is no `signed` in it to keep."""
    content = {"membership": "invite", "third_party_invite": "signed"}
    redacted = redact({"type": "m.room.member", "content": content}, room_version("11"))
    assert redacted["content"] == {"membership": "invite"}


@pytest.mark.parametrize("version", ALL)
def test_only_a_create_event_of_version_12_loses_its_room_id(version):
    """There the room id is made of the event id, which cannot depend on it."""
    create = redact({"type": "m.room.create", "room_id": "!r:a", "content": {}}, room_version(version))
    assert ("room_id" in create) == (version != "12")
    member = redact({"type": "m.room.member", "room_id": "!r:a", "content": {}}, room_version(version))
    assert member["room_id"] == "!r:a"


@pytest.mark.parametrize("content", [None, [], "text", 1])
def test_content_that_is_no_object_becomes_empty(content):
    """Redaction is defined on any JSON object: it is used on events before they are checked."""
    assert redact({"type": "m.room.member", "content": content}, room_version("11"))["content"] == {}


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    "event_type", ["m.room.member", "m.room.create", "m.room.power_levels", "m.room.message"]
)
def test_redacting_twice_is_redacting_once_and_changes_no_input(version, event_type):
    """The given event keeps its content."""
    raw = {"type": event_type, "content": {"membership": "join", "users": {}, "body": "b"}, "unsigned": {}}
    once = redact(raw, room_version(version))
    assert redact(once, room_version(version)) == once
    assert raw["content"] == {"membership": "join", "users": {}, "body": "b"}
    assert "unsigned" in raw

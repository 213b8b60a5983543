"""From received bytes to an event: format and limits, redacted copies, ids; and never another exception."""

import copy
import dataclasses
import json

import pytest
from partialstate_service.matrix.hashes import event_id_of
from partialstate_service.matrix.parsing import (
    MAX_EVENT_BYTES,
    MAX_RECEIVED_BYTES,
    Flaw,
    InvalidEventError,
    parse_event,
    parse_event_bytes,
    verified_event,
)
from partialstate_service.matrix.redaction import redact
from partialstate_service.matrix.room_versions import ROOM_VERSIONS, room_version
from support.signed_events import OMIT, TS, signed_event

ALL = pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=str)
GIVEN_IDS = pytest.mark.parametrize("version", [room_version("1"), room_version("2")], ids=str)
HASHED_IDS = pytest.mark.parametrize(
    "version", [version for version in ROOM_VERSIONS.values() if version.version not in {"1", "2"}], ids=str
)
STRICT = pytest.mark.parametrize(
    "version", [version for version in ROOM_VERSIONS.values() if version.strict_canonical_json], ids=str
)
LOOSE = pytest.mark.parametrize(
    "version", [version for version in ROOM_VERSIONS.values() if not version.strict_canonical_json], ids=str
)


def _flaw(raw, version, **options) -> Flaw:
    """Return why *raw* is dropped: the same as parsed JSON and as bytes."""
    with pytest.raises(InvalidEventError) as caught:
        parse_event(raw, version, **options)
    with pytest.raises(InvalidEventError) as caught_from_bytes:
        parse_event_bytes(json.dumps(raw).encode(), version, **options)
    assert caught.value.reason is caught_from_bytes.value.reason
    return caught.value.reason


@ALL
def test_a_good_event(version):
    """Every field, typed."""
    raw = signed_event(version, type="m.room.topic", state_key="", content={"topic": "t"})
    event = parse_event_bytes(json.dumps(raw).encode(), version, room_id=raw["room_id"])
    given = version.version in {"1", "2"}
    assert event.event_id == event_id_of(raw, version)
    assert event.room_id == raw["room_id"]
    assert (event.type, event.state_key, event.is_state) == ("m.room.topic", "", True)
    assert (event.sender, event.depth, event.origin_server_ts) == ("@a:domain", 5, TS)
    assert event.prev_event_ids == (("$prev:domain" if given else "$" + "p" * 43),)
    assert event.auth_event_ids == (("$create:domain" if given else "$" + "c" * 43),)
    assert event.content == {"topic": "t"}
    assert event.hash_matches
    assert event.room_version is version
    assert event.raw == raw


@ALL
def test_a_message_has_no_state_key(version):
    """None, which is not the empty state key."""
    event = parse_event(signed_event(version), version)
    assert event.state_key is None
    assert not event.is_state


@ALL
def test_unsigned_is_dropped_whatever_it_is(version):
    """It is not signed: it may even hold what canonical JSON cannot."""
    raw = signed_event(version)
    for unsigned in ({"age": 1.5}, None, "x", [2**70], {"a": "b" * MAX_EVENT_BYTES}):
        received = raw | {"unsigned": unsigned}
        event = parse_event_bytes(json.dumps(received).encode(), version)
        assert event.raw == raw
        assert event.hash_matches
        assert parse_event(received, version).event_id == event.event_id
        assert "unsigned" in received


@HASHED_IDS
def test_an_event_id_that_a_sender_added_is_not_trusted(version):
    """The id is computed and the added one is gone."""
    raw = signed_event(version)
    event = parse_event(raw | {"event_id": "$liar"}, version)
    assert event.event_id == parse_event(raw, version).event_id
    assert "event_id" not in event.raw
    assert event.hash_matches


@ALL
def test_a_content_hash_that_does_not_match_leaves_the_redacted_copy(version):
    """With the same id, since that depends on the redacted event only; the signature still holds."""
    raw = signed_event(version, type="m.room.member", state_key="@a:domain", content={"membership": "join"})
    forged = raw | {"content": {"membership": "join", "displayname": "forged"}}
    event = parse_event(forged, version)
    assert not event.hash_matches
    assert event.event_id == parse_event(raw, version).event_id
    assert event.raw == redact(raw, version)
    assert event.content == {"membership": "join"}
    assert event.raw["hashes"] == raw["hashes"]


@ALL
def test_the_content_hash_is_compared_as_bytes(version):
    """Padding and alphabet of base64 do not matter."""
    raw = signed_event(version)
    for spelled in (
        raw["hashes"]["sha256"] + "=",
        raw["hashes"]["sha256"].translate(str.maketrans("+/", "-_")),
    ):
        assert parse_event(raw | {"hashes": {"sha256": spelled}}, version).hash_matches


@ALL
def test_the_input_is_not_changed(version):
    """Parsing, redacting included, works on a copy."""
    raw = signed_event(version) | {"content": {"forged": 1}, "unsigned": {"a": 1}}
    before = copy.deepcopy(raw)
    parse_event(raw, version)
    assert raw == before


# Field by field: what is refused in every version.
BAD_FIELDS = [
    *[
        (name, value)
        for name in ("type", "sender", "room_id")
        for value in (OMIT, None, 1, True, [], {}, "x" * 256, "é" * 128)
        if not (name == "type" and value == OMIT)
    ],
    ("type", OMIT),
    *[("state_key", value) for value in (None, 1, False, [], {}, "x" * 256, "é" * 128)],
    *[("content", value) for value in (OMIT, None, [], "text", 1)],
    *[("depth", value) for value in (OMIT, None, "1", True, False, [], -1)],
    *[("origin_server_ts", value) for value in (OMIT, None, "1", True, [])],
    *[("hashes", value) for value in (None, [], {}, "x", {"sha256": 1}, {"sha256": None}, {"sha256": "A"})],
    ("hashes", {"sha256": "é"}),
    *[("signatures", value) for value in (None, [], "x", {"domain": []}, {"domain": None}, {"domain": "x"})],
    *[
        (name, value)
        for name in ("prev_events", "auth_events")
        for value in (
            OMIT,
            None,
            {},
            "x",
            [1],
            [None],
            [{}],
            [[]],
            ["x"],
            ["$a b"],
            ["$" + "x" * 255],
            [["x"]],
        )
    ],
    *[
        ("sender", value)
        for value in ("a:domain", "@a", "@a:", "@a:b c", "@a:domain:99999", "@" + "a" * 250 + ":domain")
    ],
    *[("room_id", value) for value in ("room:domain", "!", "!a b:domain", "!" + "a" * 255)],
]


@ALL
@pytest.mark.parametrize(("name", "value"), BAD_FIELDS, ids=lambda value: ascii(value)[:30])
def test_malformed_fields(version, name, value):
    """Each is dropped for what it is."""
    raw = {**signed_event(version), name: value}
    if value is OMIT:
        del raw[name]
    assert _flaw(raw, version) is Flaw.FIELD


@ALL
@pytest.mark.parametrize("missing", ["hashes"])
def test_without_hashes(version, missing):
    """An event that claims no hash is malformed, not one whose hash does not match."""
    raw = signed_event(version)
    del raw[missing]
    assert _flaw(raw, version) is Flaw.FIELD


@ALL
def test_names_of_255_bytes(version):
    """Are allowed; bytes count, not characters."""
    for longest in ("x" * 255, "é" * 127 + "x"):
        event = parse_event(signed_event(version, type=longest, state_key=longest), version)
        assert (event.type, event.state_key) == (longest, longest)


@ALL
@pytest.mark.parametrize(("name", "limit"), [("prev_events", 20), ("auth_events", 10)])
def test_the_number_of_references(version, name, limit):
    """One more is too many, except in what `/backfill` returns."""

    def with_references(number):
        ids = [f"${n}" for n in range(number)]
        return signed_event(
            version, **{name: [[i, {}] for i in ids] if version.version in {"1", "2"} else ids}
        )

    parse_event(with_references(limit), version)
    assert _flaw(with_references(limit + 1), version) is Flaw.REFERENCES
    event = parse_event(with_references(limit + 1), version, limit_references=False)
    assert len(event.prev_event_ids) + len(event.auth_event_ids) == limit + 2


@GIVEN_IDS
@pytest.mark.parametrize(
    "reference", ["$a:b", ["$a:b"], ["$a:b", {}, {}], ["$a:b", "hash"], [1, {}], [["$a:b"], {}]]
)
def test_references_of_the_first_versions_are_pairs(version, reference):
    """Of an event id and its hashes."""
    assert _flaw(signed_event(version) | {"prev_events": [reference]}, version) is Flaw.FIELD


@GIVEN_IDS
@pytest.mark.parametrize(
    "event_id",
    [OMIT, None, 1, "x", "$x", "$x:", "$x:b c", "$\0:domain", "$a b:domain", "$" + "x" * 250 + ":domain"],
)
def test_given_event_ids(version, event_id):
    """The id's domain is one that must have signed, so there must be one."""
    raw = {**signed_event(version), "event_id": event_id}
    if event_id is OMIT:
        del raw["event_id"]
    assert _flaw(raw, version) is Flaw.FIELD


@ALL
def test_the_size_limit_is_of_canonical_json_with_signatures(version):
    """To the byte, however it was spelled when received."""
    empty = signed_event(version, content={"body": ""})
    room = MAX_EVENT_BYTES - len(json.dumps(empty, separators=(",", ":")))
    largest = signed_event(version, content={"body": "é" * (room // 2) + "x" * (room % 2)})
    assert parse_event_bytes(json.dumps(largest, indent=1).encode(), version).hash_matches
    assert _flaw(signed_event(version, content={"body": "x" * (room + 1)}), version) is Flaw.TOO_LARGE


def test_endless_input_is_not_even_parsed():
    """However much of it is white space."""
    with pytest.raises(InvalidEventError) as caught:
        parse_event_bytes(b" " * (MAX_RECEIVED_BYTES + 1), room_version("11"))
    assert caught.value.reason is Flaw.TOO_LARGE


@STRICT
@pytest.mark.parametrize("number", [1.0, 1.5, 2**53, -(2**53), 2**64, -(2**63) - 1, 10**30])
def test_strict_versions_have_neither_floats_nor_big_integers(version, number):
    """Anywhere in the event but in `unsigned`."""
    for raw in (
        signed_event(version) | {"content": {"a": [number]}},
        signed_event(version) | {"org.example": number},
        signed_event(version) | {"signatures": {"domain": {"ed25519:1": number}}},
        signed_event(version) | {"depth": number},
    ):
        assert _flaw(raw, version) is Flaw.CANONICAL


@LOOSE
@pytest.mark.parametrize("number", [1.0, 1.5, 1e-7, 1e16, 2**53, 2**64, -(2**63) - 1, 10**30])
def test_loose_versions_keep_any_finite_number(version, number):
    """Exactly, also in the hash."""
    raw = signed_event(version, content={"a": [number]})
    event = parse_event_bytes(json.dumps(raw).encode(), version)
    assert event.hash_matches
    assert event.content["a"] == [number]
    assert type(event.content["a"][0]) is type(number)
    assert event.event_id == parse_event(raw, version).event_id == event_id_of(raw, version)


@ALL
def test_the_greatest_depth(version):
    """2^53-1, also where other integers may be greater."""
    assert parse_event(signed_event(version, depth=2**53 - 1), version).depth == 2**53 - 1
    for depth in (2**53, 2**63 - 1, 1.0):
        flaw = Flaw.CANONICAL if version.strict_canonical_json else Flaw.FIELD
        assert _flaw(signed_event(version) | {"depth": depth}, version) is flaw


@ALL
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":NaN}',
        b'{"a":1,"a":2}',
        b'{"content":{"x":{"a":1,"a":2}}}',
        b'{"a":"\\ud800"}',
        b"\xff",
    ],
)
def test_what_is_no_json(version, data):
    """Repeated keys included: which of them counts is anybody's guess."""
    with pytest.raises(InvalidEventError) as caught:
        parse_event_bytes(data, version)
    assert caught.value.reason is Flaw.JSON


@ALL
@pytest.mark.parametrize("data", [b"[]", b"null", b"1", b"1.5", b'"text"', b"{}", b"true"])
def test_json_that_is_no_event(version, data):
    """Of any kind."""
    with pytest.raises(InvalidEventError) as caught:
        parse_event_bytes(data, version)
    assert caught.value.reason is Flaw.FIELD


@ALL
@pytest.mark.parametrize(
    ("value", "flaw"),
    [
        (None, Flaw.FIELD),
        ([], Flaw.FIELD),
        (object(), Flaw.FIELD),
        ({1: 2}, Flaw.CANONICAL),
        ({"a": object()}, Flaw.CANONICAL),
        ({"a": "\ud800"}, Flaw.CANONICAL),
        ({"a": float("nan")}, Flaw.CANONICAL),
    ],
)
def test_values_that_no_parser_returns(version, value, flaw):
    """Still nothing but `InvalidEventError`."""
    with pytest.raises(InvalidEventError) as caught:
        parse_event(value, version)
    assert caught.value.reason is flaw


@ALL
def test_an_event_of_another_room(version):
    """A server that is asked about one room may not answer with another's events."""
    raw = signed_event(version)
    assert parse_event(raw, version, room_id=raw["room_id"]).room_id == raw["room_id"]
    assert _flaw(raw, version, room_id="!other:domain") is Flaw.WRONG_ROOM


CREATE = {"type": "m.room.create", "state_key": "", "prev_events": [], "auth_events": []}


def test_the_room_id_of_version_12_is_the_create_events_hash():
    """The event has none, and its own is derived."""
    version = room_version("12")
    raw = signed_event(version, room_id=OMIT, **CREATE)
    event = parse_event(raw, version)
    assert event.room_id == "!" + event.event_id.removeprefix("$")
    assert "room_id" not in event.raw
    assert parse_event(raw, version, room_id=event.room_id).event_id == event.event_id
    assert _flaw(raw, version, room_id="!other") is Flaw.WRONG_ROOM


@pytest.mark.parametrize(
    "fields", [{}, {"room_id": OMIT, "state_key": "x"}, {"room_id": OMIT, "state_key": OMIT}]
)
def test_malformed_create_events_of_version_12(fields):
    """With a room id, or with another state key than the empty one."""
    version = room_version("12")
    assert _flaw(signed_event(version, **(CREATE | fields)), version) is Flaw.FIELD


@pytest.mark.parametrize("number", range(1, 12))
def test_create_events_of_older_versions_name_their_room(number):
    """As every other event does."""
    version = room_version(str(number))
    assert parse_event(signed_event(version, **CREATE), version).room_id == "!room:domain"
    assert _flaw(signed_event(version, room_id=OMIT, **CREATE), version) is Flaw.FIELD


@ALL
@pytest.mark.parametrize("user", [None, 1, "domain", "@a", "@a:b c", []])
def test_the_authorising_user_of_a_restricted_join_has_a_server(version, user):
    """From version 8, since that server must have signed."""
    content = {"membership": "join", "join_authorised_via_users_server": user}
    raw = signed_event(version, type="m.room.member", state_key="@a:domain", content=content)
    if version.restricted_joins:
        assert _flaw(raw, version) is Flaw.FIELD
    else:
        parse_event(raw, version)
    content["membership"] = "leave"
    parse_event(signed_event(version, type="m.room.member", state_key="@a:domain", content=content), version)


@ALL
@pytest.mark.parametrize("leaf", [1, 1.5])
def test_the_nesting_limit(version, leaf):
    """127 levels with the event and its content, as bytes and as parsed JSON alike, beside a float or not."""

    def nested(levels):
        content = leaf
        for _ in range(levels - 2):
            content = [content]
        return signed_event(version) | {"content": {"a": content}}

    if not version.strict_canonical_json or leaf == 1:
        parse_event_bytes(json.dumps(nested(127)).encode(), version)
        parse_event(nested(127), version)
    for levels in (128, 600):
        assert _flaw(nested(levels), version) is Flaw.JSON


@ALL
@pytest.mark.parametrize("user", ["@a b:domain", "@:domain", "@\n\x01é😀:domain", "@ABC!#$:domain"])
def test_historical_user_ids(version, user):
    """Any characters but NUL and colons, or none at all (appendices, "Historical User IDs")."""
    event = parse_event(signed_event(version, sender=user, state_key=user), version)
    assert (event.sender, event.state_key) == (user, user)
    assert _flaw(signed_event(version, sender=user.replace("@", "@\0")), version) is Flaw.FIELD


@ALL
@pytest.mark.parametrize("forged", [False, True])
def test_a_verified_event_is_made_again_without_checking(version, forged):
    """Field for field the event that parsing made."""
    raw = signed_event(version, type="m.room.topic", state_key="", unsigned={"age": 1.5})
    parsed = parse_event(raw | ({"content": {"forged": 1}} if forged else {}), version)
    given = parsed.raw if forged else raw
    again = verified_event(given, parsed.event_id, version, parsed.room_id, hash_matches=parsed.hash_matches)
    assert dataclasses.asdict(again) == dataclasses.asdict(parsed)

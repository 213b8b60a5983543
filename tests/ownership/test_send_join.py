"""What a send_join response may look like, and what each flaw of it is called."""

import json
import time

import pytest
from partialstate_service.matrix.room_versions import ROOM_VERSIONS, room_version
from partialstate_service.ownership.refusals import InputFlaw, RefusedInputError
from partialstate_service.ownership.send_join import MAX_MALFORMED, JoinedRoom, read_send_join
from support.send_joins import US, sent_join


def read(join, body=None) -> JoinedRoom:
    return read_send_join(join.header, join.body if body is None else body, US)


def flaw_of(join, body=None) -> InputFlaw:
    with pytest.raises(RefusedInputError) as refused:
        read(join, body)
    return refused.value.flaw


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_a_partial_response_is_read_whatever_the_room_version(version):
    join = sent_join(version)
    room = read(join)
    assert room.join.event_id == join.join.event_id
    assert room.servers == ("a.example", "b.example", "c.example")
    assert {event.type for event in room.state} >= {
        "m.room.create",
        "m.room.power_levels",
        "m.room.join_rules",
    }
    assert [event.type for event in room.auth_chain] == ["m.room.member"]


@pytest.mark.parametrize(
    ("partial", "servers"),
    [
        ("org.matrix.msc3706.partial_state", "org.matrix.msc3706.servers_in_room"),
        ("partial_state", "servers_in_room"),
    ],
)
def test_the_names_of_older_servers_are_understood(partial, servers):
    join = sent_join()
    join.response[partial] = join.response.pop("members_omitted")
    join.response[servers] = join.response.pop("servers_in_room")
    assert read(join).servers == ("a.example", "b.example", "c.example")


def test_we_are_no_server_to_resync_from_but_the_resident_is():
    join = sent_join()
    join.response["servers_in_room"] = [US, "c.example"]
    assert read(join).servers == ("a.example", "c.example")


def test_a_complete_response_is_a_full_join():
    join = sent_join()
    join.response["members_omitted"] = False
    assert flaw_of(join) is InputFlaw.RESPONSE_NOT_PARTIAL


def test_members_omitted_unasked_is_refused():
    join = sent_join()
    join.omit_members_requested = False
    assert flaw_of(join) is InputFlaw.MEMBERS_OMITTED_UNASKED


@pytest.mark.parametrize("servers", [None, [], "a.example", [1], ["not a server"]])
def test_servers_in_room_must_name_servers(servers):
    join = sent_join()
    join.response["servers_in_room"] = servers
    assert flaw_of(join) is InputFlaw.NO_SERVERS_IN_ROOM


def test_impossible_server_names_are_passed_over():
    join = sent_join()
    join.response["servers_in_room"].append("no server!")
    assert read(join).servers == ("a.example", "b.example", "c.example")


def test_only_ourselves_in_the_room_is_refused():
    join = sent_join()
    join.response["servers_in_room"] = [US]
    assert flaw_of(join) is InputFlaw.ONLY_OURSELVES_IN_ROOM


def test_the_create_event_must_be_there():
    join = sent_join()
    join.response["state"] = [event for event in join.response["state"] if event["type"] != "m.room.create"]
    assert flaw_of(join) is InputFlaw.MISSING_CREATE_EVENT


def test_the_create_event_must_say_the_room_version():
    # Versions 9 and 8 differ in nothing that the ids are made of.
    join = sent_join("9")
    join.version = "8"
    with pytest.raises(RefusedInputError) as refused:
        read(join)
    assert refused.value.flaw is InputFlaw.WRONG_ROOM_VERSION
    assert refused.value.facts == {"given": "8", "found": "9"}


@pytest.mark.parametrize(("made", "given"), [("8", "12"), ("8", "1"), ("1", "11"), ("12", "8"), ("11", "10")])
def test_another_room_version_is_called_so_though_nothing_reads_well_by_its_rules(made, given):
    join = sent_join(made)
    join.version = given
    assert flaw_of(join) is InputFlaw.WRONG_ROOM_VERSION


@pytest.mark.parametrize("version", ["8", "11"])
def test_an_altered_create_event_is_refused(version):
    join = sent_join(version)
    for event in join.response["state"]:
        if event["type"] == "m.room.create":
            event["content"]["m.federate"] = False
    assert flaw_of(join) is InputFlaw.INVALID_EVENT


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_response_that_was_cut_off_is_refused(kept):
    join = sent_join()
    assert flaw_of(join, join.body[:kept]) is InputFlaw.TRUNCATED_RESPONSE


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff"])
def test_a_response_that_is_no_json_object_is_refused(body):
    assert flaw_of(sent_join(), body) is InputFlaw.TRUNCATED_RESPONSE


ODD = {
    "nested": b"[" * 600 + b"]" * 600,
    "nested beyond any recursion": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "surrogate": rb'"\ud800"',
    "surrogate in a key": rb'{"\udfff":1}',
    "repeated": b'{"a":1,"a":2}',
    "infinite": b"1e400",
    "thousands of digits": b"9" * 5000,
    "NaN": b"NaN",
    "control character": b'"\x01"',
    "not UTF-8": b'"\xff"',
    "brackets in strings": rb'["]}\"],[{", 1e400]',
}


def with_odd_event(join, name, odd, *, field="content") -> bytes:
    """The response with one more event, of which nothing is wrong but that *odd* is in its *field*."""
    event = {**join.response["state"][-1], "type": "m.odd", field: {"odd": "ODD"}}
    opening = b'"%s": [' % name.encode()
    assert join.body.count(opening) == 1
    text = json.dumps(event).encode().replace(b'"ODD"', odd)
    return join.body.replace(opening, opening + text + b",")


def ids_of(room: JoinedRoom):
    return (
        room.join.event_id,
        [event.event_id for event in room.state],
        [event.event_id for event in room.auth_chain],
        room.servers,
    )


@pytest.mark.parametrize("field", ["content", "unsigned"])
@pytest.mark.parametrize("name", ["state", "auth_chain"])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_event_that_is_no_canonical_json_is_left_out_and_the_others_are_not(odd, name, field):
    join = sent_join()
    assert ids_of(read(join, with_odd_event(join, name, odd, field=field))) == ids_of(read(join))
    # It is what is odd that leaves the event out.
    assert ids_of(read(join, with_odd_event(join, name, b"1", field=field))) != ids_of(read(join))


def test_every_odd_event_of_a_list_is_left_out_wherever_it_is():
    join = sent_join()
    expected = read(join)
    join.response["state"] = ["odd", *(each for event in join.response["state"] for each in (event, "odd"))]
    join.response["auth_chain"].append("odd")
    body = join.body.replace(b'"odd"', b'{"content": 1e400}')
    assert ids_of(read(join, body)) == ids_of(expected)


@pytest.mark.parametrize("odd", [b"1", b"{}", b"NaN", b'{"content": 1e400}'])
@pytest.mark.parametrize("name", ["state", "auth_chain"])
def test_a_response_that_is_full_of_malformed_events_is_refused_soon(name, odd):
    join = sent_join()
    opening = b'"%s": [' % name.encode()
    few = join.body.replace(opening, opening + (odd + b",") * MAX_MALFORMED)
    assert ids_of(read(join, few)) == ids_of(read(join))
    many = join.body.replace(opening, opening + (odd + b",") * 1_000_000)
    begun = time.process_time()
    assert flaw_of(join, many) is InputFlaw.TOO_LARGE
    assert time.process_time() - begun < 3


@pytest.mark.parametrize("kept", [1, 100, 700, 1000, -2, -1])
def test_a_response_with_an_odd_event_that_was_cut_off_is_refused(kept):
    join = sent_join()
    assert flaw_of(join, with_odd_event(join, "state", b"1e400")[:kept]) is InputFlaw.TRUNCATED_RESPONSE


@pytest.mark.parametrize("flag", [b"NaN", b"1e400", rb'"\ud800"', b'true, "members_omitted": false'])
def test_what_is_odd_outside_of_the_events_refuses_the_response(flag):
    # It must not read as a complete response: that would be persisted as a full join.
    join = sent_join()
    body = join.body.replace(b'"members_omitted": true', b'"members_omitted": ' + flag)
    assert flaw_of(join, body) is InputFlaw.TRUNCATED_RESPONSE


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_create_event_is_none(odd):
    join = sent_join()
    body = join.body.replace(b'"room_version": "11"', b'"room_version": ' + odd)
    assert body != join.body
    assert flaw_of(join, body) is InputFlaw.MISSING_CREATE_EVENT


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_join_event_in_the_response_is_called_so(odd):
    join = sent_join()
    body = join.body.replace(b'"event": {', b'"event": {"odd": ' + odd + b", ")
    assert body != join.body
    with pytest.raises(RefusedInputError) as refused:
        read(join, body)
    assert refused.value.flaw is InputFlaw.INVALID_EVENT
    assert refused.value.facts == {"field": "send_join_response.event"}


@pytest.mark.parametrize("name", ["state", "auth_chain"])
@pytest.mark.parametrize("value", [None, {}, "x"])
def test_state_and_auth_chain_must_be_lists(name, value):
    join = sent_join()
    join.response[name] = value
    assert flaw_of(join) is InputFlaw.INVALID_FIELD


@pytest.mark.parametrize("name", ["state", "auth_chain"])
def test_an_event_of_another_room_is_refused(name):
    join = sent_join()
    other = sent_join()
    join.response[name].append(dict(other.join.raw))
    assert flaw_of(join) is InputFlaw.WRONG_ROOM


@pytest.mark.parametrize("malformed", [1, None, {}, {"type": "m.room.topic"}])
def test_malformed_events_that_nothing_hangs_on_are_left_out(malformed):
    join = sent_join()
    sound = len(read(join).state)
    join.response["state"].append(malformed)
    assert len(read(join).state) == sound


def test_an_event_whose_hash_does_not_match_is_kept_redacted():
    join = sent_join(acl={"allow": ["*"]})
    [acl] = [event for event in join.response["state"] if event["type"] == "m.room.server_acl"]
    acl["content"] = {"allow": ["evil.example"]}
    [kept] = [event for event in read(join).state if event.type == "m.room.server_acl"]
    assert kept.content == {}


def test_the_resident_may_add_its_signature_to_the_join():
    join = sent_join("10")
    signed = {**join.join.raw, "signatures": {"a.example": {"ed25519:1": "c2lnbmVk"}}}
    join.response["event"] = signed
    assert read(join).join.raw["signatures"] == signed["signatures"]


def test_without_an_event_in_the_response_the_sent_join_counts():
    join = sent_join()
    del join.response["event"]
    assert read(join).join.event_id == join.join.event_id


def test_another_join_in_the_response_is_refused():
    join = sent_join()
    other = join.room.join("@alice:us.example", displayname="changed")
    join.response["event"] = dict(other.raw)
    assert flaw_of(join) is InputFlaw.EVENT_ID_MISMATCH


def test_another_users_join_in_the_response_is_refused():
    join = sent_join()
    join.response["event"] = dict(join.room.join("@mallory:us.example").raw)
    assert flaw_of(join) is InputFlaw.NOT_OUR_JOIN


@pytest.mark.parametrize(
    "make",
    [
        lambda room: room.join("@eve:elsewhere.example"),
        lambda room: room.leave("@alice:us.example"),
        lambda room: room.member("@alice:us.example", "@bob:us.example", "join"),
        lambda room: room.message("@alice:us.example"),
    ],
)
def test_the_join_must_be_that_of_one_of_our_users(make):
    join = sent_join()
    join.join = make(join.room)
    assert flaw_of(join) is InputFlaw.NOT_OUR_JOIN


def test_a_join_whose_content_hash_does_not_match_is_refused():
    join = sent_join()
    raw = {**join.join.raw, "content": {**join.join.content, "displayname": "tampered"}}
    with pytest.raises(RefusedInputError) as refused:
        read_send_join(
            type(join.header)(
                join.room_id,
                room_version(join.version),
                json.dumps(raw).encode(),
                join.joined_via,
                omit_members_requested=True,
            ),
            join.body,
            US,
        )
    assert refused.value.flaw is InputFlaw.INVALID_EVENT


def test_a_join_that_claims_another_id_is_refused():
    join = sent_join()
    raw = {**join.join.raw, "event_id": "$another"}
    header = type(join.header)(
        join.room_id,
        room_version(join.version),
        json.dumps(raw).encode(),
        join.joined_via,
        omit_members_requested=True,
    )
    with pytest.raises(RefusedInputError) as refused:
        read_send_join(header, join.body, US)
    assert refused.value.flaw is InputFlaw.EVENT_ID_MISMATCH
    assert refused.value.facts["computed"] == join.join.event_id

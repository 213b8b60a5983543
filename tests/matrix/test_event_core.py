"""A core is all that authorisation reads: whatever the rules say of an event, they say of what is remade of its core."""

import pytest
from partialstate_service.matrix.canonical_json import encode_canonical
from partialstate_service.matrix.event_auth import AuthRejectionError, check_auth
from partialstate_service.matrix.event_core import (
    NotKeptError,
    pack_core,
    unpack_core,
    unpack_membership,
    unpack_slot,
)
from support.auth_cases import auth_cases, case_room, case_state
from support.rooms import RoomBuilder

BOB = "@bob:b.example"
CASES = [
    c for c in auth_cases() if c.row.get("check") != "auth_events" and "unparsed_raw" not in c.row["event"]
]


def remade(event):
    core = pack_core(event)
    assert unpack_slot(core) == (event.type, event.state_key)
    if event.type == "m.room.member":
        assert unpack_membership(core) == event.content.get("membership")
    return unpack_core(core, event.event_id, event.auth_event_ids, event.room_id, event.room_version)


def outcome(event, state):
    try:
        check_auth(event, state)
    except AuthRejectionError as rejection:
        return rejection.rule
    return None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_rules_say_the_same_of_a_remade_event(case):
    room, event = case_room(case)
    state = {key: remade(held) for key, held in case_state(case, room).items()}
    assert outcome(remade(event), state) == case.expected


@pytest.mark.parametrize("version", ["1", "11", "12"])
def test_what_state_resolution_reads_is_kept(version):
    room = RoomBuilder(version)
    room.join(BOB)
    for event in room.events.values():
        again = remade(event)
        for name in (
            "event_id",
            "room_id",
            "type",
            "state_key",
            "sender",
            "depth",
            "origin_server_ts",
            "auth_event_ids",
        ):
            assert getattr(again, name) == getattr(event, name)


def test_a_membership_takes_a_tenth_of_its_json():
    room = RoomBuilder("11", signed=True)
    room.message(room.creator)
    event = room.join(BOB)
    assert len(pack_core(event)) * 10 < len(encode_canonical(event.raw))


def test_the_json_of_a_membership_is_not_kept_and_does_not_look_empty():
    room = RoomBuilder("11")
    raw = remade(room.join(BOB)).raw
    for read in (lambda: raw["content"], lambda: "content" in raw, lambda: len(raw), lambda: dict(raw)):
        with pytest.raises(NotKeptError):
            read()


def test_numbers_beyond_64_bits_of_the_early_room_versions_stay_exact():
    room = RoomBuilder("1")
    event = room.send("m.room.member", BOB, {"membership": "join"}, BOB)
    assert remade(event).depth == event.depth
    big = type(event)(**{name: getattr(event, name) for name in event.__slots__} | {"depth": 2**70 + 1})
    assert remade(big).depth == 2**70 + 1

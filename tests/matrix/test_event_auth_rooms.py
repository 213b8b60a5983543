"""Whole rooms, from the create event on: every event is signed, allowed by its auth events and by the state."""

import pytest
from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.event_auth import (
    AuthRejectionError,
    AuthRule,
    auth_state_keys,
    check_auth,
    check_auth_events,
    claimed_auth_event_ids,
)
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.matrix.room_versions import ROOM_VERSIONS, room_version
from partialstate_service.matrix.signatures import verify_event
from support.rooms import RoomBuilder, server_signing_key

ALICE, BOB, CAROL = "@alice:a.example", "@bob:b.example", "@carol:c.example"
SERVERS = [ServerName(f"{letter}.example") for letter in "abc"]
FAR_FUTURE = 2**52
KEYS = {
    server: ServerKeys(server, FAR_FUTURE, {(key := server_signing_key(server)).key_id: key.public}, {})
    for server in SERVERS
}


def lively_room(version: str) -> RoomBuilder:
    """Return a room in which most things happen that its version allows."""
    room = RoomBuilder(version, signed=True)
    users = {} if room.version.privileged_creators else {room.creator: 100}
    room.join(ALICE)
    room.join(BOB)
    room.power_levels({**users, ALICE: 50})
    room.message(BOB)
    room.join_rules("invite")
    room.invite(CAROL, BOB)
    room.join(CAROL)
    room.ban(CAROL, ALICE)
    room.kick(CAROL, ALICE)
    if room.version.restricted_joins:
        room.join_rules("restricted")
        room.join(CAROL, join_authorised_via_users_server=BOB)
        room.leave(CAROL)
    if room.version.knocking:
        room.join_rules("knock")
        room.member(CAROL, CAROL, "knock")
    room.power_levels({**users, ALICE: 50, BOB: 10}, ALICE, invite=20, events={"m.room.topic": 10})
    room.send("m.room.topic", BOB, {"topic": "cats"}, "")
    return room


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_a_lively_room_is_accepted(version: str) -> None:
    """Nothing in a room of well-behaved servers is rejected, and everything is validly signed."""
    room = lively_room(version)
    state: dict[StateKey, Event] = {}
    for event in room.events.values():
        assert verify_event(event, KEYS).is_valid
        claimed = [room.events[event_id] for event_id in claimed_auth_event_ids(event)]
        check_auth_events(event, room.auth_events(event), ())
        check_auth_events(event, claimed, ())
        check_auth(event, {(e.type, e.state_key or ""): e for e in claimed})
        check_auth(event, state)
        if event.state_key is not None:
            state[event.type, event.state_key] = event


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_only_the_named_state_is_read(version: str) -> None:
    """`auth_state_keys` names all that a check looks at, so a state may be fetched by it."""
    room = lively_room(version)
    state: dict[StateKey, Event] = {}
    for event in room.events.values():
        keys = auth_state_keys(event)
        assert len(set(keys)) == len(keys)
        check_auth(event, {key: state[key] for key in keys if key in state})
        if event.state_key is not None:
            state[event.type, event.state_key] = event


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_the_implied_create_event(version: str) -> None:
    """From version 12 the create event is claimed by the room id, before by being listed."""
    room = lively_room(version)
    create = room.current("m.room.create").event_id
    topic = room.current("m.room.topic")
    assert create in claimed_auth_event_ids(topic)
    assert (create in topic.auth_event_ids) is not room_version(version).room_ids_as_hashes
    assert claimed_auth_event_ids(room.current("m.room.create")) == ()


def test_a_rejection_says_rule_and_facts() -> None:
    """The text of a rejection is fit for a log line: the rule's name, then who and what."""
    room = lively_room("11")
    with pytest.raises(
        AuthRejectionError, match=r"^SENDER_JOINED: '@carol:c\.example' is not joined$"
    ) as rejection:
        check_auth(room.build("m.room.message", CAROL, {}), room.full_state)
    assert rejection.value.rule is AuthRule.SENDER_JOINED

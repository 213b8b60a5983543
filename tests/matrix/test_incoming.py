"""Events that arrive while the room's state is partial (MSC3902)."""

import pytest
from partialstate_service.matrix.auth_graph import MissingEventError
from partialstate_service.matrix.event import Event, StateMap
from partialstate_service.matrix.event_auth import AuthRejectionError, AuthRule
from partialstate_service.matrix.incoming import check_by_auth_events, check_incoming
from partialstate_service.matrix.room_versions import ROOM_VERSIONS
from support.rooms import RoomBuilder

BOB = "@bob:b.example"
MODERATOR = "@mod:m.example"


def partial(room: RoomBuilder) -> StateMap:
    """Return the room's state as a joining server may know it: of the memberships only the creator's."""
    return {
        key: event_id
        for key, event_id in room.state.items()
        if key[0] != "m.room.member" or key[1] == room.creator
    }


def rejection(event: Event, state: StateMap, room: RoomBuilder, *rejected: Event) -> AuthRule | None:
    """Return the rule that rejects the incoming event."""
    try:
        check_incoming(event, state, room.events, {other.event_id for other in rejected})
    except AuthRejectionError as error:
        return error.rule
    return None


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_a_member_that_the_partial_state_lacks_is_believed(version: str) -> None:
    """The sender's membership comes from the auth events."""
    room = RoomBuilder(version)
    room.join(BOB)
    state = partial(room)
    assert rejection(room.message(BOB), state, room) is None


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_a_known_ban_beats_an_old_membership(version: str) -> None:
    """Who is banned by the partial state cannot send by claiming the membership from before."""
    room = RoomBuilder(version)
    room.join(BOB)
    late = room.fork()
    ban = room.ban(BOB)
    state = {**partial(room), ("m.room.member", BOB): ban.event_id}
    assert rejection(late.message(BOB), state, room) is AuthRule.SENDER_JOINED


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_newer_power_levels_hold(version: str) -> None:
    """A level that the auth events give is not taken back by choosing them, once the partial state knows better."""
    room = RoomBuilder(version)
    room.join(MODERATOR)
    users = {} if room.version.privileged_creators else {room.creator: 100}
    room.power_levels({**users, MODERATOR: 50})
    late = room.fork()
    room.power_levels(users)
    topic = late.send("m.room.topic", MODERATOR, {"topic": "late"}, "")
    assert rejection(topic, partial(late), room) is None
    assert rejection(topic, partial(room), room) is AuthRule.REQUIRED_LEVEL


def test_the_auth_events_alone_must_allow_it() -> None:
    """Check 4 comes first: the state before the event does not make good for its auth events."""
    room = RoomBuilder("11")
    room.join(BOB)
    state = dict(room.state)
    create = room.current("m.room.create").event_id
    message = room.send("m.room.message", BOB, {}, auth=[create])
    assert rejection(message, state, room) is AuthRule.SENDER_JOINED


def test_a_rejected_auth_event_rejects() -> None:
    """An event may not rest on a rejected one."""
    room = RoomBuilder("11")
    join = room.join(BOB)
    assert rejection(room.message(BOB), partial(room), room, join) is AuthRule.AUTH_EVENTS_REJECTED


def test_a_rejected_membership_of_the_state_is_none() -> None:
    """What was rejected does not authorise, also where a state names it."""
    room = RoomBuilder("11", join_rule="invite")
    state = dict(room.state)
    intruder = room.join(BOB)
    state["m.room.member", BOB] = intruder.event_id
    message = room.build(
        "m.room.message", BOB, {}, auth=room.auth_event_ids(room.build("m.room.x", room.creator, {}))
    )
    assert rejection(message, state, room, intruder) in {
        AuthRule.AUTH_EVENTS_SELECTION,
        AuthRule.SENDER_JOINED,
    }


def test_an_unknown_auth_event_is_no_rejection() -> None:
    """What is missing is named, to be fetched."""
    room = RoomBuilder("11")
    join = room.join(BOB)
    message = room.message(BOB)
    del room.events[join.event_id]
    with pytest.raises(MissingEventError) as missing:
        check_by_auth_events(message, room.events)
    assert missing.value.event_id == join.event_id


def test_the_implied_create_event_is_needed_too() -> None:
    """From version 12 no event lists the create event, and none does without."""
    room = RoomBuilder("12")
    message = room.message(room.creator)
    create = room.current("m.room.create")
    del room.events[create.event_id]
    with pytest.raises(MissingEventError) as missing:
        check_by_auth_events(message, room.events)
    assert missing.value.event_id == create.event_id

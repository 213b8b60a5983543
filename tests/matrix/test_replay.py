"""Replay of a partial room's timeline: what is waited for, and in what form the outcome comes."""

import pytest
from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import StateKey
from partialstate_service.matrix.event_auth import AuthRule
from partialstate_service.matrix.room_versions import ROOM_VERSIONS
from support.partial_rooms import CHARLIE, DEREK, ELSIE, US, PartialRoom, accepted

ALL = list(ROOM_VERSIONS)


@pytest.mark.parametrize("version", ALL)
def test_events_wait_for_the_state_before_our_join(version: str) -> None:
    """Nothing is replayed before that state is there; then the join and what follows it."""
    room = PartialRoom(version)
    join = room.join()
    message = room.builder.message(DEREK)
    room.replay.add(message)
    assert room.replay.missing_prevs() == {room.before}
    assert room.advance() == {}
    assert room.replay.pending() == {join.event_id, message.event_id}
    assert accepted(room.recover()) == {join.event_id, message.event_id}
    assert room.replay.missing_prevs() == frozenset()
    assert room.replay.pending() == frozenset()
    assert room.replay.current_state() == room.builder.state
    assert room.replay.forward_extremities() == {message.event_id}


def test_an_event_in_the_timeline_is_waited_for_although_its_state_was_supplied() -> None:
    """Our own replay of an event counts more than what a server says of it."""
    room = PartialRoom()
    room.join()
    a = room.builder.send("m.room.topic", CHARLIE, {"topic": "A"}, "")
    b = room.builder.message(DEREK)
    room.held[a.event_id] = a
    room.replay.supply_state_after(a.event_id, room.state_before_join)
    room.replay.add(b)
    room.replay.add(a)
    assert room.advance() == {}
    room.recover()
    assert room.replay.state_before(b.event_id)["m.room.topic", ""] == a.event_id


def test_an_event_that_rests_on_a_rejected_one_is_rejected() -> None:
    """Also where the rejected one was rejected by this replay."""
    room = PartialRoom()
    room.join()
    builder = room.builder
    create, levels = builder.state["m.room.create", ""], builder.state["m.room.power_levels", ""]
    ban = builder.ban(US, DEREK)
    unban = builder.send(
        "m.room.member",
        CHARLIE,
        {"membership": "leave"},
        US,
        auth=[create, levels, builder.state["m.room.member", CHARLIE], ban.event_id],
    )
    room.replay.add(unban)
    room.replay.add(ban)
    outcomes = room.recover()
    rejection = outcomes[unban.event_id].rejection
    assert rejection is not None
    assert rejection.rule is AuthRule.AUTH_EVENTS_REJECTED


def test_a_rejected_event_is_no_end() -> None:
    """The events before a rejected one stay the ends, until an accepted one follows it."""
    room = PartialRoom()
    join = room.join()
    state = dict(room.builder.state)
    forbidden = room.builder.send("m.room.topic", DEREK, {"topic": "mine"}, "")
    room.replay.add(forbidden)
    room.recover()
    assert room.replay.forward_extremities() == {join.event_id}
    message = room.builder.send("m.room.message", DEREK, {}, state=state)
    room.replay.add(message)
    room.advance()
    assert room.replay.forward_extremities() == {message.event_id}


def test_repeating_is_a_no_op() -> None:
    """An event is added, supplied and replayed once."""
    room = PartialRoom()
    join = room.join()
    room.replay.add(join)
    assert set(room.recover()) == {join.event_id}
    room.replay.add(join)
    assert room.recover() == {}


def test_the_states_come_as_deltas_to_the_state_before_an_earlier_event() -> None:
    """The first state is given whole, the next ones by what differs."""
    room = PartialRoom()
    join = room.join()
    topic = room.builder.send("m.room.topic", CHARLIE, {"topic": "t"}, "")
    message = room.builder.message(DEREK)
    for event in (message, topic):
        room.replay.add(event)
    outcomes = room.recover()
    whole = outcomes[join.event_id]
    assert (whole.base_event_id, whole.added, whole.removed) == (None, room.state_before_join, frozenset())
    before_topic, before_message = outcomes[topic.event_id], outcomes[message.event_id]
    assert before_topic.base_event_id == join.event_id
    assert before_topic.added == {("m.room.member", US): join.event_id}
    assert before_message.base_event_id == topic.event_id
    assert before_message.added == {("m.room.topic", ""): topic.event_id}


def test_missing_auth_events_are_waited_for() -> None:
    """An event whose auth chain is not held waits, and is replayed when it is; others go on."""
    room = PartialRoom()
    join = room.join()
    old = room.builder.current("m.room.member", DEREK)
    del room.held[old.event_id]
    message, other = room.builder.message(DEREK), room.builder.message(CHARLIE)
    state: dict[StateKey, EventId] = {
        key: event_id for key, event_id in room.state_before_join.items() if event_id != old.event_id
    }
    room.replay.add(message)
    room.replay.add(other)
    room.replay.supply_state_after(room.before, state)
    assert set(room.advance()) == {join.event_id}
    assert room.replay.missing_auth_events() == {old.event_id}
    assert room.advance() == {}
    room.held[old.event_id] = old
    assert room.replay.missing_auth_events() == frozenset()
    outcomes = room.advance()
    assert set(outcomes) == {message.event_id, other.event_id}
    assert outcomes[other.event_id].rejection is None


def test_renounced_auth_events_reject_what_rests_on_them() -> None:
    """What no server has cannot authorise anything."""
    room = PartialRoom()
    room.join()
    message = room.builder.message(ELSIE)
    room.replay.add(message)
    unknown = room.builder.build("m.room.message", DEREK, {}, auth=[EventId("$unknown")])
    room.replay.add(unknown)
    room.recover()
    assert room.replay.missing_auth_events() == {"$unknown"}
    room.replay.renounce_auth_chain(unknown.event_id, EventId("$unknown"))
    assert room.replay.missing_auth_events() == frozenset()
    rejection = room.advance()[unknown.event_id].rejection
    assert rejection is not None
    assert "$unknown" in rejection.text


def test_nothing_is_replayed_on_a_state_whose_events_are_not_held() -> None:
    """The auth chains of a supplied state have to be complete, and what they lack is told."""
    room = PartialRoom()
    room.join()
    create = room.builder.state["m.room.create", ""]
    del room.held[create]
    assert room.recover() == {}
    assert room.replay.missing_auth_events() == {create}


@pytest.mark.parametrize("version", ["1", "2"])
def test_events_on_a_circle_are_rejected(version: str) -> None:
    """Events that name their own ids can cite each other; they must not hold up the room for ever."""
    room = PartialRoom(version)
    join = room.join()
    builder = room.builder
    one, two = EventId("$one:x.example"), EventId("$two:x.example")
    state = dict(builder.state)
    first = builder.build(
        "m.room.topic", CHARLIE, {"topic": "1"}, "", prev=[two, join.event_id], event_id=one
    )
    second = builder.build("m.room.topic", CHARLIE, {"topic": "2"}, "", prev=[one], event_id=two)
    behind = builder.build("m.room.message", DEREK, {}, prev=[two])
    for event in (behind, second, first):
        room.replay.add(event)
    outcomes = room.recover()
    assert set(outcomes) == {join.event_id, one, two, behind.event_id}
    # What follows nothing but a forgery follows no state at all.
    assert accepted(outcomes) == {join.event_id}
    assert room.replay.pending() == frozenset()
    assert room.replay.current_state() == state


def test_an_abandoned_advance_is_taken_up_again() -> None:
    """A caller may stop in the middle; nothing is lost and nothing repeated."""
    room = PartialRoom()
    join = room.join()
    message = room.builder.message(DEREK)
    unknown = room.builder.build("m.room.message", DEREK, {}, auth=[EventId("$unknown")])
    for event in (unknown, message):
        room.replay.add(event)
    room.replay.supply_state_after(room.before, room.state_before_join)
    steps = room.replay.advance()
    assert next(steps).event_id == join.event_id
    steps.close()  # type: ignore[attr-defined]  # it is a generator
    assert set(room.advance()) == {message.event_id}
    room.replay.renounce_auth_chain(unknown.event_id, EventId("$unknown"))
    assert set(room.advance()) == {unknown.event_id}

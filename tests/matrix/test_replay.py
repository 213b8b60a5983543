"""Replay of a partial room's timeline: which state, which verdict, and what is waited for.

The decisive scenarios are those of Complement's tests of partial joins (protocol of faster joins, MSC3902), rebuilt.
"""

import pytest
from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.event_auth import AuthRule
from partialstate_service.matrix.replay import MissingEventError, Replay, Replayed
from partialstate_service.matrix.room_versions import ROOM_VERSIONS
from support.rooms import RoomBuilder

CHARLIE, DEREK, ELSIE = "@charlie:c.example", "@derek:d.example", "@elsie:e.example"
US = "@us:our.example"
ALL = list(ROOM_VERSIONS)


class PartialRoom:
    """A room that we joined partially: what was before our join, and what came after it."""

    def __init__(self, version: str = "10", levels: dict[str, int] | None = None) -> None:
        self.builder = RoomBuilder(version, creator=CHARLIE)
        self.builder.join(DEREK)
        creators = {} if self.builder.version.privileged_creators else {CHARLIE: 100}
        self.builder.power_levels({**creators, **(levels or {})})

    def join(self) -> Event:
        """Let us join; the replay begins with what is held at that time."""
        before = self.builder.head
        assert before is not None
        self.before = before
        self.state_before_join = dict(self.builder.state)
        self.held = dict(self.builder.events)
        our_join = self.builder.join(US)
        self.replay = Replay(self.builder.version, self.held, frozenset())
        self.replay.add(our_join)
        return our_join

    def advance(self) -> dict[EventId, Replayed]:
        """Replay what can be."""
        return {replayed.event_id: replayed for replayed in self.replay.advance()}

    def recover(self) -> dict[EventId, Replayed]:
        """Supply the state before our join, as a resync does, and replay."""
        self.replay.supply_state_after(self.before, self.state_before_join)
        return self.advance()


def accepted(outcomes: dict[EventId, Replayed]) -> set[EventId]:
    return {event_id for event_id, outcome in outcomes.items() if outcome.rejection is None}


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


def test_missing_parents() -> None:
    """M ← A ← B: B arrived first, A was fetched; A is no reason to ask for a state."""
    room = PartialRoom()
    room.join()
    a = room.builder.send("m.room.topic", CHARLIE, {"topic": "A"}, "")
    b = room.builder.message(DEREK)
    room.replay.add(b)
    assert room.replay.missing_prevs() == {room.before, a.event_id}
    room.replay.add(a)
    assert room.replay.missing_prevs() == {room.before}
    room.recover()
    assert room.replay.state_before(b.event_id)["m.room.topic", ""] == a.event_id


def test_half_missing_parents() -> None:
    """B follows A and our join; A was fetched. The state before B is that after both."""
    room = PartialRoom()
    join = room.join()
    side = room.builder.fork()
    a = side.send("m.room.topic", CHARLIE, {"topic": "A"}, "")
    b = room.builder.send("m.room.message", DEREK, {}, prev=[a.event_id, join.event_id], state=side.state)
    room.replay.add(b)
    room.replay.add(a)
    room.recover()
    assert room.replay.state_before(b.event_id) == side.state


def test_half_missing_grandparents() -> None:
    """M ← A ← B ← C, B also cites M; A stays missing, so the state after A has to be supplied."""
    room = PartialRoom()
    join = room.join()
    builder = room.builder
    a = builder.send("m.room.topic", CHARLIE, {"topic": "A"}, "")
    after_a = dict(builder.state)
    b = builder.send("m.room.message", DEREK, {"body": "B"}, prev=[a.event_id, join.event_id])
    c = builder.message(DEREK, "C")
    room.replay.add(c)
    room.replay.add(b)
    assert room.replay.missing_prevs() == {room.before, a.event_id}
    assert set(room.recover()) == {join.event_id}
    # The state after A may come with events that are in the timeline, as our join is here.
    assert room.replay.missing_prevs() == {a.event_id}
    room.held[a.event_id] = a
    room.replay.supply_state_after(a.event_id, after_a)
    assert set(room.advance()) == {b.event_id, c.event_id}
    assert room.replay.state_before(c.event_id)["m.room.topic", ""] == a.event_id
    assert room.replay.current_state() == after_a


def test_events_that_arrive_before_their_prev_events() -> None:
    """Complement 1497: T follows 100 state events that come later; their order of arrival does not matter."""
    room = PartialRoom()
    join = room.join()
    builder = room.builder
    late = builder.message(DEREK, "late")
    chain = [builder.send("org.example.o", CHARLIE, {"n": n}, str(n)) for n in range(100)]
    after_chain = dict(builder.state)
    t1, t2 = builder.message(DEREK, "T1"), builder.message(DEREK, "T2")
    room.replay.add(t2)
    room.replay.add(t1)
    assert room.replay.missing_prevs() == {room.before, chain[-1].event_id}
    room.held.update({event.event_id: event for event in chain})
    room.replay.supply_state_after(chain[-1].event_id, after_chain)
    assert set(room.advance()) == {t1.event_id, t2.event_id}
    for event in [late, *reversed(chain)]:
        room.replay.add(event)
    assert room.replay.missing_prevs() == {room.before}
    assert set(room.recover()) == {join.event_id, late.event_id, *(event.event_id for event in chain)}
    assert room.replay.pending() == frozenset()
    assert room.replay.state_after(chain[-1].event_id) == after_chain
    assert room.replay.current_state() == after_chain


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


def test_rejected_events_remain_rejected() -> None:
    """Complement 1611: a state event without the power for it is not in the state, what follows it is accepted."""
    room = PartialRoom()
    room.join()
    before = dict(room.builder.state)
    forbidden = room.builder.send("m.room.topic", DEREK, {"topic": "mine"}, "")
    room.builder.state = before
    message = room.builder.message(DEREK)
    room.replay.add(forbidden)
    room.replay.add(message)
    outcomes = room.recover()
    rejection = outcomes[forbidden.event_id].rejection
    assert rejection is not None
    assert rejection.rule is AuthRule.REQUIRED_LEVEL
    assert room.replay.rejection(forbidden.event_id) is rejection
    assert message.event_id in accepted(outcomes)
    assert room.replay.current_state() == before


def test_state_accepted_incorrectly() -> None:
    """Complement 1682: Derek left before our join; citing his old join does not help him once that is known."""
    room = PartialRoom(levels={DEREK: 50})
    join_of_derek = room.builder.current("m.room.member", DEREK)
    room.builder.leave(DEREK)
    room.join()
    state = room.builder.state
    cited = [state["m.room.create", ""], state["m.room.power_levels", ""], join_of_derek.event_id]
    topic = room.builder.send("m.room.topic", DEREK, {"topic": "mine"}, "", auth=cited)
    room.replay.add(topic)
    outcome = room.recover()[topic.event_id]
    assert outcome.rejection is not None
    assert outcome.rejection.rule is AuthRule.SENDER_JOINED
    assert ("m.room.topic", "") not in room.replay.current_state()


def test_state_rejected_incorrectly() -> None:
    """Complement 1762: Derek, who has left, kicks Elsie; with full state the kick fails and her event stands."""
    room = PartialRoom(levels={DEREK: 100, ELSIE: 50})
    builder = room.builder
    join_of_derek = builder.current("m.room.member", DEREK)
    elsie = builder.join(ELSIE)
    builder.leave(DEREK)
    room.join()
    state = dict(builder.state)
    create, levels = state["m.room.create", ""], state["m.room.power_levels", ""]
    kick = builder.send(
        "m.room.member",
        DEREK,
        {"membership": "leave"},
        ELSIE,
        auth=[create, levels, join_of_derek.event_id, elsie.event_id],
    )
    topic = builder.send("m.room.topic", ELSIE, {"topic": "hers"}, "", auth=[create, levels, elsie.event_id])
    room.replay.add(kick)
    room.replay.add(topic)
    outcomes = room.recover()
    assert outcomes[kick.event_id].rejection is not None
    assert outcomes[topic.event_id].rejection is None
    assert room.replay.current_state() == {**state, ("m.room.topic", ""): topic.event_id}


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


def test_forks_and_merges() -> None:
    """Two branches from our join that go on apart: the current state is the resolution over both ends."""
    room = PartialRoom()
    room.join()
    other = room.builder.fork()
    ban = room.builder.ban(DEREK, CHARLIE)
    rename = other.join(DEREK, displayname="D.")
    room.replay.add(rename)
    room.replay.add(ban)
    room.recover()
    assert room.replay.forward_extremities() == {ban.event_id, rename.event_id}
    assert room.replay.current_state()["m.room.member", DEREK] == ban.event_id
    merge = room.builder.send("m.room.message", CHARLIE, {}, prev=[ban.event_id, rename.event_id])
    room.replay.add(merge)
    room.advance()
    assert room.replay.forward_extremities() == {merge.event_id}
    assert room.replay.state_before(merge.event_id)["m.room.member", DEREK] == ban.event_id


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


def test_a_rejected_join_is_the_end_where_there_is_no_other() -> None:
    """The room had been closed to us: the current state is that before our join."""
    room = PartialRoom()
    room.builder.join_rules("invite", CHARLIE)
    join = room.join()
    outcomes = room.recover()
    assert outcomes[join.event_id].rejection is not None
    assert room.replay.forward_extremities() == {join.event_id}
    assert room.replay.current_state() == room.state_before_join


def test_several_joins() -> None:
    """A second partial join while the first is being resynchronised, on another branch of the room."""
    room = PartialRoom()
    first = room.join()
    builder = room.builder
    elsewhere = builder.fork()
    elsewhere.state, elsewhere.head = dict(room.state_before_join), room.before
    topic = elsewhere.send("m.room.topic", CHARLIE, {"topic": "elsewhere"}, "")
    after_topic = dict(elsewhere.state)
    second = elsewhere.join("@second:our.example")
    room.replay.add(second)
    assert room.replay.missing_prevs() == {room.before, topic.event_id}
    room.held[topic.event_id] = topic
    room.replay.supply_state_after(topic.event_id, after_topic)
    assert accepted(room.recover()) == {second.event_id, first.event_id}
    current = room.replay.current_state()
    assert current["m.room.member", US] == first.event_id
    assert current["m.room.member", "@second:our.example"] == second.event_id
    assert current["m.room.topic", ""] == topic.event_id


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
    room.replay.renounce_auth_events([EventId("$unknown")])
    assert room.replay.missing_auth_events() == frozenset()
    rejection = room.advance()[unknown.event_id].rejection
    assert rejection is not None
    assert "$unknown" in rejection.text


def test_a_state_whose_events_are_not_held_is_refused() -> None:
    """The auth chains of a supplied state have to be complete."""
    room = PartialRoom()
    room.join()
    create = room.builder.state["m.room.create", ""]
    del room.held[create]
    with pytest.raises(MissingEventError):
        room.replay.supply_state_after(room.before, room.state_before_join)
    assert room.replay.missing_prevs() == {room.before}


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
    room.replay.renounce_auth_events([EventId("$unknown")])
    assert set(room.advance()) == {unknown.event_id}

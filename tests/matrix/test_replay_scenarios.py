"""Scenarios of partial rooms: which state and which verdict come out.

The decisive ones are those of Complement's tests of partial joins (MSC3902), rebuilt.
"""

from partialstate_service.matrix.event_auth import AuthRule
from support.partial_rooms import CHARLIE, DEREK, ELSIE, US, PartialRoom, accepted


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

"""What holds for the replay of any room, whatever the order in which its events arrive."""

from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event, StateKey, StateMap
from partialstate_service.matrix.replay import Replay, Replayed
from partialstate_service.matrix.room_versions import ROOM_VERSIONS
from support.random_rooms import RandomRoom, random_room

rooms = st.builds(
    lambda version, seed: random_room(version, seed, size=30, users=6, branches=4),
    st.sampled_from(list(ROOM_VERSIONS)),
    st.integers(0, 2**32),
)


def replay_of(room: RandomRoom, events: Sequence[Event], *, held: Sequence[Event] = ()) -> Replay:
    """Return a replay to which *events* were added in this order."""
    everything = {event.event_id: event for event in [*room.outliers, *held]}
    replay = Replay(ROOM_VERSIONS[room.version], everything, frozenset())
    for event in events:
        replay.add(event)
    return replay


def verdicts(outcomes: dict[EventId, Replayed]) -> dict[EventId, str]:
    return {event_id: str(outcome.rejection) for event_id, outcome in outcomes.items()}


@settings(max_examples=60, deadline=None)
@given(rooms, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(room: RandomRoom, rng: Random) -> None:
    """Verdicts, states before events and the current state are the same for any order."""
    shuffled = rng.sample(room.events, len(room.events))
    replay = replay_of(room, shuffled)
    outcomes = {outcome.event_id: outcome for outcome in replay.advance()}
    assert verdicts(outcomes) == verdicts(room.outcomes)
    for event in room.events:
        assert replay.state_before(event.event_id) == room.replay.state_before(event.event_id)
    assert replay.forward_extremities() == room.replay.forward_extremities()
    assert replay.current_state() == room.replay.current_state()


@settings(max_examples=40, deadline=None)
@given(rooms, st.randoms(use_true_random=False))
def test_advancing_between_arrivals_does_not_matter(room: RandomRoom, rng: Random) -> None:
    """What is replayed early is replayed right: prev events and auth events that are still to come are waited for."""
    replay = replay_of(room, [])
    outcomes: dict[EventId, Replayed] = {}
    for event in rng.sample(room.events, len(room.events)):
        replay.add(event)
        for outcome in replay.advance():
            assert outcome.event_id not in outcomes
            outcomes[outcome.event_id] = outcome
    assert replay.pending() == frozenset()
    assert verdicts(outcomes) == verdicts(room.outcomes)


@settings(max_examples=40, deadline=None)
@given(rooms)
def test_the_deltas_add_up_to_the_states(room: RandomRoom) -> None:
    """Who reads the outcomes in order knows the state before every event."""
    states: dict[EventId, dict[StateKey, EventId]] = {}
    for event_id, outcome in room.outcomes.items():
        base = {} if outcome.base_event_id is None else states[outcome.base_event_id]
        assert outcome.removed <= base.keys()
        state = {key: value for key, value in base.items() if key not in outcome.removed}
        states[event_id] = {**state, **outcome.added}
        assert states[event_id] == room.replay.state_before(event_id)


@settings(max_examples=40, deadline=None)
@given(rooms, st.integers(10, 25))
def test_a_supplied_past_is_as_good_as_a_replayed_one(room: RandomRoom, cut: int) -> None:
    """With the states after missing prev events supplied, the rest of the room comes out as in the whole replay."""
    past, timeline = room.events[:cut], room.events[cut:]
    rejected_past = {event.event_id for event in past if room.outcomes[event.event_id].rejection}
    held = {event.event_id: event for event in [*room.outliers, *past]}
    replay = Replay(ROOM_VERSIONS[room.version], held, rejected_past)
    for event in reversed(timeline):
        replay.add(event)
    for prev in replay.missing_prevs():
        replay.supply_state_after(prev, dict(room.replay.state_after(prev)))
    outcomes = {outcome.event_id: outcome for outcome in replay.advance()}
    expected = {event.event_id: str(room.outcomes[event.event_id].rejection) for event in timeline}
    assert verdicts(outcomes) == expected
    for event in timeline:
        assert replay.state_before(event.event_id) == room.replay.state_before(event.event_id)


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_the_states_are_those_of_the_definition(version: str) -> None:
    """The state before an event is its one prev event's state, with that event's own effect unless it is rejected."""
    room = random_room(version, 7, size=60)
    for event, (prev, before) in _with_one_prev(room):
        expected = dict(room.replay.state_before(prev.event_id))
        if prev.state_key is not None and room.outcomes[prev.event_id].rejection is None:
            expected[prev.type, prev.state_key] = prev.event_id
        assert before == expected, event.event_id


def _with_one_prev(room: RandomRoom) -> Iterator[tuple[Event, tuple[Event, StateMap]]]:
    by_id = {event.event_id: event for event in room.events}
    for event in room.events:
        if len(event.prev_event_ids) == 1:
            yield event, (by_id[event.prev_event_ids[0]], room.replay.state_before(event.event_id))

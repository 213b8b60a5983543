"""Questions about auth chains have the same answer by index and by walk."""

from random import Random

import pytest
from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.auth_graph import (
    ClosureCheck,
    CommonState,
    ForwardAuthGraph,
    IndexedAuthGraph,
    MissingEventError,
    auth_chain,
    held,
)
from support.random_rooms import random_room
from support.rooms import RoomBuilder


@pytest.mark.parametrize("seed", range(20))
def test_the_index_answers_as_the_walk(seed: int) -> None:
    """For random candidates of random rooms, with some of the state hidden."""
    room = random_room("10", seed, size=40)
    rng = Random(seed)
    events = {event.event_id: event for event in [*room.outliers, *room.events]}
    state = room.replay.current_state()
    common = CommonState(state, frozenset(rng.sample(sorted(state), len(state) // 2)))
    candidates = frozenset(rng.sample(sorted(events), 30))
    index = IndexedAuthGraph(events)
    index.include(state.values())
    by_walk = ForwardAuthGraph(events).in_auth_chain_of(common, candidates)
    assert index.in_auth_chain_of(common, candidates) == by_walk
    assert by_walk == candidates & auth_chain(events, common)


def test_a_closure_has_gaps_until_all_is_held() -> None:
    """What the auth chain lacks is named, also where it is only cited by an auth event."""
    room = RoomBuilder("10")
    topic = room.send("m.room.topic", room.creator, {"topic": "t"}, "")
    create = room.current("m.room.create")
    events = dict(room.events)
    del events[create.event_id]
    closure = ClosureCheck(events)
    assert closure.gaps(topic) == {create.event_id}
    events[create.event_id] = create
    assert closure.gaps(topic) == set()


def test_the_create_event_that_a_room_id_implies_is_part_of_the_closure() -> None:
    """Room version 12 lists it nowhere."""
    room = RoomBuilder("12")
    events = dict(room.events)
    del events[room.state["m.room.create", ""]]
    assert ClosureCheck(events).gaps(room.message(room.creator)) == {room.state["m.room.create", ""]}


def test_an_event_that_is_not_held_is_named() -> None:
    """The error says which one is missing."""
    with pytest.raises(MissingEventError, match=r"\$gone") as caught:
        held({}, EventId("$gone"))
    assert caught.value.event_id == "$gone"

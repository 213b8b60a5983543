"""The shared state behaves as a dict, and its differences cost what differs."""

from hypothesis import given
from hypothesis import strategies as st
from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import StateKey
from partialstate_service.matrix.shared_state import SharedState, StateBuilder, differing_keys

keys = st.tuples(st.sampled_from(["m.room.member", "m.room.topic"]), st.sampled_from("abcdefgh"))
ids = st.sampled_from(["$1", "$2", "$3"]).map(EventId)
states = st.dictionaries(keys, ids)
changes = st.lists(st.dictionaries(keys, st.none() | ids), max_size=5)


def changed(
    state: dict[StateKey, EventId], change: dict[StateKey, EventId | None]
) -> dict[StateKey, EventId]:
    return {key: value for key, value in {**state, **change}.items() if value is not None}


@given(states, changes)
def test_it_is_what_a_dict_is(
    start: dict[StateKey, EventId], steps: list[dict[StateKey, EventId | None]]
) -> None:
    """Any changes make the same entries as they make of a dict, and leave the older state as it was."""
    model, shared = start, SharedState.of(start)
    for step in steps:
        older, older_model = shared, model
        model, shared = changed(model, step), shared.with_changes(step)
        assert older == older_model
        assert (dict(shared), len(shared), set(shared)) == (model, len(model), set(model))
        assert shared.to_dict() == dict(shared.items()) == model
        assert all(shared.get(key) == model.get(key) for key in {*model, *older_model})
        assert shared == model
        assert shared == SharedState.of(model)
        assert (shared == older) == (model == older_model)


@given(states, states)
def test_differing_keys_are_those_of_unequal_entries(
    left: dict[StateKey, EventId], right: dict[StateKey, EventId]
) -> None:
    """Whatever the kinds of the two states, an absent entry differs from a present one."""
    expected = {key for key in left | right if left.get(key) != right.get(key)}
    kinds = [(left, right), (SharedState.of(left), right), (left, SharedState.of(right))]
    for one, other in [*kinds, (SharedState.of(left), SharedState.of(right))]:
        assert differing_keys(one, other) == expected


def test_a_change_shares_all_but_one_path() -> None:
    """A thousand versions of a state of 5,000 entries take the room of a few copies of it."""
    members = {("m.room.member", f"@{n}:a.example"): EventId(f"${n}") for n in range(5_000)}
    state = SharedState.of(members)
    other = state.with_changes({("m.room.member", "@7:a.example"): EventId("$new")})
    assert sum(1 for _ in state._unlike_buckets(other)) == 1
    assert state.differing_keys(other) == {("m.room.member", "@7:a.example")}


def test_no_change_is_the_same_state() -> None:
    """Nothing is copied where nothing changes."""
    state = SharedState.of({("m.room.topic", ""): EventId("$1")})
    assert state.with_changes({}) is state
    assert SharedState.of(state) is state


def test_removing_what_is_not_there_changes_nothing() -> None:
    """An absent entry can be removed again."""
    assert SharedState().with_changes({("m.room.topic", ""): None}) == {}


@given(states, states)
def test_what_is_built_is_what_was_added_first(
    one: dict[StateKey, EventId], other: dict[StateKey, EventId]
) -> None:
    """An entry that is there already stays, and is told."""
    building = StateBuilder()
    for entries in (one, other):
        for key, event_id in entries.items():
            assert building.add(key, event_id) == one.get(key, event_id)
    built = building.state()
    assert built == {**other, **one}
    assert len(built) == len({**other, **one})
    assert SharedState.of(one).differing_keys(built) == other.keys() - one.keys()

"""States are put together from deltas, whatever they are cut into."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partialstate import (
    CurrentState,
    EventVerdict,
    LogEnd,
    RecoveredStates,
    StateBefore,
    StateEntry,
)

SLOTS = st.tuples(st.sampled_from(["m.room.member", "m.room.name"]), st.sampled_from(["", "@a:b", "@c:d"]))
DELTAS = st.dictionaries(SLOTS, st.sampled_from(["$1", "$2", "$3", ""]), max_size=6)


def entries(delta: dict) -> tuple[StateEntry, ...]:
    return tuple(StateEntry(kind, key, event_id) for (kind, key), event_id in delta.items())


def applied(state: dict, delta: dict) -> dict:
    merged = state | delta
    return {slot: event_id for slot, event_id in merged.items() if event_id}


def cut(delta: dict, at: int, make) -> list:
    """The records of a delta, cut in two."""
    whole = entries(delta)
    return [make(whole[:at], False), make(whole[at:], True)]


@given(
    st.lists(st.tuples(DELTAS, st.integers(-1, 3), st.integers(0, 6)), min_size=1, max_size=6), DELTAS, DELTAS
)
def test_states_are_their_bases_with_their_deltas(befores, first, further):
    states, expected = RecoveredStates(), []
    for number, (delta, base, at) in enumerate(befores):
        base_id = f"$e{base}" if 0 <= base < number else ""
        for record in cut(
            delta,
            at,
            lambda part, last, n=number, b=base_id: StateBefore(n, f"$e{n}", b, part, complete=last),
        ):
            states.add(record)
        expected.append(applied(expected[base] if base_id else {}, delta))
    assert [states.state_before(f"$e{number}") for number in range(len(befores))] == expected
    states.add(CurrentState(9, "$e0", entries(first), complete=True))
    assert states.current_state() == applied(expected[0], first)
    states.add(CurrentState(10, "", entries(further), complete=True))
    assert states.current_state() == applied(applied(expected[0], first), further)


def test_a_later_record_replaces_a_state_but_not_those_built_on_it():
    states = RecoveredStates()
    states.add(StateBefore(1, "$a", "", (StateEntry("t", "", "$1"),), complete=True))
    states.add(StateBefore(2, "$b", "$a", (), complete=True))
    states.add(StateBefore(3, "$a", "", (StateEntry("t", "", "$2"),), complete=True))
    assert states.state_before("$a") == {("t", ""): "$2"}
    assert states.state_before("$b") == {("t", ""): "$1"}


def test_other_records_tell_of_no_state():
    states = RecoveredStates()
    states.add(EventVerdict(1, "$e", accepted=True, flipped=False, rejection=""))
    states.add(LogEnd(1, 3, complete=True, event_count=0, verdict_count=1))
    assert states.current_state() == {}


def test_a_log_that_was_not_read_from_its_beginning_is_refused():
    states = RecoveredStates()
    with pytest.raises(LookupError, match="from its beginning"):
        states.add(StateBefore(7, "$b", "$a", (), complete=True))
    with pytest.raises(LookupError):
        states.add(CurrentState(8, "$a", (), complete=True))
    with pytest.raises(LookupError):
        states.state_before("$b")

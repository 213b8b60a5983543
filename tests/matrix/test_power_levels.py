"""Reading power levels, tolerantly where rooms need it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partialstate_service.matrix.event_auth import AuthRejectionError, AuthRule
from partialstate_service.matrix.power_levels import CREATOR_LEVEL, PowerLevels, power_levels, read_level
from support.rooms import CREATOR, RoomBuilder

ALICE = "@alice:a.example"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def levels_of(room: RoomBuilder, *, with_event: bool = True) -> PowerLevels:
    """Return the levels in force in the room, or what they would be without a power levels event."""
    return PowerLevels(
        room.current("m.room.create"), room.current("m.room.power_levels") if with_event else None
    )


@given(json_values)
def test_a_level_is_an_integer_or_a_rejection(value: object) -> None:
    """No value does anything else than read as an integer, or reject."""
    try:
        assert type(read_level(value)) is int
    except AuthRejectionError as rejection:
        assert rejection.rule is AuthRule.POWER_LEVEL_READABLE  # noqa: PT017 - a level or this


@given(st.integers())
def test_an_integer_is_itself(value: int) -> None:
    """Integers, and their usual spelling, are what they say."""
    assert read_level(value) == read_level(str(value)) == value


def test_a_text_too_long_for_an_integer_is_no_level() -> None:
    """A hostile text costs no quadratic time."""
    with pytest.raises(AuthRejectionError):
        read_level("9" * 60_000)


def test_without_an_event_only_the_creator_has_power() -> None:
    """The defaults are those of a room whose power levels say nothing, and 100 for the creator."""
    levels = levels_of(RoomBuilder("11"), with_event=False)
    assert levels.user_level(CREATOR) == 100
    assert levels.user_level(ALICE) == 0
    assert [levels.level(name) for name in ("ban", "kick", "redact", "invite")] == [50, 50, 50, 0]
    assert levels.required_level("m.room.topic", is_state=True) == 50
    assert levels.required_level("m.room.message", is_state=False) == 0


def test_a_creator_is_above_every_level() -> None:
    """From version 12 no integer of canonical JSON reaches the creators, with and without an event."""
    room = RoomBuilder("12", create_content={"additional_creators": [ALICE]})
    for with_event in (True, False):
        levels = levels_of(room, with_event=with_event)
        assert levels.user_level(CREATOR) == levels.user_level(ALICE) == CREATOR_LEVEL > 2**53 - 1
        assert levels.user_level("@bob:b.example") == 0


def test_levels_are_read_once_per_power_levels_event() -> None:
    """Authorising many events by the same power levels makes one object."""
    room = RoomBuilder("11")
    create, event = room.current("m.room.create"), room.current("m.room.power_levels")
    assert power_levels(create, event) is power_levels(create, event)
    assert power_levels(create, None) is not power_levels(create, event)

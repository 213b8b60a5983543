"""Event auth and state resolution are Synapse's: random rooms of every version, event by event.

Every event's verdict, the state before every event with several prev events, and the current state are compared. What
the rooms exercise is counted, so that agreement means something.
"""

from collections import Counter
from collections.abc import Callable

import pytest
from partialstate_service.matrix.event_auth import AuthRule
from partialstate_service.matrix.room_versions import ROOM_VERSIONS
from support.judge import Judge, synapse_python
from support.random_rooms import RandomRoom, random_room

SMALL_ROOMS_PER_VERSION = 42
LARGE_ROOMS_PER_VERSION = 3
VERSIONS = list(ROOM_VERSIONS)
# Synapse does not even parse such an event, so it can have no verdict on it.
NOT_JUDGED = {AuthRule.CREATE_ROOM_ID_ABSENT}
# Synapse cannot resolve some states at all: those with a first power levels event that holds what is no number.
MOST_STUCK = 0.02
BY_CHANCE = 2

PYTHON = synapse_python()
judged = [
    pytest.mark.interop,
    pytest.mark.skipif(PYTHON is None, reason="no Synapse here: `make interop-env`"),
]


def small_room(version: str, seed: int) -> RandomRoom:
    return random_room(version, seed, size=60, users=10, branches=6)


def large_room(version: str, seed: int) -> RandomRoom:
    return random_room(version, seed, size=400, users=40, branches=8)


@pytest.mark.parametrize("version", VERSIONS)
class TestJudgedRooms:
    pytestmark = judged

    def test_small_rooms_are_judged_alike(self, version: str) -> None:
        """Forks and merges of 60 events, most of them with a conflict."""
        check_rooms([small_room(version, seed) for seed in range(SMALL_ROOMS_PER_VERSION)])

    def test_large_rooms_are_judged_alike(self, version: str) -> None:
        """400 events of 40 users on up to 8 branches."""
        check_rooms([large_room(version, seed) for seed in range(LARGE_ROOMS_PER_VERSION)])

    @pytest.mark.long
    @pytest.mark.parametrize("batch", range(20))
    def test_thousands_of_rooms_are_judged_alike(self, version: str, batch: int) -> None:
        """20 batches of 20 rooms of 250 events, per version."""
        seeds = range(1_000 + 20 * batch, 1_020 + 20 * batch)
        check_rooms([random_room(version, seed, size=250, users=20, branches=8) for seed in seeds])


def test_the_rooms_exercise_every_rule(record_property: Callable[[str, object], None]) -> None:
    """The small rooms that are judged: enough rejections by every rule, and enough conflicts."""
    rules: Counter[AuthRule] = Counter()
    rooms = events = conflicted = 0
    for version in VERSIONS:
        for seed in range(SMALL_ROOMS_PER_VERSION):
            room = small_room(version, seed)
            rules.update(room.rejections)
            rooms, events, conflicted = (
                rooms + 1,
                events + len(room.events),
                conflicted + bool(room.conflicts),
            )
    rejected = rules.total() / events
    counts = [f"{count:6} {rule.name}" for rule, count in rules.most_common()]
    summary = (
        f"{rooms} rooms, {events} events, {rejected:.0%} rejected, {conflicted / rooms:.0%} with a conflict"
    )
    record_property("figures", "\n".join([summary, *counts]))
    assert rooms >= 500
    assert rejected >= 0.2
    assert conflicted / rooms >= 0.3
    assert [rule.name for rule in AuthRule if rules[rule] < 20 and rule not in NOT_JUDGED] == []


def check_rooms(rooms: list[RandomRoom]) -> None:
    """Have *rooms* judged, and fail with the first differences."""
    assert PYTHON is not None
    with Judge(PYTHON) as judge:
        differences = [difference for room in rooms for difference in judge.differences(room)]
    assert differences[:5] == []
    assert len(judge.stuck) <= BY_CHANCE + MOST_STUCK * len(rooms), judge.stuck

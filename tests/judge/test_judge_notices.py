"""The judge's agreement means something: each way to get state resolution wrong is noticed in a few rooms."""

from collections.abc import Callable

import pytest
from partialstate_service.matrix import power_ordering, state_res_v1, state_res_v2
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.power_ordering import MainlineOrdering
from support.judge import Judge, synapse_python
from support.random_rooms import random_room

PYTHON = synapse_python()
MOST_ROOMS = 100

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(PYTHON is None, reason="no Synapse here: `make interop-env`"),
]


def by_mainline_only(ordering: MainlineOrdering, event: Event) -> tuple[int, str]:
    return ordering._place(event.event_id), event.event_id


def by_time_only(_ordering: MainlineOrdering, event: Event) -> tuple[int, str]:
    return event.origin_server_ts, event.event_id


MUTANTS: dict[str, tuple[str, object, str, Callable[..., object]]] = {
    "the mainline is ignored": ("10", MainlineOrdering, "sort_key", by_time_only),
    "time is ignored on the mainline": ("10", MainlineOrdering, "sort_key", by_mainline_only),
    "power is ignored among power events": ("10", power_ordering, "_power_of_sender", lambda *_: 0),
    "kicks and bans are no power events": (
        "10",
        state_res_v2,
        "is_power_event",
        lambda event: event.type in ("m.room.power_levels", "m.room.join_rules"),
    ),
    "nothing is a power event": ("10", state_res_v2, "is_power_event", lambda _: False),
    "the auth difference is left out": ("10", state_res_v2, "auth_difference", lambda *_: set()),
    "the conflicted subgraph is left out": (
        "12",
        state_res_v2,
        "conflicted_state_subgraph",
        lambda *_: set(),
    ),
    "version 1 breaks ties by event id": (
        "1",
        state_res_v1,
        "_deepest_first",
        lambda event: (-event.depth, event.event_id),
    ),
    "version 1 prefers the shallow": ("1", state_res_v1, "_deepest_first", lambda event: (event.depth, "")),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_resolution_is_noticed(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the first hundred rooms shows it."""
    version, place, name, replacement = MUTANTS[mutant]
    monkeypatch.setattr(place, name, replacement)
    assert PYTHON is not None
    with Judge(PYTHON) as judge:
        rooms = (random_room(version, seed, size=60, users=10, branches=6) for seed in range(MOST_ROOMS))
        assert any(judge.differences(room) for room in rooms)

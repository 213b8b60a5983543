"""State resolution: one state from several (specification v1.19, "State resolution" of each room version).

Where Synapse reads the specification in its own way, and every server of a room must agree, this follows Synapse;
DEVIATIONS.md lists the places.
"""

from collections.abc import Container, Mapping, Sequence

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.auth_graph import AuthGraph, ForwardAuthGraph
from partialstate_service.matrix.event import Event, StateKey, StateMap
from partialstate_service.matrix.room_versions import RoomVersion, StateResolution
from partialstate_service.matrix.shared_state import SharedState, differing_keys
from partialstate_service.matrix.state_res_v1 import resolve_v1
from partialstate_service.matrix.state_res_v2 import resolve_v2


def resolve(
    version: RoomVersion,
    state_sets: Sequence[StateMap],
    events: Mapping[EventId, Event],
    rejected: Container[EventId] = frozenset(),
    *,
    graph: AuthGraph | None = None,
) -> StateMap:
    """Return the resolution of *state_sets* (at least one) of a room of *version*.

    *events* holds every event that a set names where sets differ, and the auth chains of all sets (version 1 needs no
    chains); `MissingEventError` names the first one that lacks. Events in *rejected* never enter the result by winning
    a conflict. *graph* answers questions on the auth chains faster than a walk through all of them; it covers *events*.

    One set, or equal ones, are returned as they are; where the first set is a `SharedState`, so is the result.
    """
    first, *others = state_sets
    conflicted_keys: set[StateKey] = set()
    for other in others:
        conflicted_keys |= differing_keys(first, other)
    if not conflicted_keys:
        return first
    conflicts = {key: _candidates(key, state_sets) for key in conflicted_keys}
    if version.state_resolution is StateResolution.V1:
        changes = resolve_v1(first, conflicts, events, rejected)
    else:
        chains = graph or ForwardAuthGraph(events)
        changes = resolve_v2(version, state_sets, conflicts, events, rejected, graph=chains)
    return _changed(first, changes)


def _candidates(key: StateKey, state_sets: Sequence[StateMap]) -> frozenset[EventId]:
    return frozenset(event_id for state in state_sets if (event_id := state.get(key)) is not None)


def _changed(state: StateMap, changes: Mapping[StateKey, EventId | None]) -> StateMap:
    """Return *state* with *changes*, of which None removes."""
    real = {key: event_id for key, event_id in changes.items() if state.get(key) != event_id}
    if isinstance(state, SharedState):
        return state.with_changes(real)
    if not real:
        return state
    merged = {**state, **real}
    return {key: event_id for key, event_id in merged.items() if event_id is not None}

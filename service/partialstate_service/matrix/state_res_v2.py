"""State resolution of room versions 2 to 11 (algorithm 2) and 12 (algorithm 2.1).

Specification v1.19, room version 2 and room version 12, "State resolution"; the names are the specification's.
"""

from collections.abc import Container, Iterable, Mapping, Sequence

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.auth_graph import AuthGraph, CommonState, auth_chain, auth_events_of, held
from partialstate_service.matrix.event import Event, StateKey, StateMap
from partialstate_service.matrix.event_auth import AuthRejectionError, auth_state_keys, check_auth
from partialstate_service.matrix.power_ordering import (
    MainlineOrdering,
    is_power_event,
    power_ordered,
)
from partialstate_service.matrix.resolved_state import ResolvedState
from partialstate_service.matrix.room_versions import RoomVersion, StateResolution


def resolve_v2(
    version: RoomVersion,
    state_sets: Sequence[StateMap],
    conflicts: Mapping[StateKey, frozenset[EventId]],
    events: Mapping[EventId, Event],
    rejected: Container[EventId],
    *,
    graph: AuthGraph,
) -> dict[StateKey, EventId | None]:
    """Return the entries that take the place of the first set's; None removes.

    *conflicts* names the candidates for each key on which the sets differ; a key that a set lacks is a difference.
    """
    conflicted_state = frozenset[EventId]().union(*conflicts.values())
    full_conflicted = conflicted_state | auth_difference(state_sets, conflicts, events, graph)
    start: StateMap = state_sets[0]
    if version.state_resolution is StateResolution.V2_1:
        full_conflicted |= conflicted_state_subgraph(conflicted_state, events)
        start = {}
    state = ResolvedState(start, events, rejected, hidden=frozenset(conflicts))

    power_events = [event_id for event_id in full_conflicted if is_power_event(held(events, event_id))]
    ordered = power_ordered(power_events, full_conflicted, events)
    iterative_auth_checks(ordered, state, events, rejected)

    leftover = (held(events, event_id) for event_id in full_conflicted.difference(ordered))
    mainline = MainlineOrdering(state.id_of(("m.room.power_levels", "")), events)
    iterative_auth_checks(
        [event.event_id for event in sorted(leftover, key=mainline.sort_key)], state, events, rejected
    )
    # "Update the result by replacing any event with the event with the same key from the unconflicted state map."
    return dict.fromkeys(conflicts) | {
        key: event_id
        for key, event_id in state.decided.items()
        if key in conflicts or key not in state_sets[0]
    }


def auth_difference(
    state_sets: Sequence[StateMap],
    conflicts: Mapping[StateKey, frozenset[EventId]],
    events: Mapping[EventId, Event],
    graph: AuthGraph,
) -> set[EventId]:
    """Return what is in the full auth chain of some state set and not of all; may lack conflicted events themselves.

    As in Synapse, a set's own events count as part of its auth chain.
    """
    chains = [
        auth_chain(events, (event_id for key in conflicts if (event_id := state.get(key)) is not None))
        for state in state_sets
    ]
    # Only what the sets do not share need be walked: whatever the common entries rest upon is in every chain.
    some = set[EventId]().union(*chains).difference(*conflicts.values())
    partly_shared = some.difference(chains[0].intersection(*chains[1:]))
    common = CommonState(state_sets[0], conflicts.keys())
    return partly_shared - graph.in_auth_chain_of(common, partly_shared)


def conflicted_state_subgraph(
    conflicted_state: Iterable[EventId], events: Mapping[EventId, Event]
) -> set[EventId]:
    """Return every event on a path of `auth_events` from one conflicted event to another (algorithm 2.1)."""
    conflicted = frozenset(conflicted_state)
    leads_to_conflicted: dict[EventId, bool] = {}
    for start in conflicted:
        stack = [start]
        while stack:
            event_id = stack[-1]
            if event_id in leads_to_conflicted:
                stack.pop()
                continue
            auth_ids = held(events, event_id).auth_event_ids
            unvisited = [auth_id for auth_id in auth_ids if auth_id not in leads_to_conflicted]
            if unvisited:
                stack.extend(unvisited)
            else:
                stack.pop()
                leads_to_conflicted[event_id] = event_id in conflicted or any(
                    leads_to_conflicted[auth_id] for auth_id in auth_ids
                )
    return {event_id for event_id, leads in leads_to_conflicted.items() if leads}


def iterative_auth_checks(
    ordered: Iterable[EventId],
    state: ResolvedState,
    events: Mapping[EventId, Event],
    rejected: Container[EventId],
) -> None:
    """Enter into *state* each event, in order, that is allowed by the state so far ("iterative auth checks algorithm").

    What the state lacks is taken from the event's own auth events. Rejected events never enter (synapse#13797).
    """
    for event_id in ordered:
        event = held(events, event_id)
        if event_id in rejected or event.state_key is None:
            continue
        try:
            check_auth(event, _auth_state(event, state, events, rejected))
        except AuthRejectionError:
            continue
        state.update({(event.type, event.state_key): event_id})


def _auth_state(
    event: Event, state: ResolvedState, events: Mapping[EventId, Event], rejected: Container[EventId]
) -> dict[StateKey, Event]:
    auth_state: dict[StateKey, Event] = {}
    for auth_event in auth_events_of(event, events):
        if auth_event.state_key is not None and auth_event.event_id not in rejected:
            auth_state[(auth_event.type, auth_event.state_key)] = auth_event
    for key in auth_state_keys(event):
        if (current := state.get(key)) is not None:
            auth_state[key] = current
    return auth_state

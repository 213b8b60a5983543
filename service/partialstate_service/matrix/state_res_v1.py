"""State resolution of room version 1 (specification v1.19, room version 1, "State resolution")."""

import hashlib
from collections.abc import Container, Iterable, Mapping

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.auth_graph import held
from partialstate_service.matrix.event import Event, StateKey, StateMap
from partialstate_service.matrix.event_auth import AuthRejectionError, check_auth
from partialstate_service.matrix.resolved_state import ResolvedState

_POWER_LEVELS: StateKey = ("m.room.power_levels", "")


def resolve_v1(
    base: StateMap,
    conflicts: Mapping[StateKey, frozenset[EventId]],
    events: Mapping[EventId, Event],
    rejected: Container[EventId],
) -> dict[StateKey, EventId | None]:
    """Return the entries that take the place of *base*'s for the keys of *conflicts*.

    *conflicts* names the candidates for each key on which the sets differ. A key that only some sets have is no
    conflict in version 1: its one candidate stands.
    """
    resolved: dict[StateKey, EventId | None] = {}
    contested: dict[StateKey, list[Event]] = {}
    for key, candidates in conflicts.items():
        eligible = [held(events, event_id) for event_id in candidates if event_id not in rejected]
        if len(eligible) > 1:
            contested[key] = eligible
        else:
            resolved[key] = eligible[0].event_id if eligible else None
    state = ResolvedState(base, events, rejected, hidden=frozenset(conflicts))
    state.update(resolved)
    # The order is the specification's. Within a stage no key sees another key's outcome.
    for stage in (_is_power_levels, _is_join_rules, _is_member):
        winners = {key: _last_allowed(rivals, state) for key, rivals in contested.items() if stage(key)}
        state.update(winners)
        resolved |= winners
    for key, rivals in contested.items():
        if key not in resolved:
            resolved[key] = _first_allowed(rivals, state)
    return resolved


def _is_power_levels(key: StateKey) -> bool:
    return key == _POWER_LEVELS


def _is_join_rules(key: StateKey) -> bool:
    return key[0] == "m.room.join_rules"


def _is_member(key: StateKey) -> bool:
    return key[0] == "m.room.member"


def _last_allowed(candidates: Iterable[Event], state: ResolvedState) -> EventId:
    """Let each candidate, from the shallowest, replace the one before it; stop at the first that may not."""
    winner, *challengers = sorted(candidates, key=_deepest_first, reverse=True)
    for challenger in challengers:
        assert winner.state_key is not None
        if not _allowed(challenger, state.with_entry((winner.type, winner.state_key), winner)):
            break
        winner = challenger
    return winner.event_id


def _first_allowed(candidates: Iterable[Event], state: ResolvedState) -> EventId:
    """Return the deepest candidate that is allowed, or the shallowest if none is."""
    ordered = sorted(candidates, key=_deepest_first)
    return next((event for event in ordered if _allowed(event, state)), ordered[-1]).event_id


def _deepest_first(event: Event) -> tuple[int, str]:
    # SHA-1 only breaks ties here; the specification names it.
    return -event.depth, hashlib.sha1(event.event_id.encode(), usedforsecurity=False).hexdigest()


def _allowed(event: Event, state: Mapping[StateKey, Event]) -> bool:
    try:
        check_auth(event, state)
    except AuthRejectionError:
        return False
    return True

"""Replay: compute anew, from verified full state, the state before each event of a partial room's timeline.

The pure engine behind a resync. Events may come in any order; what an event still waits for is told by
`missing_prevs` and `missing_auth_events`. An event is replayed as soon as the states after all its prev events are
known: its state is their resolution, and it is authorised anew by its own auth events and by that state, whatever
anyone thought of it before. Sources: server-server API v1.19, "Checks performed on receipt of a PDU"; MSC3902.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.auth_graph import (
    ClosureCheck,
    IndexedAuthGraph,
    MissingEventError,
)
from partialstate_service.matrix.event import Event, StateKey, StateMap
from partialstate_service.matrix.event_auth import (
    AuthRejectionError,
    AuthRule,
    check_auth,
)
from partialstate_service.matrix.incoming import check_by_auth_events
from partialstate_service.matrix.resolved_state import ResolvedState
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.matrix.shared_state import SharedState
from partialstate_service.matrix.state_res import resolve
from partialstate_service.matrix.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Replayed:
    """The outcome for one event: the state before it, and whether that state and its auth events allow it.

    The state is the one before `base_event_id`, an event replayed earlier (None: the empty state), with `added` put
    in or replaced and `removed` taken out.
    """

    event_id: EventId
    base_event_id: EventId | None
    added: Mapping[StateKey, EventId]
    removed: frozenset[StateKey]
    rejection: AuthRejectionError | None


class Replay:
    """The timeline of one room since its partial join, and the states that are known of it."""

    def __init__(
        self, version: RoomVersion, events: MutableMapping[EventId, Event], rejected: AbstractSet[EventId]
    ) -> None:
        """Start with an empty timeline.

        Args:
            version: the room's.
            events: every event that is held, of state, auth chains and timeline; the caller may add to it.
            rejected: the events that their own auth events do not allow; the caller may add to it.
        """
        self._version = version
        self._events = events
        self._timeline = Timeline()
        self._graph = IndexedAuthGraph(events)
        self._closure = ClosureCheck(events)
        # What is rejected for want of an auth event, and of which.
        self._renounced: dict[EventId, EventId] = {}
        self._rejections: dict[EventId, AuthRejectionError] = {}
        self._rejected = _EitherSet(rejected, self._rejections.keys())
        self._supplied: dict[EventId, SharedState] = {}
        self._before: dict[EventId, SharedState] = {}
        self._after: dict[EventId, SharedState] = {}
        # States are derived from the first one, so that all of them share memory with it.
        self._root: SharedState | None = None

    def add(self, event: Event) -> None:
        """Enter a partial event into the timeline; repeating is a no-op. A partial join is one of them."""
        self._events.setdefault(event.event_id, event)
        self._timeline.add(event)

    def missing_prevs(self) -> frozenset[EventId]:
        """Return the prev events, outside the timeline, the state after which has to be supplied."""
        return self._timeline.missing_prevs()

    def supply_state_after(self, prev: EventId, state: StateMap) -> None:
        """Tell the verified state after *prev*, an event outside the timeline; repeating is a no-op.

        The events of *state* and their auth chains are held by now; a resolution raises `MissingEventError` otherwise.
        What is told of an event that the timeline holds is not used: its own replay counts.
        """
        if prev in self._supplied or prev in self._timeline:
            return
        self._supplied[prev] = shared = self._shared(state)
        self._graph.include(shared.values())
        self._timeline.supply(prev)

    def forgo_prev(self, prev: EventId) -> None:
        """Give up on a prev event that no server knows: what names it is judged by its other prev events alone.

        An event with no other is judged by the empty state, which allows nothing. Should *prev* turn up after all, that
        changes nothing for those who name it: they have been judged.
        """
        self._timeline.forgo(prev)

    def missing_auth_events(self) -> frozenset[EventId]:
        """Return what the auth chains of the events not yet replayed lack, without those that were renounced."""
        return frozenset().union(*self.auth_gaps().values())

    def auth_gaps(self) -> Mapping[EventId, AbstractSet[EventId]]:
        """Return the events not yet replayed whose auth chains lack something and were not renounced, and what it is."""
        pending = (event for event in self._timeline.pending() if event.event_id not in self._renounced)
        gaps = {event.event_id: self._closure.gaps(event) for event in pending}
        return {event_id: lacking for event_id, lacking in gaps.items() if lacking}

    def renounce_auth_chain(self, event_id: EventId, lacking: EventId) -> None:
        """Give up on the auth chain of an event, which lacks *lacking*, an event that is not to be had: it is rejected.

        So it stays should *lacking* turn up after all.
        """
        self._renounced[event_id] = lacking

    def advance(self) -> Iterator[Replayed]:
        """Replay all that is ready, each event once, an event after those that it cites.

        The caller may `add` and supply between two results.
        """
        postponed: list[EventId] = []
        try:
            while True:
                yield from self._replay_ready(postponed)
                if postponed or self.missing_prevs() or not self._timeline.pending():
                    break
                # Nothing is missing and yet nothing is ready.
                circles = [(event, self._resolve_before(event)) for event in self._timeline.in_circles()]
                for event, before in circles:
                    yield self._replay(event, before, _circular(event))
        finally:
            self._timeline.defer(postponed)

    def state_before(self, event_id: EventId) -> StateMap:
        """Return the state before a replayed event. Raises KeyError for any other."""
        return self._before[event_id]

    def state_after(self, event_id: EventId) -> StateMap:
        """Return the state after an event that is replayed or whose state was supplied. Raises KeyError otherwise."""
        return self._after[event_id] if event_id in self._after else self._supplied[event_id]

    def rejection(self, event_id: EventId) -> AuthRejectionError | None:
        """Return why a replayed event was rejected; None: it was not, or not replayed."""
        return self._rejections.get(event_id)

    def pending(self) -> frozenset[EventId]:
        """Return the events of the timeline that are not replayed yet."""
        return frozenset(event.event_id for event in self._timeline.pending())

    def forward_extremities(self) -> frozenset[EventId]:
        """Return the replayed, accepted events that no accepted event follows (all ends, if nothing is accepted)."""
        return self._timeline.forward_extremities(self._rejections.keys())

    def current_state(self) -> StateMap:
        """Return the resolution of the states after the forward extremities; empty if nothing is replayed."""
        return self._resolve([self._after[event_id] for event_id in sorted(self.forward_extremities())])

    def _replay_ready(self, postponed: list[EventId]) -> Iterator[Replayed]:
        """Replay what waits for no event of the timeline; *postponed* gets what waits for auth events."""
        while (event := self._timeline.take_ready()) is not None:
            lacking = self._renounced.get(event.event_id)
            if lacking is None and self._closure.gaps(event):
                postponed.append(event.event_id)
            else:
                yield self._replay(event, self._resolve_before(event), _unavailable(lacking))

    def _replay(self, event: Event, before: SharedState, obstacle: AuthRejectionError | None) -> Replayed:
        rejection = obstacle or self._recheck(event, before)
        after = before
        if rejection is not None:
            self._rejections[event.event_id] = rejection
        elif event.state_key is not None:
            self._graph.include([event.event_id])
            after = before.with_changes({(event.type, event.state_key): event.event_id})
        base, added, removed = self._delta(event, before)
        self._before[event.event_id] = before
        self._after[event.event_id] = after
        self._timeline.done(event.event_id)
        return Replayed(event.event_id, base, added, removed, rejection)

    def _recheck(self, event: Event, before: SharedState) -> AuthRejectionError | None:
        """Check 4, by the event's own auth events, and check 5, by the state before it."""
        try:
            check_by_auth_events(event, self._events, self._rejected)
            check_auth(event, ResolvedState(before, self._events, self._rejected))
        except AuthRejectionError as rejection:
            return rejection
        return None

    def _resolve_before(self, event: Event) -> SharedState:
        # Nothing is known only of prev events on a circle with the event.
        prevs = (prev for prev in event.prev_event_ids if not self._timeline.is_forgone(prev))
        known = (self._after.get(prev, self._supplied.get(prev)) for prev in prevs)
        return self._resolve([state for state in known if state is not None])

    def _resolve(self, states: list[SharedState]) -> SharedState:
        if not states:
            return SharedState()
        resolved = resolve(self._version, states, self._events, self._rejected, graph=self._graph)
        return SharedState.of(resolved)

    def _shared(self, state: StateMap) -> SharedState:
        if self._root is None:
            self._root = SharedState.of(state)
            return self._root
        changed = self._root.differing_keys(state)
        return self._root.with_changes({key: state.get(key) for key in changed})

    def _delta(
        self, event: Event, before: SharedState
    ) -> tuple[EventId | None, Mapping[StateKey, EventId], frozenset[StateKey]]:
        """Return the replayed event whose state is the shortest way to *before*, and what to add and remove."""
        bases = [prev for prev in event.prev_event_ids if prev in self._before]
        bases = bases or list(islice(self._before, 1))
        if not bases or not before:
            return None, before, frozenset()
        differences = {base: self._before[base].differing_keys(before) for base in bases}
        base = min(bases, key=lambda base: len(differences[base]))
        changed = differences[base]
        added = {key: event_id for key in changed if (event_id := before.get(key)) is not None}
        return base, added, frozenset(changed - added.keys())


class _EitherSet:
    """What is in either of two growing sets."""

    def __init__(self, one: AbstractSet[EventId], other: AbstractSet[EventId]) -> None:
        self._one = one
        self._other = other

    def __contains__(self, event_id: object) -> bool:
        return event_id in self._one or event_id in self._other


def _unavailable(lacking: EventId | None) -> AuthRejectionError | None:
    if lacking is None:
        return None
    text = f"its auth chain needs {lacking!a:.100}, which is not to be had"
    return AuthRejectionError(AuthRule.AUTH_EVENTS_REJECTED, text)


def _circular(event: Event) -> AuthRejectionError:
    text = f"{event.event_id!a:.100} precedes itself: a forgery, as only room versions 1 and 2 permit"
    return AuthRejectionError(AuthRule.AUTH_EVENTS_REJECTED, text)


__all__ = ["MissingEventError", "Replay", "Replayed"]

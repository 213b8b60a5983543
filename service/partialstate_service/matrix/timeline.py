"""The graph of a partial room's timeline: which event can be replayed next, and what that waits for."""

from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event


class Timeline:
    """Events in the order of their DAG, by in-degree: an event is ready when all that it cites is available.

    An event waits for its prev events, be they in the timeline or not, and for those of its auth events that are in
    the timeline. Every method is linear in the edges of the events it concerns.
    """

    def __init__(self) -> None:
        self._events: dict[EventId, Event] = {}
        self._done: set[EventId] = set()
        # Prev events outside the timeline whose state is known.
        self._supplied: set[EventId] = set()
        # Prev events that nothing waits for, be they inside or outside.
        self._forgone: set[EventId] = set()
        self._blocked_by: dict[EventId, set[EventId]] = {}
        self._dependents: dict[EventId, list[EventId]] = {}
        self._ready: deque[EventId] = deque()

    def __contains__(self, event_id: EventId) -> bool:
        return event_id in self._events

    def add(self, event: Event) -> None:
        """Let *event* wait for what it cites. Repeating is a no-op."""
        if event.event_id in self._events:
            return
        self._events[event.event_id] = event
        prevs = set(event.prev_event_ids) - self._forgone
        cited = prevs.union(event.auth_event_ids)
        for event_id in cited:
            self._dependents.setdefault(event_id, []).append(event.event_id)
        blockers = (prevs - self._supplied) | (cited & self._events.keys())
        self._blocked_by[event.event_id] = blockers - self._done
        # What counted as outside the timeline is inside now: its own replay is to be waited for.
        for dependent in self._dependents.get(event.event_id, ()):
            if dependent in self._blocked_by and event.event_id not in self._forgone:
                self._blocked_by[dependent].add(event.event_id)
        self._enqueue_if_ready(event.event_id)

    def supply(self, prev: EventId) -> None:
        """Note that the state after *prev* is known, although it is not in the timeline."""
        if prev not in self._events:
            self._supplied.add(prev)
            self._release_dependents(prev)

    def forgo(self, prev: EventId) -> None:
        """Let no event wait for *prev* as a prev event, also should it come later."""
        self._forgone.add(prev)
        self._release_dependents(prev)

    def is_forgone(self, prev: EventId) -> bool:
        """Whether `forgo` was told of *prev*."""
        return prev in self._forgone

    def done(self, event_id: EventId) -> None:
        """Note that the event was replayed: what waited for it no longer does."""
        del self._blocked_by[event_id]
        self._done.add(event_id)
        self._release_dependents(event_id)

    def take_ready(self) -> Event | None:
        """Return an event that waits for nothing, or None. Each is returned until `done` or `defer` is told of it."""
        while self._ready:
            event_id = self._ready.popleft()
            if self._blocked_by.get(event_id) == set():
                return self._events[event_id]
        return None

    def defer(self, event_ids: Iterable[EventId]) -> None:
        """Put events that were taken back among the ready ones."""
        self._ready.extend(event_ids)

    def pending(self) -> list[Event]:
        """Return the events that are not done."""
        return [self._events[event_id] for event_id in self._blocked_by]

    def is_done(self, event_id: EventId) -> bool:
        """Whether the event was replayed."""
        return event_id in self._done

    def missing_prevs(self) -> frozenset[EventId]:
        """Return the prev events outside the timeline that events wait for."""
        return frozenset().union(*self._blocked_by.values()) - self._events.keys()

    def in_circles(self) -> list[Event]:
        """Return the pending events that lie on a circle of citations, or between two.

        Only events that name their own ids (room versions 1 and 2) can be forged into one.
        """
        waited_for = dict.fromkeys(self._blocked_by, 0)
        for blockers in self._blocked_by.values():
            for blocker in blockers & waited_for.keys():
                waited_for[blocker] += 1
        # Peel off what nothing waits for: it is behind a circle at most.
        peel = [event_id for event_id, count in waited_for.items() if count == 0]
        peeled = set(peel)
        while peel:
            for blocker in self._blocked_by[peel.pop()] & waited_for.keys():
                waited_for[blocker] -= 1
                if waited_for[blocker] == 0:
                    peel.append(blocker)
                    peeled.add(blocker)
        return [self._events[event_id] for event_id in self._blocked_by if event_id not in peeled]

    def forward_extremities(self, rejected: AbstractSet[EventId]) -> frozenset[EventId]:
        """Return the replayed events that no other one follows; an event that only *rejected* ones follow counts.

        If everything is rejected: the ends of the timeline, whatever they are.
        """
        accepted = self._done - rejected
        followed = self._preceding(accepted, through=lambda event_id: event_id in rejected)
        return frozenset(accepted - followed or self._done - self._preceding(self._done))

    def _preceding(
        self, event_ids: AbstractSet[EventId], through: Callable[[EventId], bool] = lambda _: False
    ) -> set[EventId]:
        """Return the prev events of *event_ids*, and of those of them that *through* names, and so on."""
        found: set[EventId] = set()
        stack = list(event_ids)
        while stack:
            for prev in self._events[stack.pop()].prev_event_ids:
                if prev not in found:
                    found.add(prev)
                    if prev in self._done and through(prev):
                        stack.append(prev)
        return found

    def _release_dependents(self, event_id: EventId) -> None:
        for dependent in self._dependents.get(event_id, ()):
            blockers = self._blocked_by.get(dependent)
            if blockers is not None and event_id in blockers:
                blockers.discard(event_id)
                self._enqueue_if_ready(dependent)

    def _enqueue_if_ready(self, event_id: EventId) -> None:
        if not self._blocked_by[event_id]:
            self._ready.append(event_id)

"""The graph that `auth_events` make of a room's events, and the questions state resolution asks of it."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.auth_event_list import claimed_auth_event_ids
from partialstate_service.matrix.event import Event, StateKey, StateMap
from partialstate_service.matrix.room_versions import EventIdFormat


class MissingEventError(LookupError):
    """An event that state resolution or replay needs is not held."""

    def __init__(self, event_id: EventId) -> None:
        self.event_id = event_id
        super().__init__(f"event {event_id!a:.100} is needed and not held")


def rests_on_itself(event: Event, events: Mapping[EventId, Event]) -> bool:
    """Whether *event* is in its own auth chain, as far as that is held: possible where ids are given (versions 1 and 2)."""
    if event.room_version.event_ids is not EventIdFormat.GIVEN:
        return False
    seen: set[EventId] = set()
    stack = list(event.auth_event_ids)
    while stack:
        event_id = stack.pop()
        if event_id == event.event_id:
            return True
        if event_id not in seen:
            seen.add(event_id)
            if (cited := events.get(event_id)) is not None:
                stack += cited.auth_event_ids
    return False


@dataclass(frozen=True, slots=True)
class CommonState:
    """The entries that all state sets of a resolution have in common: those of *state* outside *conflicted_keys*."""

    state: StateMap
    conflicted_keys: AbstractSet[StateKey]

    def __iter__(self) -> Iterator[EventId]:
        for key, event_id in self.state.items():
            if key not in self.conflicted_keys:
                yield event_id

    def has(self, event: Event) -> bool:
        """Whether *event* is an entry of the common state."""
        if event.state_key is None:
            return False
        key = (event.type, event.state_key)
        return key not in self.conflicted_keys and self.state.get(key) == event.event_id


class AuthGraph(Protocol):
    """Answers which events the common state of several state sets rests upon."""

    def in_auth_chain_of(self, common: CommonState, candidates: AbstractSet[EventId]) -> set[EventId]:
        """Return those of *candidates* that are entries of *common* or in the auth chain of one."""
        ...


class ForwardAuthGraph:
    """Walks the auth chains of the whole common state, at most once; the cost is linear in them."""

    def __init__(self, events: Mapping[EventId, Event]) -> None:
        self._events = events

    def in_auth_chain_of(self, common: CommonState, candidates: AbstractSet[EventId]) -> set[EventId]:
        """Return those of *candidates* that are entries of *common* or in the auth chain of one."""
        sought = set(candidates)
        seen: set[EventId] = set()
        for start in common:
            if not sought:
                break
            if start in seen:
                continue
            seen.add(start)
            stack = [start]
            while stack:
                event_id = stack.pop()
                sought.discard(event_id)
                for auth_id in held(self._events, event_id).auth_event_ids:
                    if auth_id not in seen:
                        seen.add(auth_id)
                        stack.append(auth_id)
        return set(candidates) - sought


class IndexedAuthGraph:
    """Knows which events cite an event, so that an answer seldom needs a walk at all.

    For rooms that are resolved many times: nearly every candidate is cited by some entry of the common state. The
    index of a large room costs time and memory, so it is made only when the first question is asked; most rooms ask none.
    """

    def __init__(self, events: Mapping[EventId, Event]) -> None:
        self._events = events
        self._cited_by: dict[EventId, list[EventId]] = {}
        self._indexed: set[EventId] = set()
        self._to_index: deque[Iterable[EventId]] = deque()

    def include(self, event_ids: Iterable[EventId]) -> None:
        """Let later answers cover these events and their auth chains, which are held by then."""
        self._to_index.append(event_ids)

    def _index(self, event_ids: Iterable[EventId]) -> None:
        stack = [event_id for event_id in event_ids if event_id not in self._indexed]
        while stack:
            event_id = stack.pop()
            if event_id in self._indexed:
                continue
            auth_ids = held(self._events, event_id).auth_event_ids
            self._indexed.add(event_id)
            for auth_id in auth_ids:
                self._cited_by.setdefault(auth_id, []).append(event_id)
                if auth_id not in self._indexed:
                    stack.append(auth_id)

    def in_auth_chain_of(self, common: CommonState, candidates: AbstractSet[EventId]) -> set[EventId]:
        """Return those of *candidates* that are entries of *common* or in the auth chain of one.

        Raises `MissingEventError` for an included event, or one of its auth chain, that is not held.
        """
        while self._to_index:
            self._index(self._to_index[0])
            self._to_index.popleft()
        # What was searched in vain for one candidate leads nowhere for the next one either.
        fruitless: set[EventId] = set()
        return {event_id for event_id in candidates if self._carries(event_id, common, fruitless)}

    def _carries(self, start: EventId, common: CommonState, fruitless: set[EventId]) -> bool:
        seen = {start}
        stack = [start]
        while stack:
            event_id = stack.pop()
            if common.has(held(self._events, event_id)):
                return True
            for citing in self._cited_by.get(event_id, ()):
                if citing not in seen and citing not in fruitless:
                    seen.add(citing)
                    stack.append(citing)
        fruitless |= seen
        return False


def held(events: Mapping[EventId, Event], event_id: EventId) -> Event:
    """Return the event, or raise `MissingEventError`."""
    try:
        return events[event_id]
    except KeyError:
        raise MissingEventError(event_id) from None


def auth_chain(events: Mapping[EventId, Event], starts: Iterable[EventId]) -> set[EventId]:
    """Return *starts* and everything that their `auth_events` lead to. Raises `MissingEventError`."""
    seen = set(starts)
    stack = list(seen)
    while stack:
        for auth_id in held(events, stack.pop()).auth_event_ids:
            if auth_id not in seen:
                seen.add(auth_id)
                stack.append(auth_id)
    return seen


def auth_events_of(event: Event, events: Mapping[EventId, Event]) -> list[Event]:
    """Return the events that the event claims as its auth events, the implied create event included.

    Raises `MissingEventError`.
    """
    return [held(events, auth_id) for auth_id in claimed_auth_event_ids(event)]


class ClosureCheck:
    """Tells which events of an auth chain are not held; remembers the chains found complete."""

    def __init__(self, events: Mapping[EventId, Event]) -> None:
        self._events = events
        self._complete: set[EventId] = set()

    def gaps(self, event: Event) -> set[EventId]:
        """Return the events that the auth chain of *event* lacks."""
        seen: set[EventId] = set()
        missing: set[EventId] = set()
        stack = list(claimed_auth_event_ids(event))
        while stack:
            event_id = stack.pop()
            if event_id in seen or event_id in self._complete:
                continue
            if (cited := self._events.get(event_id)) is None:
                missing.add(event_id)
                continue
            seen.add(event_id)
            stack.extend(cited.auth_event_ids)
        if not missing:
            self._complete |= seen
        return missing

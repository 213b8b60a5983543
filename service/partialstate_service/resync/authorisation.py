"""The authorisation of a set of events against their own auth events, each after those that it refers to."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.event_auth import (
    AuthRejectionError,
    check_auth,
    check_auth_events,
    claimed_auth_event_ids,
)
from partialstate_service.resync.event_ids import EventIds
from partialstate_service.resync.event_table import EventTable


class AuthClosure(NamedTuple):
    """Some events with all that their auth events refer to."""

    held: EventIds
    missing: frozenset[EventId]
    """What would belong to it and is not held."""


def auth_closure(wanted: Iterable[EventId], events: EventTable) -> AuthClosure:
    """Return *wanted* with all that their auth events refer to, as far as *events* reaches."""
    held = EventIds(events)
    missing: set[EventId] = set()
    stack: list[int] = []
    for event_id in wanted:
        number = events.number(event_id)
        if number is None:
            missing.add(event_id)
            continue
        stack.append(number)
        while stack:
            number = stack.pop()
            if (cited := events.cited_by(number)) is None:
                missing.add(events.id_of(number))
            elif held.add_number(number):
                stack += cited
    return AuthClosure(held, frozenset(missing))


def rejected_by_auth_events(closure: EventIds, events: EventTable) -> dict[EventId, AuthRejectionError]:
    """Return which of *closure* fail auth against their own auth events (check 4), and by which rule.

    Every event that one of *closure* refers to must be in it.
    """
    rejected: dict[EventId, AuthRejectionError] = {}
    for event_id in _auth_events_first(closure, events):
        event = events[event_id]
        auth_events = [events[auth_id] for auth_id in claimed_auth_event_ids(event)]
        state: dict[StateKey, Event] = {
            (auth.type, auth.state_key): auth for auth in auth_events if auth.state_key is not None
        }
        try:
            check_auth_events(event, auth_events, rejected)
            check_auth(event, state)
        except AuthRejectionError as error:
            rejected[event.event_id] = error
    return rejected


def _auth_events_first(closure: EventIds, events: EventTable) -> Iterator[EventId]:
    """Yield the ids so that each comes after its auth events; ids are hashes, so there is no cycle from version 3.

    In versions 1 and 2, where ids are given, an event that refers to itself in a circle comes after what it can.
    """
    begun = EventIds(events)
    done = EventIds(events)
    for number in closure.numbers():
        stack = [number]
        while stack:
            last = stack[-1]
            if begun.add_number(last):
                stack += begun.without_own(events.cited_by(last) or ())
                continue
            stack.pop()
            if done.add_number(last):
                yield events.id_of(last)

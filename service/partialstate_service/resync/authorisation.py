"""The authorisation of a set of events against their own auth events, each after those that it refers to."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.event_auth import (
    AuthRejectionError,
    check_auth,
    check_auth_events,
    claimed_auth_event_ids,
)


def missing_auth_events(wanted: Iterable[EventId], events: Mapping[EventId, Event]) -> set[EventId]:
    """Return which events the auth closure of *wanted* refers to that *events* lacks."""
    return {event_id for event_id in auth_closure(wanted, events) if event_id not in events}


def auth_closure(wanted: Iterable[EventId], events: Mapping[EventId, Event]) -> set[EventId]:
    """Return *wanted* with all that their auth events refer to, as far as *events* reaches."""
    seen: set[EventId] = set()
    stack = list(wanted)
    while stack:
        event_id = stack.pop()
        if event_id in seen:
            continue
        seen.add(event_id)
        event = events.get(event_id)
        if event is not None:
            stack.extend(auth for auth in claimed_auth_event_ids(event) if auth not in seen)
    return seen


def rejected_by_auth_events(
    wanted: Collection[EventId], events: Mapping[EventId, Event]
) -> dict[EventId, AuthRejectionError]:
    """Return which of *wanted* fail auth against their own auth events (check 4), and by which rule.

    Every event of the auth closure of *wanted* must be in *events*.
    """
    rejected: dict[EventId, AuthRejectionError] = {}
    for event in _auth_events_first(wanted, events):
        auth_events = [events[event_id] for event_id in claimed_auth_event_ids(event)]
        state: dict[StateKey, Event] = {
            (auth.type, auth.state_key): auth for auth in auth_events if auth.state_key is not None
        }
        try:
            check_auth_events(event, auth_events, rejected)
            check_auth(event, state)
        except AuthRejectionError as error:
            rejected[event.event_id] = error
    return rejected


def _auth_events_first(wanted: Collection[EventId], events: Mapping[EventId, Event]) -> Iterator[Event]:
    """Yield the events so that each comes after its auth events; ids are hashes, so there is no cycle from version 3.

    In versions 1 and 2, where ids are given, an event that refers to itself in a circle comes after what it can.
    """
    done: set[EventId] = set()
    begun: set[EventId] = set()
    for first in wanted:
        stack = [first]
        while stack:
            event_id = stack[-1]
            if event_id in done:
                stack.pop()
                continue
            event = events[event_id]
            waiting = [a for a in claimed_auth_event_ids(event) if a not in done and a not in begun]
            if event_id not in begun and waiting:
                begun.add(event_id)
                stack.extend(waiting)
                continue
            stack.pop()
            done.add(event_id)
            yield event

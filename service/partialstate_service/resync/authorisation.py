"""The authorisation of a set of events against their own auth events, each after those that it refers to."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event_auth import (
    AuthRejectionError,
    AuthRule,
    check_auth_by,
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
    # Nearly all memberships of a room cite the same few events: what was followed once need not be again.
    followed: set[bytes] = set()
    stack: list[int] = []
    for event_id in wanted:
        number = events.number(event_id)
        if number is None:
            missing.add(event_id)
            continue
        stack.append(number)
        while stack:
            number = stack.pop()
            if (citation := events.citation(number)) is None:
                missing.add(events.id_of(number))
            elif held.add_number(number) and citation not in followed:
                followed.add(citation)
                stack += events.cited(citation)
    return AuthClosure(held, frozenset(missing))


def rejected_by_auth_events(
    closure: EventIds, events: EventTable, allowed: EventIds | None = None
) -> dict[EventId, AuthRejectionError]:
    """Return which of *closure* fail auth against their own auth events (check 4), and by which rule.

    Every event that one of *closure* refers to must be in it. Those of *allowed* are known to be allowed by their auth
    events, as far as none of these is rejected; that is found out once for each event, by whoever verifies it.
    """
    rejected: dict[EventId, AuthRejectionError] = {}
    order = _AuthEventsFirst(events)
    if allowed is None:
        allowed = EventIds(events)
    # Where ids are given, even what is known to be allowed may be part of a circle.
    unsettled = closure if events.ids_are_given else closure.without(allowed)
    for number in order.of(unsettled):
        if events.ids_are_given and order.is_ahead_of_cited(number):
            text = "an auth event of it rests on it"
            rejected[events.id_of(number)] = AuthRejectionError(AuthRule.AUTH_EVENTS_REJECTED, text)
        else:
            _judge(number, events, rejected, is_allowed=allowed.has_number(number))
    if rejected:
        for number in order.of(closure):
            _judge(number, events, rejected, is_allowed=True)
    return rejected


def _judge(
    number: int, events: EventTable, rejected: dict[EventId, AuthRejectionError], *, is_allowed: bool
) -> None:
    """Enter an event into *rejected* if it fails auth; its auth events have been judged before."""
    event_id = events.id_of(number)
    if is_allowed and not (
        rejected and any(events.id_of(cited) in rejected for cited in events.cited_by(number) or ())
    ):
        return
    event = events[event_id]
    try:
        check_auth_by(event, [events[auth_id] for auth_id in claimed_auth_event_ids(event)], rejected)
    except AuthRejectionError as error:
        rejected[event_id] = error


class _AuthEventsFirst:
    """Goes through events so that each comes after its auth events; ids are hashes, so there is no cycle from version 3.

    In versions 1 and 2, where ids are given, an event that refers to itself in a circle comes after what it can; then it
    *is ahead of* something that it cites.
    """

    def __init__(self, events: EventTable) -> None:
        self._events = events
        self._begun = EventIds(events)
        self._done = EventIds(events)

    def of(self, wanted: EventIds) -> Iterator[int]:
        """Yield the numbers of *wanted* and of all that they refer to, each once in the life of this object."""
        for number in wanted.numbers():
            stack = [number]
            while stack:
                last = stack[-1]
                if self._begun.add_number(last):
                    stack += self._begun.without_own(self._events.cited_by(last) or ())
                    continue
                stack.pop()
                if not self._done.has_number(last):
                    yield last
                    self._done.add_number(last)

    def is_ahead_of_cited(self, number: int) -> bool:
        """Whether the event that was yielded last, *number*, cites one that was not yielded before it."""
        return not all(self._done.has_number(cited) for cited in self._events.cited_by(number) or ())

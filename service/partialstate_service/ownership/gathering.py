"""The events that an authorisation needs, gathered from what is at hand: read only as far as they are needed. Pure."""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from partialstate_service.domain.ids import EventId, RoomId
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.event_auth import claimed_auth_event_ids
from partialstate_service.matrix.parsing import InvalidEventError, parse_event_bytes
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.ownership.refusals import require_at_most

MAX_GATHERED_EVENTS = 20_000
"""Events and their auth chains; a busy room's power levels have a chain of some hundred."""


class Gathering:
    """Some events and their auth chains; `missing` is what of them is not at hand yet."""

    def __init__(self, room_id: RoomId, version: RoomVersion, given: Mapping[EventId, Event]) -> None:
        """*given* are events that are at hand from the start, read already."""
        self._room_id = room_id
        self._version = version
        self._given = given
        self._unread: dict[EventId, bytes] = {}
        self.events: dict[EventId, Event] = {}
        self.missing: set[EventId] = set()

    def want(self, event_ids: Iterable[EventId]) -> None:
        """Add events with their auth chains. Raises `RefusedInputError` (TOO_LARGE)."""
        stack = list(event_ids)
        while stack:
            event_id = stack.pop()
            if event_id in self.events:
                continue
            event = self._find(event_id)
            if event is None:
                self.missing.add(event_id)
                continue
            self.missing.discard(event_id)
            self.events[event_id] = event
            require_at_most(MAX_GATHERED_EVENTS, len(self.events), "the auth chains")
            stack.extend(claimed_auth_event_ids(event))

    def bring(self, found: Iterable[tuple[EventId, bytes]]) -> None:
        """Put further events at hand, as they are stored."""
        self._unread.update(found)
        self.want([event_id for event_id in self.missing if event_id in self._unread])

    def _find(self, event_id: EventId) -> Event | None:
        if (event := self._given.get(event_id)) is not None:
            return event
        if (body := self._unread.get(event_id)) is None:
            return None
        # Another release may have stored what this one does not take; then it is missing.
        with suppress(InvalidEventError):
            return parse_event_bytes(body, self._version, room_id=self._room_id)
        return None

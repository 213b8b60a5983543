"""Copies of events whose signing keys nobody has yet: kept for the next attempts, which come every few seconds.

They are not verified, so they are in no store; another process, or one that has forgotten them, fetches them again.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from partialstate_service.domain.ids import EventId, RoomId

_MAX_BYTES = 16 * 1024 * 1024
_MAX_AGE_S = 600.0
"""Whoever sent a copy may have made its key one that nobody has; so copies are fetched anew from time to time."""


class KeylessCopies:
    """The copies that one process keeps, of all rooms; the oldest go first."""

    def __init__(
        self,
        *,
        max_bytes: int = _MAX_BYTES,
        max_age_s: float = _MAX_AGE_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._now_s = now_s
        self._copies: OrderedDict[tuple[RoomId, EventId], tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    def keep(self, room_id: RoomId, event_id: EventId, body: bytes) -> None:
        """Keep a copy; one that is kept already stays, with its age."""
        if (room_id, event_id) not in self._copies:
            self._copies[room_id, event_id] = (self._now_s(), body)
            self._bytes += len(body)
        while self._bytes > self._max_bytes:
            self._drop(*next(iter(self._copies)))

    def of(self, room_id: RoomId, wanted: Iterable[EventId]) -> dict[EventId, bytes]:
        """Return what is kept of *wanted* and not too old; what is too old is dropped."""
        if not self._copies:
            return {}
        found: dict[EventId, bytes] = {}
        for event_id in wanted:
            at_s, body = self._copies.get((room_id, event_id), (0.0, b""))
            if not body:
                continue
            if self._now_s() - at_s < self._max_age_s:
                found[event_id] = body
            else:
                self._drop(room_id, event_id)
        return found

    def forget(self, room_id: RoomId, event_ids: Iterable[EventId] | None = None) -> None:
        """Drop the copies of a room, or only those of some events of it."""
        if event_ids is None:
            event_ids = [event_id for room, event_id in self._copies if room == room_id]
        for event_id in event_ids:
            if (room_id, event_id) in self._copies:
                self._drop(room_id, event_id)

    def _drop(self, room_id: RoomId, event_id: EventId) -> None:
        _, body = self._copies.pop((room_id, event_id))
        self._bytes -= len(body)

"""What is known to be true of a room, so that a check's answer can be told right from wrong at once.

A room is known to be partial or full except while a call that changes this is on its way; a check is judged if the room
was known to be the same thing from before it until after it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from partialstate import Verdict


@dataclass(slots=True)
class RoomTruth:
    """One room."""

    partial: bool | None = False
    """None while it is changing."""
    changes: int = 0
    life: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever changes the room."""

    @contextmanager
    def becoming(self, *, partial: bool) -> Iterator[None]:
        """A call makes the room partial, or full; if it fails, what the room is stays unknown."""
        self.partial = None
        self.changes += 1
        yield
        self.partial = partial


@dataclass(slots=True)
class Truths:
    """All rooms."""

    rooms: dict[str, RoomTruth] = field(default_factory=dict)
    judged: int = 0
    refused: int = 0

    def of(self, room_id: str) -> RoomTruth:
        """Return a room's truth; a room that nobody has spoken of is full."""
        return self.rooms.setdefault(room_id, RoomTruth())

    def before(self, room_id: str) -> tuple[str, bool | None, int]:
        """Return what is known as a check begins."""
        truth = self.of(room_id)
        return room_id, truth.partial, truth.changes

    def judge(self, before: tuple[str, bool | None, int], verdict: Verdict) -> None:
        """Assert that the verdict on a request for the state is right, if that can be told."""
        room_id, partial, _ = before
        if partial is None or self.before(room_id) != before:
            return
        expected = Verdict.REFUSE if partial else Verdict.PROCEED
        assert verdict is expected, (
            f"{room_id}: {verdict} although the room is {'partial' if partial else 'full'}"
        )
        self.judged += 1
        self.refused += partial

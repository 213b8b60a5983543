"""What clients saw of rooms, and whether one registry that does everything at single points in time could have shown it.

Every room has one writer, so its states follow each other in the writer's order; a call whose outcome is unknown may
have happened at any time after it began, or never.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from partialstate_service.domain.ids import RoomId

NEVER = float("inf")


@dataclass
class Write:
    """A call that makes a room partial, or full; *ended* is NEVER if its outcome is unknown."""

    partial: bool
    begun: float
    ended: float = NEVER


@dataclass(frozen=True)
class Seen:
    """What a check said of a room."""

    partial: bool
    begun: float
    ended: float


class NotLinearizableError(AssertionError):
    """Somebody saw what no registry could have shown."""


@dataclass
class CheckHistory:
    """The calls of all clients, with the times at which they began and ended."""

    writes: dict[RoomId, list[Write]] = field(default_factory=lambda: defaultdict(list))
    checks: dict[RoomId, list[Seen]] = field(default_factory=lambda: defaultdict(list))

    def verify(self) -> int:
        """Return how many checks were verified, or raise NotLinearizableError."""
        return sum(self._verify(room, checks) for room, checks in self.checks.items())

    def _verify(self, room: RoomId, checks: list[Seen]) -> int:
        writes = [Write(partial=False, begun=-1, ended=-1), *self.writes[room]]
        # Of each check, the earliest state that it can have seen, given what checks before it saw.
        placed: list[tuple[float, int]] = []
        for check in sorted(checks, key=lambda one: one.ended):
            oldest = max((i for i, write in enumerate(writes) if write.ended < check.begun), default=0)
            oldest = max([oldest, *(state for ended, state in placed if ended < check.begun)])
            possible = [
                i
                for i, write in enumerate(writes)
                if i >= oldest and write.begun < check.ended and write.partial == check.partial
            ]
            if not possible:
                raise NotLinearizableError(f"{room}: {check} among {writes}")
            placed.append((check.ended, possible[0]))
        return len(checks)

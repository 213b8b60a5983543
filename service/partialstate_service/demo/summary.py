"""What the demo found: every decision and every figure, and whether each was as it must be."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of another server to our homeserver, and what it got."""

    phase: str
    """`partial` or `full`: how the room was when it was asked."""
    request: str
    by: str
    """In words: which server asked."""
    expected: str
    """Status and, for an error, its code."""
    got: str
    ms: float
    ok: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured or counted value."""

    name: str
    value: float
    unit: str


@dataclass(slots=True)
class Summary:
    """The demo's result. It is a success if every request got what was expected, and the state is exact."""

    members: int
    servers: int
    failing_servers: dict[str, int]
    """How many servers failed in which way."""
    asked: list[Asked] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    """What each server that the resync asked answered last."""
    requests: dict[str, int] = field(default_factory=dict)
    """How often the other servers were asked for what, in all."""
    missing_events: int | None = None
    """Events of the true state that ours lacks; None: we have no full state."""
    surplus_events: int | None = None
    """Events of our state that the true one lacks."""

    @property
    def state_is_exact(self) -> bool:
        """Whether our full state is the true one."""
        return self.missing_events == 0 and self.surplus_events == 0

    @property
    def ok(self) -> bool:
        """Whether everything was as it must be."""
        return self.state_is_exact and bool(self.asked) and all(asked.ok for asked in self.asked)

    def figure(self, name: str, value: float, unit: str) -> None:
        """Add a figure."""
        self.figures.append(Figure(name, round(value, 3), unit))

    def as_json(self) -> dict[str, Any]:
        """Return all of it as a JSON object."""
        return {"ok": self.ok, "state_is_exact": self.state_is_exact, **asdict(self)}

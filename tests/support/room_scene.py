"""What a move in a random room can look at, and what it comes to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.power_levels import power_levels
from support.rooms import RoomBuilder


class Scene:
    """What the next move can look at: the state before it, and what happened so far."""

    def __init__(
        self, rng: Random, builder: RoomBuilder, people: Sequence[str], foreign: RoomBuilder
    ) -> None:
        self.rng = rng
        self.room = builder
        self.version = builder.version
        self.people = people
        self.foreign = foreign
        self.state: Mapping[StateKey, Event] = {}
        self.accepted: list[Event] = []
        self.rejected_state: list[Event] = []
        # A room of the creator's server only, or one that never came into being.
        self.closed = rng.random() < 0.06
        self.stillborn = rng.random() < 0.03

    def look(self, state: Mapping[StateKey, Event]) -> None:
        """Take *state* as the state before the next move."""
        self.state = state

    def note(self, event: Event, *, accepted: bool) -> None:
        """Remember an event."""
        if accepted:
            self.accepted.append(event)
        elif event.is_state:
            self.rejected_state.append(event)

    def anyone(self) -> str:
        """Return any user."""
        return self.rng.choice(self.people)

    def membership(self, user: str) -> Any:
        """Return the membership of *user*, "leave" without one."""
        member = self.state.get(("m.room.member", user))
        return "leave" if member is None else member.content.get("membership", "leave")

    def someone(self, *memberships: str) -> str | None:
        """Return a user with one of *memberships*, or None."""
        found = [user for user in self.people if self.membership(user) in memberships]
        return self.rng.choice(found) if found else None

    def level(self, user: str) -> int:
        """Return the power level of *user*."""
        create = self.state.get(("m.room.create", ""))
        if create is None:
            return 0
        return power_levels(create, self.state.get(("m.room.power_levels", ""))).user_level(user)

    def powerful(self, at_least: int = 50) -> str | None:
        """Return a joined user with that much power, or None."""
        found = [u for u in self.people if self.membership(u) == "join" and self.level(u) >= at_least]
        return self.rng.choice(found) if found else None

    def powerless(self) -> str | None:
        """Return a joined user without power, or None."""
        found = [u for u in self.people if self.membership(u) == "join" and self.level(u) < 50]
        return self.rng.choice(found) if found else None

    @property
    def levels(self) -> dict[str, Any]:
        """The content of the power levels event."""
        event = self.state.get(("m.room.power_levels", ""))
        return (
            {}
            if event is None
            else {k: dict(v) if isinstance(v, dict) else v for k, v in event.content.items()}
        )

    @property
    def join_rule(self) -> Any:
        """The join rule in force."""
        event = self.state.get(("m.room.join_rules", ""))
        return "invite" if event is None else event.content.get("join_rule")


AuthChoice = Callable[[Scene], Sequence[EventId] | None]


@dataclass(frozen=True)
class Draft:
    """An event to be; without `auth` it has the auth events that the state before it offers."""

    kind: str
    sender: str
    content: dict[str, Any]
    state_key: str | None = None
    auth: AuthChoice | None = None
    # An event beside the timeline has prev events of its own (none), and nobody goes on from it.
    prevs: Sequence[EventId] | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Move:
    """Something a user may do; it gives None where the state does not fit."""

    draft: Callable[[Scene], Draft | None]
    weight: float


class Moves(list[Move]):
    """A table of moves."""

    def move(
        self, weight: float
    ) -> Callable[[Callable[[Scene], Draft | None]], Callable[[Scene], Draft | None]]:
        """Decorate a function that drafts an event, chosen *weight* times as often as one of weight 1."""

        def register(draft: Callable[[Scene], Draft | None]) -> Callable[[Scene], Draft | None]:
            self.append(Move(draft, weight))
            return draft

        return register


def member(sender: str, target: str, membership: Any, **content: Any) -> Draft:
    """Draft a membership event."""
    return Draft("m.room.member", sender, {"membership": membership, **content}, target)

"""What a rule looks at: one event against one state of its room."""

from collections.abc import Callable, Mapping
from typing import Final, NoReturn, TypeAlias

from partialstate_service.matrix.auth_rule import AuthRejectionError, AuthRule
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.power_levels import PowerLevels, power_levels

CREATE_KEY: Final[StateKey] = ("m.room.create", "")
POWER_LEVELS_KEY: Final[StateKey] = ("m.room.power_levels", "")
JOIN_RULES_KEY: Final[StateKey] = ("m.room.join_rules", "")


class Attempt:
    """An event that asks to be authorised against *state*; what rules share is looked up here, and lazily."""

    __slots__ = ("_levels", "event", "state")

    def __init__(self, event: Event, state: Mapping[StateKey, Event]) -> None:
        self.event = event
        self.state = state
        self._levels: PowerLevels | None = None

    @property
    def create(self) -> Event:
        """The create event of the state; a state without one authorises nothing."""
        create = self.state.get(CREATE_KEY)
        if create is None:
            raise AuthRejectionError(AuthRule.MISSING_CREATE, "the state has no create event")
        return create

    @property
    def levels(self) -> PowerLevels:
        """The power levels in force."""
        if self._levels is None:
            self._levels = power_levels(self.create, self.state.get(POWER_LEVELS_KEY))
        return self._levels

    @property
    def sender_level(self) -> int:
        """The power level of the event's sender."""
        return self.levels.user_level(self.event.sender)

    @property
    def target(self) -> str:
        """The user whose membership the event sets."""
        # The rules of memberships begin with the one that demands a state key.
        return self.event.state_key or ""

    @property
    def target_level(self) -> int:
        """The power level of the target."""
        return self.levels.user_level(self.target)

    def membership_of(self, user: str) -> object:
        """Return the membership of *user*; None without one."""
        member = self.state.get(("m.room.member", user))
        return None if member is None else member.content.get("membership")

    @property
    def join_rule(self) -> object:
        """The join rule in force; a room without one is by invitation."""
        rules = self.state.get(JOIN_RULES_KEY)
        return "invite" if rules is None else rules.content.get("join_rule", "invite")


Rule: TypeAlias = Callable[[Attempt], bool]
"""One authorisation rule: True allows the event at once, False leaves it to the next rule, and a rejection is
raised. An event that no rule rejects is allowed."""


def reject(rule: AuthRule, text: str) -> NoReturn:
    """Reject the event by *rule*."""
    raise AuthRejectionError(rule, text)


def domain_of(identifier: str) -> str | None:
    """Return the part after the first colon of an id, without a look at its form; None without a colon."""
    _, colon, domain = identifier.partition(":")
    return domain if colon else None

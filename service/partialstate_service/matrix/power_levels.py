"""Power levels: who may do what, read from the create event and the power levels event of a room's state.

Source: client-server API v1.19, `m.room.power_levels`; room versions 1 ("stringy" and "floaty" levels), 10
(integers only) and 12 (creators above everyone).
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from partialstate_service.matrix.auth_rule import AuthRejectionError, AuthRule
from partialstate_service.matrix.event import Event, JsonObject

CREATOR_LEVEL: Final = 2**53
"""The level of a creator from room version 12: above every integer that canonical JSON can hold."""

DEFAULT_LEVELS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "users_default": 0,
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "redact": 50,
        "kick": 50,
        "invite": 0,
    }
)
"""The single levels, with what each is where the power levels event or the key is missing."""

_CREATOR_LEVEL_WITHOUT_EVENT = 100
# A resolution looks at the power levels events of a few forks in turn; each entry keeps two events alive.
_CACHED_ROOMS = 128


def read_level(value: Any) -> int:
    """Return a level as the integer it stands for.

    Versions before 10 let levels be strings, floats (truncated) and booleans; what counts is what `int()` makes
    of them, because that is how the rooms' servers read them. Raises `AuthRejectionError` for anything else.
    """
    if type(value) is int:
        return value
    if isinstance(value, str | float | bool):
        try:
            return int(value)
        except (ValueError, OverflowError):
            pass
    raise AuthRejectionError(AuthRule.POWER_LEVEL_READABLE, f"not a power level: {value!a:.64}")


class PowerLevels:
    """The levels in force in one state of a room; reading one that is malformed raises `AuthRejectionError`."""

    __slots__ = ("_content", "_creators", "_default_creator")

    def __init__(self, create: Event, event: Event | None) -> None:
        self._content: JsonObject = {} if event is None else event.content
        self._creators: frozenset[str] = frozenset()
        self._default_creator: str | None = None
        if create.room_version.privileged_creators:
            self._creators = room_creators(create)
        elif event is None:
            self._default_creator = sole_creator(create)

    def user_level(self, user: str) -> int:
        """Return the level of *user*."""
        if user in self._creators:
            return CREATOR_LEVEL
        if user == self._default_creator:
            return _CREATOR_LEVEL_WITHOUT_EVENT
        level = self._map("users").get(user)
        return self.level("users_default") if level is None else read_level(level)

    def level(self, name: str) -> int:
        """Return the single level *name*, one of `DEFAULT_LEVELS`."""
        level = self._content.get(name)
        return DEFAULT_LEVELS[name] if level is None else read_level(level)

    def required_level(self, event_type: str, *, is_state: bool) -> int:
        """Return the level that sending an event of this type requires."""
        level = self._map("events").get(event_type)
        if level is not None:
            return read_level(level)
        # Unlike other single levels, these two are not defaulted where they are null (see DEVIATIONS.md).
        name = "state_default" if is_state else "events_default"
        return read_level(self._content.get(name, DEFAULT_LEVELS[name]))

    def _map(self, name: str) -> Mapping[str, Any]:
        entries = self._content.get(name, _NO_LEVELS)
        if isinstance(entries, Mapping):
            return entries
        raise AuthRejectionError(
            AuthRule.POWER_LEVEL_READABLE, f"{name} of the power levels is not an object"
        )


_NO_LEVELS: Mapping[str, Any] = MappingProxyType({})


@lru_cache(maxsize=_CACHED_ROOMS)
def power_levels(create: Event, event: Event | None) -> PowerLevels:
    """Return the levels that *event*, the room's power levels event if it has one, puts in force."""
    return PowerLevels(create, event)


def sole_creator(create: Event) -> str | None:
    """Return the creator of a room of a version before 12: the sender or, before 11, who `creator` names."""
    if create.room_version.implicit_room_creator:
        return create.sender
    creator = create.content.get("creator")
    return creator if isinstance(creator, str) else None


def room_creators(create: Event) -> frozenset[str]:
    """Return the creators of a room from version 12: the sender and the additional creators."""
    additional = create.content.get("additional_creators")
    named = additional if isinstance(additional, list | tuple) else ()
    return frozenset([create.sender, *(user for user in named if isinstance(user, str))])

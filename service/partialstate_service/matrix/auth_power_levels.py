"""Rules on power levels events, and on who may send what (rules 6 and 8 to 10 of version 12)."""

from collections.abc import Mapping
from typing import Any

from partialstate_service.matrix.auth_attempt import POWER_LEVELS_KEY, Attempt, domain_of, reject
from partialstate_service.matrix.auth_rule import AuthRule
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.power_levels import DEFAULT_LEVELS, read_level, room_creators


def sender_is_joined(attempt: Attempt) -> bool:
    """6: only members send."""
    if attempt.membership_of(attempt.event.sender) != "join":
        reject(AuthRule.SENDER_JOINED, f"{attempt.event.sender!a:.64} is not joined")
    return False


def sender_has_required_level(attempt: Attempt) -> bool:
    """8: sending takes the level of the event's type."""
    event = attempt.event
    required = attempt.levels.required_level(event.type, is_state=event.state_key is not None)
    if (level := attempt.sender_level) < required:
        reject(
            AuthRule.REQUIRED_LEVEL, f"{event.sender!a:.64} has {level} of {required} for {event.type!a:.64}"
        )
    return False


def state_key_is_senders(attempt: Attempt) -> bool:
    """9: state that is named like a user is that user's alone."""
    event = attempt.event
    if event.state_key is not None and event.state_key.startswith("@") and event.state_key != event.sender:
        reject(
            AuthRule.STATE_KEY_OWNER,
            f"{event.sender!a:.64} does not set the state of {event.state_key!a:.64}",
        )
    return False


def power_levels_are_state(attempt: Attempt) -> bool:
    """A power levels event without a state key is no state, so nothing it says can be compared (DEVIATIONS.md)."""
    if attempt.event.state_key is None:
        reject(AuthRule.POWER_LEVELS_STATE_KEY, "a power levels event without a state key")
    return False


def single_levels_are_integers(attempt: Attempt) -> bool:
    """10.1, from version 10."""
    content = attempt.event.content
    for name in DEFAULT_LEVELS:
        if name in content and type(content[name]) is not int:
            reject(AuthRule.POWER_LEVELS_INTEGERS, f"{name} is not an integer")
    return False


def level_maps_are_integers(attempt: Attempt) -> bool:
    """10.2 and the integers of 10.3, from version 10."""
    content = attempt.event.content
    for name in ("events", "notifications", "users"):
        if name not in content:
            continue
        entries = content[name]
        if not isinstance(entries, Mapping) or any(type(level) is not int for level in entries.values()):
            reject(AuthRule.POWER_LEVELS_MAPS, f"{name} is not an object of integers")
    return False


def users_are_user_ids(attempt: Attempt) -> bool:
    """10.3: the users are named by user ids, and their levels can be read."""
    users = attempt.event.content.get("users", {})
    if not isinstance(users, Mapping):
        reject(AuthRule.POWER_LEVELS_USERS, "users is not an object")
    for user, level in users.items():
        if not user.startswith("@") or domain_of(user) is None:
            reject(AuthRule.POWER_LEVELS_USERS, f"not a user id: {user!a:.64}")
        read_level(level)
    return False


def users_are_no_creators(attempt: Attempt) -> bool:
    """10.4, from version 12: nothing is above or below a creator."""
    if named := room_creators(attempt.create) & attempt.event.content.get("users", {}).keys():
        reject(AuthRule.POWER_LEVELS_CREATORS, f"users names the creator {min(named)!a:.64}")
    return False


def power_levels_are_the_first(attempt: Attempt) -> bool:
    """10.5: a room's first power levels may be anything well-formed."""
    return _previous(attempt) is None


def changed_single_levels_are_within_senders(attempt: Attempt) -> bool:
    """10.6."""
    levels = attempt.sender_level, AuthRule.POWER_LEVELS_DEFAULTS_CHANGED
    before, after = _contents(attempt)
    for name in DEFAULT_LEVELS:
        _check_change(name, before, after, *levels)
    return False


def changed_event_levels_are_within_senders(attempt: Attempt) -> bool:
    """10.7, 10.8 for `events`."""
    _check_map("events", attempt, AuthRule.POWER_LEVELS_EVENTS_CHANGED)
    return False


def changed_notification_levels_are_within_senders(attempt: Attempt) -> bool:
    """10.7, 10.8 for `notifications`, from version 6 (MSC2209)."""
    _check_map("notifications", attempt, AuthRule.POWER_LEVELS_NOTIFICATIONS_CHANGED)
    return False


def changed_users_were_below_sender(attempt: Attempt) -> bool:
    """10.9: other users' levels are changed from above only; the own one may be given up."""
    sender, level = attempt.event.sender, attempt.sender_level
    before, after = _maps("users", attempt)
    for user, value in before.items():
        old = read_level(value)
        changed = user not in after or read_level(after[user]) != old
        if changed and old >= level and user != sender:
            reject(AuthRule.POWER_LEVELS_PEERS, f"{user!a:.64} has {old}, the sender {level}")
    return False


def changed_users_stay_within_senders(attempt: Attempt) -> bool:
    """10.10: nobody is raised above the sender."""
    level = attempt.sender_level
    before, after = _maps("users", attempt)
    for user, value in after.items():
        new = read_level(value)
        if new > level and (user not in before or read_level(before[user]) != new):
            reject(
                AuthRule.POWER_LEVELS_USERS_RAISED, f"{user!a:.64} would get {new}, the sender has {level}"
            )
    return False


def _previous(attempt: Attempt) -> Event | None:
    # Power levels under another state key have no power, and none before them.
    return attempt.state.get(POWER_LEVELS_KEY) if attempt.event.state_key == "" else None


def _contents(attempt: Attempt) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    previous = _previous(attempt)
    return ({} if previous is None else previous.content), attempt.event.content


def _maps(name: str, attempt: Attempt) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    before, after = _contents(attempt)
    return _entries(name, before), _entries(name, after)


def _entries(name: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    entries = content.get(name, {})
    # Before version 10 an empty list or string passes for no entries (see DEVIATIONS.md).
    if entries in ([], ""):
        return {}
    if not isinstance(entries, Mapping):
        reject(AuthRule.POWER_LEVEL_READABLE, f"{name} is not an object")
    return entries


def _check_map(name: str, attempt: Attempt, rule: AuthRule) -> None:
    level = attempt.sender_level
    before, after = _maps(name, attempt)
    for key in before.keys() | after.keys():
        _check_change(key, before, after, level, rule)


def _check_change(
    key: str, before: Mapping[str, Any], after: Mapping[str, Any], level: int, rule: AuthRule
) -> None:
    old = read_level(before[key]) if key in before else None
    new = read_level(after[key]) if key in after else None
    if old == new:
        return
    if (old is not None and old > level) or (new is not None and new > level):
        reject(rule, f"{key!a:.64} would go from {old} to {new}, the sender has {level}")

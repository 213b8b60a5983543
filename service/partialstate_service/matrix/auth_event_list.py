"""The auth events of an event: which ones it needs, and the rules on those it claims (rules 2 and 3 of version 12).

Source: server-server API v1.19, "Auth events selection".
"""

from collections.abc import Callable, Container, Sequence
from typing import TypeAlias

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.auth_attempt import CREATE_KEY, JOIN_RULES_KEY, POWER_LEVELS_KEY, reject
from partialstate_service.matrix.auth_rule import AuthRule
from partialstate_service.matrix.auth_third_party_invite import third_party_signed
from partialstate_service.matrix.event import Event, StateKey

AuthEventsRule: TypeAlias = Callable[[Event, Sequence[Event], Container[EventId]], None]
"""A rule on (event, its auth events, the ids of rejected events); it raises a rejection or does nothing."""


def auth_state_keys(event: Event) -> tuple[StateKey, ...]:
    """Return the state that authorising *event* can look at, the create event included in every version."""
    if event.type == CREATE_KEY[0]:
        return ()
    keys = [CREATE_KEY, POWER_LEVELS_KEY, ("m.room.member", event.sender)]
    if event.type == "m.room.member" and event.state_key is not None:
        keys += _member_keys(event, event.state_key)
    return tuple(keys)


def _member_keys(event: Event, target: str) -> list[StateKey]:
    membership = event.content.get("membership")
    keys: list[StateKey] = [] if target == event.sender else [("m.room.member", target)]
    if membership in ("join", "invite", "knock"):
        keys.append(JOIN_RULES_KEY)
    if membership == "invite":
        token = (third_party_signed(event) or {}).get("token")
        if isinstance(token, str):
            keys.append(("m.room.third_party_invite", token))
    if membership == "join" and event.room_version.restricted_joins:
        voucher = event.content.get("join_authorised_via_users_server")
        if isinstance(voucher, str) and voucher not in (event.sender, target):
            keys.append(("m.room.member", voucher))
    return keys


def claimed_auth_event_ids(event: Event) -> tuple[EventId, ...]:
    """Return the auth events that *event* claims; from version 12 with the create event that its room id implies."""
    create_id = implied_create_id(event)
    return event.auth_event_ids if create_id is None else (*event.auth_event_ids, create_id)


def implied_create_id(event: Event) -> EventId | None:
    """Return the create event that the room id names, from version 12; None before, and for a create event."""
    if not event.room_version.room_ids_as_hashes or event.type == CREATE_KEY[0]:
        return None
    return EventId("$" + event.room_id[1:])


def create_is_accepted(event: Event, _auth_events: Sequence[Event], rejected: Container[EventId]) -> None:
    """2, from version 12: the create event that the room id names was not rejected."""
    if (create_id := implied_create_id(event)) is not None and create_id in rejected:
        reject(AuthRule.ROOM_ID_NAMES_CREATE, f"the create event {create_id!a:.64} was rejected")


def auth_events_are_distinct(
    _event: Event, auth_events: Sequence[Event], _rejected: Container[EventId]
) -> None:
    """3.1."""
    seen: set[tuple[str, str | None]] = set()
    for auth_event in auth_events:
        if (key := (auth_event.type, auth_event.state_key)) in seen:
            reject(AuthRule.AUTH_EVENTS_DUPLICATE, f"two auth events are {key!a:.128}")
        seen.add(key)


def auth_events_are_needed(event: Event, auth_events: Sequence[Event], _rejected: Container[EventId]) -> None:
    """3.2: from version 12 the create event is implied by the room id and not listed."""
    needed = set(auth_state_keys(event))
    implied = implied_create_id(event)
    for auth_event in auth_events:
        key = (auth_event.type, auth_event.state_key)
        listed_create = (
            implied is not None and key == CREATE_KEY and auth_event.event_id in event.auth_event_ids
        )
        if key not in needed or listed_create:
            reject(AuthRule.AUTH_EVENTS_SELECTION, f"the event does not need the auth event {key!a:.128}")


def auth_events_are_accepted(
    _event: Event, auth_events: Sequence[Event], rejected: Container[EventId]
) -> None:
    """3.3."""
    for auth_event in auth_events:
        if auth_event.event_id in rejected:
            reject(AuthRule.AUTH_EVENTS_REJECTED, f"the auth event {auth_event.event_id!a:.64} was rejected")


def auth_events_have_create(
    _event: Event, auth_events: Sequence[Event], _rejected: Container[EventId]
) -> None:
    """2.4, until version 11."""
    for auth_event in auth_events:
        if auth_event.type == CREATE_KEY[0] and auth_event.state_key == CREATE_KEY[1]:
            return
    reject(AuthRule.MISSING_CREATE, "the create event is not among the auth events")


def auth_events_are_of_room(
    event: Event, auth_events: Sequence[Event], _rejected: Container[EventId]
) -> None:
    """3.5: power in one room is not power in another."""
    for auth_event in auth_events:
        if auth_event.room_id != event.room_id:
            reject(
                AuthRule.AUTH_EVENTS_ROOM,
                f"{auth_event.event_id!a:.64} is of the room {auth_event.room_id!a:.64}",
            )

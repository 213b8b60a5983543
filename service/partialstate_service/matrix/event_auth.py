"""Event authorisation for room versions 1 to 12: is this event allowed by that state?

Each rule is a function of its own, named after what it demands; the tables below put them in the specification's
order, per room version. Source: room versions v1.19, "Authorization rules"; DEVIATIONS.md lists where the rules
follow what homeservers do rather than the text.

Two questions are asked of an event: `check_auth_events` looks at the list of auth events that it claims, and
`check_auth` at a state of the room: that list's (`check_auth_by` asks both), the one before the event, or one that is
being resolved.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix import auth_create as create
from partialstate_service.matrix import auth_early_versions as early
from partialstate_service.matrix import auth_event_list as listed
from partialstate_service.matrix import auth_membership as member
from partialstate_service.matrix import auth_power_levels as levels
from partialstate_service.matrix import auth_restricted as restricted
from partialstate_service.matrix import auth_third_party_invite as third_party
from partialstate_service.matrix.auth_attempt import Attempt, Rule
from partialstate_service.matrix.auth_event_list import auth_state_keys, claimed_auth_event_ids
from partialstate_service.matrix.auth_rule import AuthRejectionError, AuthRule
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.room_versions import ROOM_VERSIONS, RoomVersion

__all__ = [
    "RULE_TABLES",
    "AuthRejectionError",
    "AuthRule",
    "RuleTable",
    "auth_state_keys",
    "check_auth",
    "check_auth_by",
    "check_auth_events",
    "claimed_auth_event_ids",
]

THIRD_PARTY_INVITE = "invite that fulfils a third-party invite"


@dataclass(frozen=True, slots=True)
class RuleTable:
    """The rules of one room version, each row in the order of the specification."""

    by_type: Mapping[str, tuple[Rule, ...]]
    other_types: tuple[Rule, ...]
    by_membership: Mapping[str, tuple[Rule, ...]]
    other_memberships: tuple[Rule, ...]
    auth_events: tuple[listed.AuthEventsRule, ...]


def check_auth(event: Event, state: Mapping[StateKey, Event]) -> None:
    """Raise `AuthRejectionError` unless *state*, of which only `auth_state_keys` are read, allows *event*."""
    attempt = Attempt(event, state)
    for rule in _rules(RULE_TABLES[event.room_version.version], event):
        if rule(attempt):
            return


def check_auth_events(event: Event, auth_events: Sequence[Event], rejected: Container[EventId]) -> None:
    """Raise `AuthRejectionError` unless *event* may claim *auth_events*, of which none may be in *rejected*.

    *auth_events* are the events of `event.auth_event_ids` or of `claimed_auth_event_ids(event)`, all of them.
    """
    if event.type == "m.room.create":
        return
    for rule in RULE_TABLES[event.room_version.version].auth_events:
        rule(event, auth_events, rejected)


def check_auth_by(event: Event, auth_events: Sequence[Event], rejected: Container[EventId]) -> None:
    """Raise `AuthRejectionError` unless *event* may claim *auth_events*, as in `check_auth_events`, and they allow it."""
    check_auth_events(event, auth_events, rejected)
    check_auth(
        event, {(auth.type, auth.state_key): auth for auth in auth_events if auth.state_key is not None}
    )


def _rules(table: RuleTable, event: Event) -> tuple[Rule, ...]:
    if event.type != "m.room.member":
        return table.by_type.get(event.type, table.other_types)
    membership = event.content.get("membership")
    if not isinstance(membership, str):
        return table.other_memberships
    if membership == "invite" and "third_party_invite" in event.content:
        membership = THIRD_PARTY_INVITE
    return table.by_membership.get(membership, table.other_memberships)


def _rules_where(*rules: tuple[bool, Rule]) -> tuple[Rule, ...]:
    return tuple(rule for applies, rule in rules if applies)


def _create_rules(version: RoomVersion) -> tuple[Rule, ...]:
    return _rules_where(
        (True, create.create_has_no_prev_events),
        (not version.room_ids_as_hashes, create.create_room_id_has_senders_domain),
        (version.room_ids_as_hashes, create.create_has_no_room_id),
        (True, create.create_has_recognised_room_version),
        (not version.implicit_room_creator, create.create_names_creator),
        (version.privileged_creators, create.create_has_valid_additional_creators),
    )


def _room_rules(version: RoomVersion) -> tuple[Rule, ...]:
    return _rules_where(
        (version.room_ids_as_hashes, create.room_id_names_create),
        (True, create.sender_may_federate),
    )


def _memberships(version: RoomVersion) -> dict[str, tuple[Rule, ...]]:
    every = _rules_where(
        (True, member.member_is_user),
        (True, create.target_may_federate),
        (not version.integer_power_levels, member.levels_are_readable),
    )
    memberships = {
        "join": (member.creator_joins_first, *every, *_join_rules(version)),
        "invite": (*every, member.inviter_is_joined, member.invited_is_outside, member.inviter_has_level),
        THIRD_PARTY_INVITE: (
            *every,
            third_party.third_party_target_is_not_banned,
            third_party.third_party_invite_is_signed,
            third_party.third_party_signed_has_fields,
            third_party.third_party_mxid_is_target,
            third_party.third_party_token_is_known,
            third_party.third_party_sender_is_inviter,
            third_party.third_party_signature_is_valid,
        ),
        "leave": (
            *every,
            member.leaver_is_inside,
            member.kicker_is_joined,
            member.unbanner_has_ban_level,
            member.kicker_has_level,
        ),
        "ban": (*every, member.banner_is_joined, member.banner_has_level),
    }
    if version.knocking:
        memberships["knock"] = (
            *every,
            member.knock_is_possible,
            member.knock_is_for_oneself,
            member.knocker_is_outside,
        )
    return memberships


def _join_rules(version: RoomVersion) -> tuple[Rule, ...]:
    return _rules_where(
        (True, member.join_is_for_oneself),
        (True, member.join_is_not_of_banned),
        (True, member.join_of_closed_room_is_invited),
        (version.restricted_joins, restricted.join_of_restricted_room_is_authorised),
        (True, member.join_of_public_room),
        (True, member.join_rule_is_known),
    )


def _redaction_rules(version: RoomVersion) -> tuple[Rule, ...]:
    return _rules_where(
        (version.redaction_auth_rule, early.redaction_is_of_moderator_or_own_server),
        (
            not version.redaction_auth_rule and not version.integer_power_levels,
            early.redact_level_is_readable,
        ),
    )


def _power_levels_rules(version: RoomVersion) -> tuple[Rule, ...]:
    return _rules_where(
        (True, levels.power_levels_are_state),
        (version.integer_power_levels, levels.single_levels_are_integers),
        (version.integer_power_levels, levels.level_maps_are_integers),
        (True, levels.users_are_user_ids),
        (version.privileged_creators, levels.users_are_no_creators),
        (True, levels.power_levels_are_the_first),
        (True, levels.changed_single_levels_are_within_senders),
        (True, levels.changed_event_levels_are_within_senders),
        (version.limit_notifications_power_levels, levels.changed_notification_levels_are_within_senders),
        (True, levels.changed_users_were_below_sender),
        (True, levels.changed_users_stay_within_senders),
    )


def _auth_events_rules(version: RoomVersion) -> tuple[listed.AuthEventsRule, ...]:
    claims = (
        listed.auth_events_are_of_room,
        listed.auth_events_are_distinct,
        listed.auth_events_are_needed,
        listed.auth_events_are_accepted,
    )
    if version.room_ids_as_hashes:
        return (listed.create_is_accepted, *claims)
    return (*claims, listed.auth_events_have_create)


def _table(version: RoomVersion) -> RuleTable:
    room = _room_rules(version)
    sending: tuple[Rule, ...] = (*room, levels.sender_is_joined)
    other = (*sending, levels.sender_has_required_level, levels.state_key_is_senders)
    by_type = {
        "m.room.create": _create_rules(version),
        "m.room.third_party_invite": (*sending, third_party.third_party_inviter_has_level),
        "m.room.power_levels": (*other, *_power_levels_rules(version)),
        "m.room.redaction": (*other, *_redaction_rules(version)),
    }
    if version.special_aliases:
        by_type["m.room.aliases"] = (
            *room,
            early.aliases_have_state_key,
            early.aliases_are_of_senders_server,
        )
    any_member = (*room, member.member_has_state_key_and_membership)
    return RuleTable(
        by_type=MappingProxyType(by_type),
        other_types=other,
        by_membership=MappingProxyType(
            {name: (*any_member, *rules) for name, rules in _memberships(version).items()}
        ),
        other_memberships=(*any_member, member.membership_is_known),
        auth_events=_auth_events_rules(version),
    )


RULE_TABLES: dict[str, RuleTable] = {name: _table(version) for name, version in ROOM_VERSIONS.items()}

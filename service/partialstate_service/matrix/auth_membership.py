"""Rules on memberships: join, leave, ban, knock and plain invites (rule 5 of version 12)."""

from partialstate_service.matrix.auth_attempt import Attempt, domain_of, reject
from partialstate_service.matrix.auth_rule import AuthRule
from partialstate_service.matrix.power_levels import sole_creator


def member_has_state_key_and_membership(attempt: Attempt) -> bool:
    """5.1: a membership event is somebody's, and says which membership."""
    event = attempt.event
    if event.state_key is None or "membership" not in event.content:
        reject(AuthRule.MEMBER_FORMAT, "a membership event without a state key or a membership")
    return False


def member_is_user(attempt: Attempt) -> bool:
    """A membership is of something with a server name, else no rule on federation can be decided."""
    if domain_of(attempt.target) is None:
        reject(AuthRule.MEMBER_USER_ID, f"not a user id: {attempt.target!a:.64}")
    return False


def levels_are_readable(attempt: Attempt) -> bool:
    """The levels of sender and target, to invite and to ban are integers, even where no rule compares them.

    Before version 10 a power levels event may hold ones that are not; then no membership changes (DEVIATIONS.md).
    """
    levels = attempt.levels
    levels.user_level(attempt.event.sender)
    levels.user_level(attempt.target)
    levels.level("invite")
    levels.level("ban")
    return False


def creator_joins_first(attempt: Attempt) -> bool:
    """5.3.1: the creator joins right after the create event, whatever the room's state."""
    create = attempt.create
    if attempt.event.prev_event_ids != (create.event_id,):
        return False
    return attempt.event.state_key == sole_creator(create)


def join_is_for_oneself(attempt: Attempt) -> bool:
    """5.3.2: nobody is made to join."""
    if attempt.event.sender != attempt.event.state_key:
        reject(AuthRule.JOIN_SENDER, f"{attempt.event.sender!a:.64} does not join for {attempt.target!a:.64}")
    return False


def join_is_not_of_banned(attempt: Attempt) -> bool:
    """5.3.3: a banned user stays out."""
    if attempt.membership_of(attempt.target) == "ban":
        reject(AuthRule.JOIN_BANNED, f"{attempt.target!a:.64} is banned")
    return False


def join_of_closed_room_is_invited(attempt: Attempt) -> bool:
    """5.3.4: with the join rules invite and knock, who joins is invited or already joined."""
    rule = attempt.join_rule
    if rule != "invite" and not (rule == "knock" and attempt.event.room_version.knocking):
        return False
    if attempt.membership_of(attempt.event.sender) not in {"invite", "join"}:
        reject(AuthRule.JOIN_INVITED, f"{attempt.event.sender!a:.64} is not invited")
    return True


def join_of_public_room(attempt: Attempt) -> bool:
    """5.3.6: everybody may join a public room."""
    return attempt.join_rule == "public"


def join_rule_is_known(attempt: Attempt) -> bool:
    """5.3.7: every other join rule keeps everyone out."""
    reject(AuthRule.JOIN_RULE, f"nobody joins by the join rule {attempt.join_rule!a:.64}")


def inviter_is_joined(attempt: Attempt) -> bool:
    """5.4.2: only members invite."""
    _sender_is_joined(attempt, AuthRule.INVITE_SENDER)
    return False


def invited_is_outside(attempt: Attempt) -> bool:
    """5.4.3: neither the joined nor the banned are invited."""
    if (membership := attempt.membership_of(attempt.target)) in {"join", "ban"}:
        reject(AuthRule.INVITE_TARGET, f"{attempt.target!a:.64} has the membership {membership!a:.64}")
    return False


def inviter_has_level(attempt: Attempt) -> bool:
    """5.4.4, 5.4.5: inviting takes the invite level."""
    if attempt.sender_level < attempt.levels.level("invite"):
        reject(AuthRule.INVITE_LEVEL, f"{attempt.event.sender!a:.64} has less than the invite level")
    return False


def leaver_is_inside(attempt: Attempt) -> bool:
    """5.5.1: users leave what they are in, or were asked or asked to come into."""
    event = attempt.event
    if event.sender != event.state_key:
        return False
    leavable = {"invite", "join", "knock"} if event.room_version.knocking else {"invite", "join"}
    if attempt.membership_of(event.sender) not in leavable:
        reject(AuthRule.LEAVE_OWN, f"{event.sender!a:.64} is not in the room")
    return True


def kicker_is_joined(attempt: Attempt) -> bool:
    """5.5.2: only members kick or unban."""
    _sender_is_joined(attempt, AuthRule.KICK_SENDER)
    return False


def unbanner_has_ban_level(attempt: Attempt) -> bool:
    """5.5.3: lifting a ban takes the ban level (and, by the next rule, the kick level)."""
    if attempt.membership_of(attempt.target) == "ban" and attempt.sender_level < attempt.levels.level("ban"):
        reject(AuthRule.UNBAN_LEVEL, f"{attempt.event.sender!a:.64} has less than the ban level")
    return False


def kicker_has_level(attempt: Attempt) -> bool:
    """5.5.4, 5.5.5: kicking takes the kick level and more power than the target."""
    level = attempt.sender_level
    if level < attempt.levels.level("kick") or level <= attempt.target_level:
        reject(AuthRule.KICK_LEVEL, f"{attempt.event.sender!a:.64} does not kick {attempt.target!a:.64}")
    return False


def banner_is_joined(attempt: Attempt) -> bool:
    """5.6.1: only members ban."""
    _sender_is_joined(attempt, AuthRule.BAN_SENDER)
    return False


def banner_has_level(attempt: Attempt) -> bool:
    """5.6.2, 5.6.3: banning takes the ban level and more power than the target."""
    level = attempt.sender_level
    if level < attempt.levels.level("ban") or level <= attempt.target_level:
        reject(AuthRule.BAN_LEVEL, f"{attempt.event.sender!a:.64} does not ban {attempt.target!a:.64}")
    return False


def knock_is_possible(attempt: Attempt) -> bool:
    """5.7.1, from version 7: the join rule is knock or, from version 10, knock_restricted."""
    rule = attempt.join_rule
    if rule != "knock" and not (rule == "knock_restricted" and attempt.event.room_version.knock_restricted):
        reject(AuthRule.KNOCK_JOIN_RULE, f"nobody knocks with the join rule {rule!a:.64}")
    return False


def knock_is_for_oneself(attempt: Attempt) -> bool:
    """5.7.2: nobody is made to knock."""
    if attempt.event.sender != attempt.event.state_key:
        reject(
            AuthRule.KNOCK_SENDER, f"{attempt.event.sender!a:.64} does not knock for {attempt.target!a:.64}"
        )
    return False


def knocker_is_outside(attempt: Attempt) -> bool:
    """5.7.3, 5.7.4: neither the banned, the invited nor the joined knock."""
    if (membership := attempt.membership_of(attempt.event.sender)) in {"ban", "invite", "join"}:
        reject(
            AuthRule.KNOCK_MEMBERSHIP, f"{attempt.event.sender!a:.64} has the membership {membership!a:.64}"
        )
    return False


def membership_is_known(attempt: Attempt) -> bool:
    """5.8: there are no other memberships."""
    reject(AuthRule.MEMBERSHIP_UNKNOWN, f"unknown membership {attempt.event.content.get('membership')!a:.64}")


def _sender_is_joined(attempt: Attempt, rule: AuthRule) -> None:
    if attempt.membership_of(attempt.event.sender) != "join":
        reject(rule, f"{attempt.event.sender!a:.64} is not joined")

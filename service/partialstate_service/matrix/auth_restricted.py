"""The rule on restricted joins (MSC3083; room version 8 and, with knocking, 10; rule 5.3.5 of version 12)."""

from partialstate_service.matrix.auth_attempt import Attempt, reject
from partialstate_service.matrix.auth_rule import AuthRule


def join_of_restricted_room_is_authorised(attempt: Attempt) -> bool:
    """5.3.5: who is neither joined nor invited needs a member with the invite level to vouch for the join.

    That the member's server signed the join (rule 5.2) is a check of signatures, made before any rule.
    """
    event, rule = attempt.event, attempt.join_rule
    if rule != "restricted" and not (rule == "knock_restricted" and event.room_version.knock_restricted):
        return False
    if attempt.membership_of(event.sender) in {"join", "invite"}:
        return True
    voucher = event.content.get("join_authorised_via_users_server")
    if not isinstance(voucher, str):
        reject(AuthRule.JOIN_AUTHORISED, "nobody authorised the restricted join")
    if attempt.membership_of(voucher) != "join":
        reject(AuthRule.JOIN_AUTHORISED, f"{voucher!a:.64}, who authorised the join, is not joined")
    if attempt.levels.user_level(voucher) < attempt.levels.level("invite"):
        reject(AuthRule.JOIN_AUTHORISED, f"{voucher!a:.64}, who authorised the join, may not invite")
    return True

"""Rules that only early room versions have: aliases (until version 5) and redactions (versions 1 and 2)."""

from partialstate_service.matrix.auth_attempt import Attempt, domain_of, reject
from partialstate_service.matrix.auth_rule import AuthRule


def aliases_have_state_key(attempt: Attempt) -> bool:
    """4.1 until version 5."""
    if not attempt.event.state_key:
        reject(AuthRule.ALIASES_STATE_KEY, "an aliases event without a state key")
    return False


def aliases_are_of_senders_server(attempt: Attempt) -> bool:
    """4.2, 4.3 until version 5: each server has its own aliases, and needs no membership to change them."""
    if attempt.event.state_key != domain_of(attempt.event.sender):
        reject(AuthRule.ALIASES_DOMAIN, f"{attempt.event.sender!a:.64} does not set other servers' aliases")
    return True


def redact_level_is_readable(attempt: Attempt) -> bool:
    """The redact level is an integer, even in versions whose rules do not compare it (see DEVIATIONS.md)."""
    attempt.levels.level("redact")
    return False


def redaction_is_of_moderator_or_own_server(attempt: Attempt) -> bool:
    """11 in versions 1 and 2: moderators redact everything, servers what has an event id of theirs."""
    event = attempt.event
    if attempt.sender_level >= attempt.levels.level("redact"):
        return False
    redacts = event.raw.get("redacts")
    # A redaction of nothing harms nobody, and passes (see DEVIATIONS.md).
    if not isinstance(redacts, str):
        return False
    domain = domain_of(redacts)
    if domain is None or domain != domain_of(event.event_id):
        reject(AuthRule.REDACTION, f"{event.sender!a:.64} does not redact {redacts!a:.64}")
    return False

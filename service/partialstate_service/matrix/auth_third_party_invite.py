"""Rules on third-party invites (rules 5.4.1 and 7 of version 12)."""

from collections.abc import Iterator, Mapping
from typing import Any

from unpaddedbase64 import decode_base64

from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.auth_attempt import Attempt, reject
from partialstate_service.matrix.auth_rule import AuthRule
from partialstate_service.matrix.ed25519 import PUBLIC_KEY_BYTES, KeyId
from partialstate_service.matrix.event import Event, JsonObject
from partialstate_service.matrix.signing import verify_json_signature


def third_party_target_is_not_banned(attempt: Attempt) -> bool:
    """5.4.1.1: a ban holds against third-party invites too."""
    if attempt.membership_of(attempt.target) == "ban":
        reject(AuthRule.THIRD_PARTY_BANNED, f"{attempt.target!a:.64} is banned")
    return False


def third_party_invite_is_signed(attempt: Attempt) -> bool:
    """5.4.1.2: the invite holds what the identity server signed."""
    if third_party_signed(attempt.event) is None:
        reject(AuthRule.THIRD_PARTY_SIGNED, "the third-party invite has no signed object")
    return False


def third_party_signed_has_fields(attempt: Attempt) -> bool:
    """5.4.1.3: the identity server signed who the user is and which invite this is."""
    signed = third_party_signed(attempt.event) or {}
    if not all(isinstance(signed.get(name), str) for name in ("mxid", "token")) or "signatures" not in signed:
        reject(AuthRule.THIRD_PARTY_FIELDS, "the signed object lacks mxid, token or signatures")
    return False


def third_party_mxid_is_target(attempt: Attempt) -> bool:
    """5.4.1.4: the invited user is the one that the identity server signed."""
    signed = third_party_signed(attempt.event) or {}
    if signed.get("mxid") != attempt.event.state_key:
        reject(AuthRule.THIRD_PARTY_MXID, f"the signed object is not for {attempt.target!a:.64}")
    return False


def third_party_token_is_known(attempt: Attempt) -> bool:
    """5.4.1.5: somebody made the invite in this room."""
    if _invite(attempt) is None:
        reject(AuthRule.THIRD_PARTY_TOKEN, "the room has no third-party invite of this token")
    return False


def third_party_sender_is_inviter(attempt: Attempt) -> bool:
    """5.4.1.6: who made the invite is who sends its fulfilment."""
    invite = _invite(attempt)
    if invite is None or invite.sender != attempt.event.sender:
        reject(AuthRule.THIRD_PARTY_SENDER, f"the third-party invite is not of {attempt.event.sender!a:.64}")
    return False


def third_party_signature_is_valid(attempt: Attempt) -> bool:
    """5.4.1.7, 5.4.1.8: one of the invite's public keys verifies the signed object.

    Only the first ed25519 signature counts, as it does for Synapse, whose check of one public key ends with the
    first signature (see DEVIATIONS.md); identity servers make exactly one. That also bounds the work.
    """
    signed, invite = third_party_signed(attempt.event), _invite(attempt)
    first = None if signed is None else _first_signature(signed)
    if (
        signed is None
        or invite is None
        or first is None
        or not any(verify_json_signature(signed, *first, public) for public in _public_keys(invite))
    ):
        reject(AuthRule.THIRD_PARTY_SIGNATURE, "no public key of the invite verifies the signed object")
    return True


def third_party_inviter_has_level(attempt: Attempt) -> bool:
    """7.1: making a third-party invite takes the invite level and nothing else."""
    if attempt.sender_level < attempt.levels.level("invite"):
        reject(
            AuthRule.THIRD_PARTY_INVITE_LEVEL, f"{attempt.event.sender!a:.64} has less than the invite level"
        )
    return True


def third_party_signed(event: Event) -> JsonObject | None:
    """Return what the identity server signed, of an invite that fulfils a third-party invite."""
    invite = event.content.get("third_party_invite")
    signed = invite.get("signed") if isinstance(invite, Mapping) else None
    return signed if isinstance(signed, Mapping) else None


def _invite(attempt: Attempt) -> Event | None:
    token = (third_party_signed(attempt.event) or {}).get("token")
    return attempt.state.get(("m.room.third_party_invite", token)) if isinstance(token, str) else None


def _first_signature(signed: JsonObject) -> tuple[ServerName, KeyId] | None:
    signatures = signed.get("signatures")
    if not isinstance(signatures, Mapping):
        return None
    for server, by_key in signatures.items():
        if not isinstance(by_key, Mapping):
            return None
        for key_id in by_key:
            if key_id.startswith("ed25519:"):
                return ServerName(server), KeyId(key_id)
    return None


def _public_keys(invite: Event) -> Iterator[bytes]:
    """Yield the public keys of *invite* up to the first malformed one, which ends the search."""
    content = invite.content
    entries: list[Any] = [content] if "public_key" in content else []
    more = content.get("public_keys", [])
    if not isinstance(more, list):
        return
    for entry in [*entries, *more]:
        text = entry.get("public_key") if isinstance(entry, Mapping) else None
        if not isinstance(text, str):
            return
        try:
            public = decode_base64(text)
        except ValueError:
            return
        if len(public) != PUBLIC_KEY_BYTES:
            return
        yield public

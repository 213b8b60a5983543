"""Which servers must have signed an event, and whether they have.

Source: specification v1.19, server-server API, "Validating hashes and signatures on received events"; room version 5
for the validity of keys, room version 8 for restricted joins.

What is verified is `event.raw`. Where the content hash did not match, that is the redacted copy, and so are the
signers: content that nobody vouches for cannot exempt an event from a signature (a forged `third_party_invite` for
instance).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any, Final

from partialstate_service.domain.ids import ServerName, UserId, server_of
from partialstate_service.matrix.canonical_json import encode_canonical, encode_plain
from partialstate_service.matrix.ed25519 import ED25519, KeyId, verify_signature
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.hashes import signed_part
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.matrix.room_versions import EventIdFormat
from partialstate_service.matrix.signing import decode_signature

MAX_SIGNATURES_PER_SERVER: Final = 10
"""Signatures of one server on one event that are looked at: each costs a verification."""

# Policy servers sign with this key id; it says that they allow the event, not that they sent it (MSC4284).
_POLICY_KEY: Final = f"{ED25519}:policy_server"
_ALGORITHM: Final = f"{ED25519}:"


class SignatureOutcome(Enum):
    """What the signatures of an event prove."""

    VALID = "valid"
    KEY_UNKNOWN = "key unknown"
    """A signature is there, and keys that we lack or must fetch anew may prove it."""
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class SignatureVerdict:
    """The outcome, and the servers that it is about: whose keys to fetch, or whose signature is missing or wrong."""

    outcome: SignatureOutcome
    servers: tuple[ServerName, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether every server that must have signed has."""
        return self.outcome is SignatureOutcome.VALID


VALID: Final = SignatureVerdict(SignatureOutcome.VALID)


def required_signers(event: Event) -> tuple[ServerName, ...]:
    """Return the servers whose signatures *event* must carry, each once."""
    signers: list[ServerName] = []
    content = event.content
    membership = content.get("membership") if event.type == "m.room.member" else None
    # A third-party invite may be sent by another server than the one that issued it: event auth checks it instead.
    if not (membership == "invite" and "third_party_invite" in content):
        signers.append(server_of(event.sender))
    if event.room_version.event_ids is EventIdFormat.GIVEN:
        signers.append(ServerName(event.event_id.partition(":")[2]))
    if event.room_version.restricted_joins and membership == "join":
        authorised_via = content.get("join_authorised_via_users_server")
        if authorised_via is not None:
            signers.append(server_of(UserId(authorised_via)))
    return tuple(dict.fromkeys(signers))


def verify_event(
    event: Event, keys: Mapping[ServerName, ServerKeys], covered: bytes | None = None
) -> SignatureVerdict:
    """Say whether every required server has signed *event*, by the given *keys*.

    One valid signature of each is enough. INVALID wins over KEY_UNKNOWN: no key can mend it. *covered* is what the
    signatures cover, where the caller has it.
    """
    if covered is None:
        version = event.room_version
        # What was parsed under strict rules is known to be plain.
        encode = encode_plain if version.strict_canonical_json else encode_canonical
        covered = encode(signed_part(event.raw, version), strict=version.strict_canonical_json)
    unknown: list[ServerName] = []
    for server in required_signers(event):
        outcome = _verify_server(event, server, covered, keys.get(server))
        if outcome is SignatureOutcome.INVALID:
            return SignatureVerdict(outcome, (server,))
        if outcome is SignatureOutcome.KEY_UNKNOWN:
            unknown.append(server)
    return SignatureVerdict(SignatureOutcome.KEY_UNKNOWN, tuple(unknown)) if unknown else VALID


def _verify_server(
    event: Event, server: ServerName, covered: bytes, keys: ServerKeys | None
) -> SignatureOutcome:
    signatures: dict[str, Any] = event.raw.get("signatures", {}).get(server, {})
    outcome = SignatureOutcome.INVALID
    for key_id, text in islice(signatures.items(), MAX_SIGNATURES_PER_SERVER):
        if not key_id.startswith(_ALGORITHM) or key_id == _POLICY_KEY:
            continue
        public = _usable_key(event, KeyId(key_id), keys)
        if isinstance(public, SignatureOutcome):
            if public is SignatureOutcome.KEY_UNKNOWN:
                outcome = public
        elif (signature := decode_signature(text)) is not None and verify_signature(
            covered, signature, public
        ):
            return SignatureOutcome.VALID
    return outcome


def _usable_key(event: Event, key_id: KeyId, keys: ServerKeys | None) -> bytes | SignatureOutcome:
    """Return the public key, or what its lack means: only a key that may still turn up is unknown."""
    if keys is None:
        return SignatureOutcome.KEY_UNKNOWN
    enforced = event.room_version.enforce_key_validity
    if (public := keys.verify_keys.get(key_id)) is not None:
        # A newer response of the server may extend the validity.
        in_time = not enforced or event.origin_server_ts <= keys.valid_until_ts
        return public if in_time else SignatureOutcome.KEY_UNKNOWN
    if (old := keys.old_verify_keys.get(key_id)) is not None:
        public, expired_ts = old
        in_time = not enforced or event.origin_server_ts <= expired_ts
        return public if in_time else SignatureOutcome.INVALID
    return SignatureOutcome.KEY_UNKNOWN

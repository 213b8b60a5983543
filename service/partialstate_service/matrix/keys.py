"""The signing keys that servers publish (specification v1.19, server-server API, "Retrieving server keys")."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeGuard

from unpaddedbase64 import decode_base64

from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.ed25519 import (
    ED25519,
    PUBLIC_KEY_BYTES,
    KeyId,
    SigningKey,
    parse_signing_key,
)
from partialstate_service.matrix.event import JsonObject
from partialstate_service.matrix.signing import verify_json_signature

__all__ = ["InvalidKeysError", "KeyId", "ServerKeys", "SigningKey", "parse_server_keys", "parse_signing_key"]

MAX_KEYS: Final = 1000
"""Keys of each kind, current and old, that one server may publish."""
MAX_KEY_LIFE_MS: Final = 7 * 24 * 3600 * 1000
"""However long a server says that its keys are valid, they count for seven days from when they were fetched."""

# Published by mistake with a popular deployment (ELEMENTSEC-2025-1670): whoever signs with it may be anybody.
_COMPROMISED_KEYS: Final = frozenset({decode_base64("l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og=")})


class InvalidKeysError(ValueError):
    """A server's published keys are malformed, of another server, or not signed by themselves."""


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """The ed25519 keys of one server: raw public keys of 32 bytes, times in milliseconds since the epoch.

    `old_verify_keys` holds each key and when it expired.
    """

    server_name: ServerName
    valid_until_ts: int
    verify_keys: Mapping[KeyId, bytes]
    old_verify_keys: Mapping[KeyId, tuple[bytes, int]]

    @property
    def key_count(self) -> int:
        """How many keys these are, current and old."""
        return len(self.verify_keys) + len(self.old_verify_keys)

    def capped(self, fetched_at_ts: int) -> "ServerKeys":
        """Return these keys, valid for at most seven days from *fetched_at_ts* (room version 5, "Signing key validity")."""
        return replace(self, valid_until_ts=min(self.valid_until_ts, fetched_at_ts + MAX_KEY_LIFE_MS))


def parse_server_keys(response: JsonObject, expected: ServerName) -> ServerKeys:
    """Return the keys in *response*, the body of `/_matrix/key/v2/server` or one item of a notary's `server_keys`.

    Raises `InvalidKeysError` unless it is about *expected* and signed by one of the `verify_keys` in it. Keys of
    other algorithms, malformed ones and those known to be compromised are left out. A notary's signature is the
    caller's to check, with `verify_json_signature`.
    """
    if not isinstance(response, dict) or response.get("server_name") != expected:
        raise InvalidKeysError("the keys are not of the server that was asked")
    valid_until_ts = response.get("valid_until_ts")
    if not _is_timestamp(valid_until_ts):
        raise InvalidKeysError("valid_until_ts is not a time")
    verify_keys = {key_id: public for key_id, public, _ in _entries(response, "verify_keys")}
    old_verify_keys = {
        key_id: (public, expired_ts)
        for key_id, public, entry in _entries(response, "old_verify_keys")
        if _is_timestamp(expired_ts := entry.get("expired_ts"))
    }
    if not any(verify_json_signature(response, expected, *key) for key in verify_keys.items()):
        raise InvalidKeysError("no valid signature by one of the keys themselves")
    return ServerKeys(expected, valid_until_ts, verify_keys, old_verify_keys)


def _is_timestamp(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _entries(response: JsonObject, name: str) -> list[tuple[KeyId, bytes, dict[str, Any]]]:
    entries = response.get(name, {})
    if not isinstance(entries, dict) or len(entries) > MAX_KEYS:
        raise InvalidKeysError(f"{name} is not an object of at most {MAX_KEYS} keys")
    return [
        (KeyId(key_id), public, entry)
        for key_id, entry in entries.items()
        if key_id.startswith(f"{ED25519}:") and (public := _public_key(entry)) is not None
    ]


def _public_key(entry: object) -> bytes | None:
    text = entry.get("key") if isinstance(entry, dict) else None
    if not isinstance(text, str):
        return None
    try:
        public = decode_base64(text)
    except ValueError:
        return None
    return public if len(public) == PUBLIC_KEY_BYTES and public not in _COMPROMISED_KEYS else None

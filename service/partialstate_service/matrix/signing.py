"""Signing JSON and events (specification v1.19, appendices, "Signing JSON"; server-server API, "Signing Events")."""

from typing import Any

from unpaddedbase64 import decode_base64, encode_base64

from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.canonical_json import InvalidJsonError, encode_canonical
from partialstate_service.matrix.ed25519 import KeyId, SigningKey, verify_signature
from partialstate_service.matrix.event import JsonObject
from partialstate_service.matrix.hashes import content_hash, signed_part
from partialstate_service.matrix.room_versions import RoomVersion


def sign_json(obj: JsonObject, server: ServerName, key: SigningKey) -> dict[str, Any]:
    """Return *obj* with the signature of *server* added to its `signatures`; `unsigned` is kept and not covered.

    Raises `InvalidJsonError` where *obj* has no canonical JSON.
    """
    signature = key.nacl_key.sign(encode_canonical(_covered(obj))).signature
    return _with_signature(obj, server, key.key_id, signature)


def sign_event(raw: JsonObject, version: RoomVersion, server: ServerName, key: SigningKey) -> dict[str, Any]:
    """Return the event *raw* with its content hash and the signature of *server* added.

    In versions 1 and 2 *raw* carries its `event_id`. Raises `InvalidJsonError` where *raw* has no canonical JSON.
    """
    hashed = {**raw, "hashes": {"sha256": encode_base64(content_hash(raw, version))}}
    covered = encode_canonical(signed_part(hashed, version), strict=version.strict_canonical_json)
    return _with_signature(hashed, server, key.key_id, key.nacl_key.sign(covered).signature)


def verify_json_signature(obj: JsonObject, server: ServerName, key_id: KeyId, public: bytes) -> bool:
    """Whether *obj* carries a valid signature of *server* by the key *key_id*, whose 32 public bytes are *public*.

    Anything malformed in *obj* makes it no valid signature.
    """
    signatures = obj.get("signatures")
    by_server = signatures.get(server) if isinstance(signatures, dict) else None
    signature = decode_signature(by_server.get(key_id)) if isinstance(by_server, dict) else None
    if signature is None:
        return False
    try:
        covered = encode_canonical(_covered(obj), strict=False)
    except InvalidJsonError:
        return False
    return verify_signature(covered, signature, public)


def decode_signature(text: object) -> bytes | None:
    """Return the bytes of a signature as it stands in JSON, or None where it is no base64."""
    if not isinstance(text, str):
        return None
    try:
        return decode_base64(text)
    except ValueError:
        return None


def _covered(obj: JsonObject) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in {"signatures", "unsigned"}}


def _with_signature(obj: JsonObject, server: ServerName, key_id: KeyId, signature: bytes) -> dict[str, Any]:
    signatures = dict(obj.get("signatures", {}))
    signatures[server] = {**signatures.get(server, {}), key_id: encode_base64(signature)}
    return {**obj, "signatures": signatures}

"""Ed25519 keys and signatures, the only algorithm that Matrix servers sign with."""

import re
from dataclasses import dataclass, field
from typing import Final, NewType

from nacl.bindings import crypto_sign_open
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey as NaclSigningKey
from unpaddedbase64 import decode_base64, encode_base64

KeyId = NewType("KeyId", str)
"""`algorithm:version`, as in `ed25519:a_b1C2`."""

ED25519: Final = "ed25519"
SEED_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_KEY_VERSION: Final = re.compile(r"[A-Za-z0-9_]+")


class InvalidSigningKeyError(ValueError):
    """A signing key is not of the expected form. The text never has any part of the key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A server's own key."""

    key_id: KeyId
    nacl_key: NaclSigningKey = field(repr=False)

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return bytes(self.nacl_key.verify_key)


def signing_key_from_seed(version: str, seed: bytes) -> SigningKey:
    """Return the key `ed25519:version` that the 32 bytes of *seed* make, or raise `InvalidSigningKeyError`."""
    if _KEY_VERSION.fullmatch(version) is None:
        raise InvalidSigningKeyError("a signing key's version has letters, digits and underscores only")
    if len(seed) != SEED_BYTES:
        raise InvalidSigningKeyError(f"the seed of a signing key must have {SEED_BYTES} bytes")
    return SigningKey(KeyId(f"{ED25519}:{version}"), NaclSigningKey(seed))


def parse_signing_key(text: str) -> SigningKey:
    """Return the first key of *text*, which has Synapse's key file format: lines of `ed25519 VERSION BASE64SEED`.

    Raises `InvalidSigningKeyError`.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    parts = first.split()
    if len(parts) != 3 or parts[0] != ED25519:  # noqa: PLR2004 - algorithm, version, seed
        raise InvalidSigningKeyError("a signing key is one line: ed25519, a version, the seed in base64")
    _, version, encoded = parts
    try:
        seed = decode_base64(encoded)
    except ValueError:
        raise InvalidSigningKeyError("the seed of a signing key must be base64") from None
    return signing_key_from_seed(version, seed)


def signing_key_text(key: SigningKey) -> str:
    """Return the line that `parse_signing_key` reads *key* from."""
    return f"{key.key_id.replace(':', ' ', 1)} {encode_base64(bytes(key.nacl_key))}\n"


def verify_signature(message: bytes, signature: bytes, public: bytes) -> bool:
    """Whether *signature* is the signature of *message* by the key *public*. Wrong lengths make it none."""
    if len(signature) != SIGNATURE_BYTES or len(public) != PUBLIC_KEY_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except CryptoError:
        return False
    return True

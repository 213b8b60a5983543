"""A server name of the simulated federation: an address on loopback, a reserved port and a signing key."""

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from unpaddedbase64 import encode_base64

from partialstate_service.domain.ids import ServerName, UserId
from partialstate_service.matrix.ed25519 import SEED_BYTES, SigningKey, signing_key_from_seed
from partialstate_service.matrix.signing import sign_json

KEY_LIFE_MS: Final = 24 * 3600 * 1000
_HOSTS_PER_BLOCK: Final = 250


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedServer:
    """One homeserver. Its name is an address with a port, so that finding it needs neither DNS nor well-known.

    `reserved` is bound but does not listen: until somebody does, connections are refused, and nobody else gets the
    port. Whoever made the server closes it.
    """

    name: ServerName
    address: str
    port: int
    key: SigningKey
    reserved: socket.socket

    def user(self, localpart: str) -> UserId:
        """Return the id of a user of this server."""
        return UserId(f"@{localpart}:{self.name}")

    def published_keys(self, now_ms: int) -> dict[str, Any]:
        """Return what this server answers to `/_matrix/key/v2/server`."""
        return published_keys(self.name, self.key, now_ms)


def published_keys(name: ServerName, key: SigningKey, now_ms: int) -> dict[str, Any]:
    """Return the signed key response of a server that has one key."""
    response = {
        "server_name": name,
        "valid_until_ts": now_ms + KEY_LIFE_MS,
        "verify_keys": {key.key_id: {"key": encode_base64(key.public)}},
        "old_verify_keys": {},
    }
    return sign_json(response, name, key)


def reserve_server(address: str, rng: random.Random) -> SimulatedServer:
    """Return a new server at *address*, on a free port, with a key drawn from *rng*."""
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        reserved.bind((address, 0))
    except OSError:
        reserved.close()
        raise
    port = reserved.getsockname()[1]
    key = signing_key_from_seed("sim", rng.randbytes(SEED_BYTES))
    return SimulatedServer(ServerName(f"{address}:{port}"), address, port, key, reserved)


def loopback_addresses(prefix: str = "127.10") -> Iterator[str]:
    """Yield the addresses *prefix*.0.1, *prefix*.0.2 and so on; an address of its own for each server."""
    for block in range(256):
        for host in range(1, _HOSTS_PER_BLOCK + 1):
            yield f"{prefix}.{block}.{host}"

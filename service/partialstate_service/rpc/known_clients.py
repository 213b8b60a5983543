"""The token file: the clients that are known by a token, or by the name in their certificate.

One client in a line; empty lines and those that begin with # count for nothing:

    TOKEN                       may call everything
    NAME:ROLE[,ROLE] TOKEN      may call what the roles allow
    NAME:ROLE[,ROLE]            likewise, without a token: NAME is in its certificate (common or alternative name)
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from partialstate_service.rpc.roles import Client, ClientRole

_K = TypeVar("_K", bytes, str)


class InvalidCredentialsError(ValueError):
    """A file of tokens or certificates cannot be used; the text says why."""


class InvalidTokenFileError(InvalidCredentialsError):
    """The token file cannot be understood; the text names the line, never what is in it."""


@dataclass(frozen=True, slots=True)
class KnownClients:
    """Clients by the digests of their tokens, and by the names in their certificates."""

    by_digest: Mapping[bytes, Client]
    by_certificate: Mapping[str, Client]

    @property
    def are_none(self) -> bool:
        """Whether nobody is known."""
        return not self.by_digest and not self.by_certificate

    def with_token(self, token: str) -> Client | None:
        """Return the client with a token. How long that takes depends on the token's digest only, which helps nobody."""
        return self.by_digest.get(_digest(token))

    def with_certificate(self, names: Iterable[str]) -> Client | None:
        """Return the first client that is called by one of the names."""
        return next((client for name in names if (client := self.by_certificate.get(name))), None)


def known_clients(text: str) -> KnownClients:
    """Return the clients in the text of a token file, maybe none. Raises `InvalidTokenFileError`."""
    by_digest: dict[bytes, Client] = {}
    by_certificate: dict[str, Client] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match line.split():
            case []:
                continue
            case [first, *_] if first.startswith("#"):
                continue
            case [token] if ":" not in token:
                _add(by_digest, _digest(token), Client(f"token of line {number}"), number)
            case [given]:
                client = _client(given, number)
                _add(by_certificate, client.name, client, number)
            case [given, token]:
                _add(by_digest, _digest(token), _client(given, number), number)
            case _:
                raise InvalidTokenFileError(
                    f"line {number}: must be TOKEN, NAME:ROLE[,ROLE] TOKEN or NAME:ROLE[,ROLE]"
                )
    return KnownClients(by_digest, by_certificate)


def _client(given: str, number: int) -> Client:
    name, _, roles = given.rpartition(":")
    if not name:
        raise InvalidTokenFileError(f"line {number}: a name and a colon come first: NAME:ROLE[,ROLE]")
    try:
        return Client(name, frozenset(map(ClientRole, roles.split(","))))
    except ValueError:
        known = ", ".join(ClientRole)
        raise InvalidTokenFileError(f"line {number}: after the last colon come roles: {known}") from None


def _add(clients: dict[_K, Client], key: _K, client: Client, number: int) -> None:
    if key in clients:
        raise InvalidTokenFileError(f"line {number}: the same token or name as in a line before")
    clients[key] = client


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()

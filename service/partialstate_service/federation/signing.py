"""Request authentication: the X-Matrix header (server-server API, "Request Authentication")."""

from typing import Protocol

from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.event import JsonObject
from partialstate_service.matrix.keys import MAX_KEY_LIFE_MS, ServerKeys, SigningKey
from partialstate_service.matrix.signing import sign_json


class SigningUnavailableError(Exception):
    """Whoever holds the homeserver's key did not sign; the text is short and fit for a log line."""


class RequestSigner(Protocol):
    """Signs requests as the homeserver: with its key here, or by asking the homeserver."""

    async def sign(self, method: str, uri: str, destination: ServerName, content: JsonObject | None) -> str:
        """Return the value of the Authorization header for a request to *destination* (the name before delegation).

        *uri* is path and query exactly as sent; *content* is the JSON body, None for a request without one.
        Raises `SigningUnavailableError`, in bounded time.
        """
        ...


class LocalSigner:
    """A `RequestSigner` that holds the homeserver's key."""

    def __init__(self, origin: ServerName, key: SigningKey) -> None:
        self._origin = origin
        self._key = key

    def own_keys(self, now_ms: int) -> ServerKeys:
        """Return the homeserver's keys as far as they are known here: the current one."""
        public = {self._key.key_id: self._key.public}
        return ServerKeys(self._origin, now_ms + MAX_KEY_LIFE_MS, public, {})

    async def sign(self, method: str, uri: str, destination: ServerName, content: JsonObject | None) -> str:
        """See `RequestSigner`."""
        request = request_object(self._origin, method, uri, destination, content)
        signature = sign_json(request, self._origin, self._key)["signatures"][self._origin][self._key.key_id]
        return x_matrix(self._origin, destination, self._key.key_id, signature)


def request_object(
    origin: ServerName, method: str, uri: str, destination: ServerName, content: JsonObject | None
) -> dict[str, object]:
    """Return the object whose signature authenticates a request."""
    request: dict[str, object] = {"method": method, "uri": uri, "origin": origin, "destination": destination}
    if content is not None:
        request["content"] = content
    return request


def x_matrix(origin: ServerName, destination: ServerName, key_id: str, signature: str) -> str:
    """Return the header's value. The specification's prose says `signature`; its example and everyone send `sig`."""
    return f'X-Matrix origin="{origin}",destination="{destination}",key="{key_id}",sig="{signature}"'

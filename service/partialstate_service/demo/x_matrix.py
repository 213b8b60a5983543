"""Requests between simulated servers: signed on the way out, verified on the way in (`X-Matrix`)."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from partialstate_service.domain.ids import InvalidIdError, ServerName, parse_server_name
from partialstate_service.federation.signing import LocalSigner, request_object
from partialstate_service.matrix.ed25519 import KeyId, SigningKey
from partialstate_service.matrix.signing import verify_json_signature

KeyLookup = Callable[[ServerName, KeyId], Awaitable[bytes | None]]
"""Returns the public key of a server, or None if it cannot be had."""

_PARAMETER: Final = re.compile(r'([a-z]+)=(?:"([^"]*)"|([^",]*))')
_REQUEST_TIMEOUT_S: Final = 60.0


class UnauthenticatedError(Exception):
    """A request is not signed by whom it claims to be from; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class PeerResponse:
    """What another server answered."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON value."""
        return orjson.loads(self.body)

    @property
    def errcode(self) -> str | None:
        """The Matrix error code, if the body has one."""
        value = self.json
        return value.get("errcode") if isinstance(value, dict) else None


class SignedClient:
    """Sends signed requests as one server."""

    def __init__(self, name: ServerName, key: SigningKey, session: aiohttp.ClientSession) -> None:
        """Use *session*, whose connector trusts the certificate authority of the other servers."""
        self.name = name
        self._signer = LocalSigner(name, key)
        self._session = session

    async def request(
        self, method: str, destination: ServerName, uri: str, content: dict[str, Any] | None = None
    ) -> PeerResponse:
        """Send a request for *uri* (path and query, each part quoted) and return the whole answer.

        Raises `aiohttp.ClientError` or `TimeoutError` where there is none.
        """
        header = await self._signer.sign(method, uri, destination, content)
        headers = {"Authorization": header}
        if content is not None:
            headers["Content-Type"] = "application/json"
        async with self._session.request(
            method,
            URL(f"https://{destination}{uri}", encoded=True),
            data=None if content is None else orjson.dumps(content),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S),
            allow_redirects=False,
        ) as response:
            return PeerResponse(response.status, await response.read())


async def authenticate(request: web.Request, destination: ServerName, keys: KeyLookup) -> ServerName:
    """Return the server that signed *request* to *destination*, or raise `UnauthenticatedError`."""
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    if scheme != "X-Matrix":
        raise UnauthenticatedError("no X-Matrix authorisation")
    given = {name: quoted or plain for name, quoted, plain in _PARAMETER.findall(rest)}
    try:
        origin = parse_server_name(given["origin"])
        key_id, signature = KeyId(given["key"]), given["sig"]
    except (KeyError, InvalidIdError):
        raise UnauthenticatedError("malformed X-Matrix authorisation") from None
    if given.get("destination", destination) != destination:
        raise UnauthenticatedError("the request is for another server")
    public = await keys(origin, key_id)
    if public is None:
        raise UnauthenticatedError(f"no key {key_id} of {origin}")
    signed = request_object(origin, request.method, request.raw_path, destination, await _content(request))
    signed["signatures"] = {origin: {key_id: signature}}
    if not verify_json_signature(signed, origin, key_id, public):
        raise UnauthenticatedError("the signature does not verify")
    return origin


async def _content(request: web.Request) -> dict[str, Any] | None:
    body = await request.read()
    if not body:
        return None
    try:
        content: dict[str, Any] = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UnauthenticatedError("the body is not JSON") from None
    return content

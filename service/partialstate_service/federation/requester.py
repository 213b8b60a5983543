"""One request to one server: discovered, signed, sent, bounded, and its failure classified."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.discovery import Discovery, NoRouteError
from partialstate_service.federation.outcomes import (
    Failure,
    Outcome,
    classify_response,
    escaped,
)
from partialstate_service.federation.routes import Route
from partialstate_service.federation.signing import RequestSigner, SigningUnavailableError
from partialstate_service.federation.transport import Transport
from partialstate_service.matrix.canonical_json import encode_canonical
from partialstate_service.matrix.event import JsonObject

USER_AGENT = "matrix-partial-state"
_OK_STATUS = 200

# The first that fits. No connection in time says nothing of a warm response cache, so it is no TIMEOUT.
_BY_ERROR: tuple[tuple[type[Exception], Outcome], ...] = (
    (SigningUnavailableError, Outcome.UNSIGNED),
    (httpx.ConnectTimeout, Outcome.UNREACHABLE),
    (httpx.NetworkError, Outcome.UNREACHABLE),
    (httpx.InvalidURL, Outcome.UNREACHABLE),
    (httpx.TimeoutException, Outcome.TIMEOUT),
    (httpx.TransportError, Outcome.INVALID),
)


class Requester:
    """Sends requests. Every error of a request, whatever the server does, is a `FederationError`."""

    def __init__(
        self,
        discovery: Discovery,
        transport: Transport,
        signer: RequestSigner,
        *,
        now_s: Callable[[], float],
        discovery_timeout_s: float,
        max_error_body_bytes: int,
    ) -> None:
        self._discovery = discovery
        self._transport = transport
        self._signer = signer
        self._now_s = now_s
        self._discovery_timeout_s = discovery_timeout_s
        self._max_error_body_bytes = max_error_body_bytes

    async def fetch(
        self,
        server: ServerName,
        method: str,
        path: str,
        *,
        content: JsonObject | None = None,
        signed: bool = True,
        timeout_s: float,
        max_bytes: int,
    ) -> bytes:
        """Return the body of a 200 within *timeout_s* from now. *path* is percent-encoded, query included."""
        try:
            async with (
                asyncio.timeout(timeout_s),
                self.open(
                    server, method, path, content=content, signed=signed, timeout_s=timeout_s
                ) as response,
            ):
                body = await read_start(response, max_bytes + 1)
        except TimeoutError as error:
            raise _failure_of(error, timeout_s).of(server) from error
        if len(body) > max_bytes:
            raise Failure(Outcome.TOO_LARGE, f"more than {max_bytes} bytes").of(server)
        return body

    @asynccontextmanager
    async def open(
        self,
        server: ServerName,
        method: str,
        path: str,
        *,
        content: JsonObject | None = None,
        signed: bool = True,
        timeout_s: float,
    ) -> AsyncIterator[httpx.Response]:
        """Send, and yield a 200 whose body is unread; *timeout_s* is for everything before that body.

        What httpx raises while the block reads the body becomes a `FederationError` too.
        """
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(timeout_s):
                    response = await self._send(stack, server, method, path, content, signed=signed)
            except Exception as error:
                raise _failure_of(error, timeout_s).of(server) from error
            try:
                yield response
            except httpx.TransportError as error:
                raise _failure_of(error, timeout_s).of(server) from error

    async def _route(self, server: ServerName) -> Route:
        try:
            async with asyncio.timeout(self._discovery_timeout_s):
                return await self._discovery.route(server)
        except TimeoutError as error:
            # The server was not even found, so it is not one that computes for long.
            raise NoRouteError("not found in time") from error

    async def _send(
        self,
        stack: AsyncExitStack,
        server: ServerName,
        method: str,
        path: str,
        content: JsonObject | None,
        *,
        signed: bool,
    ) -> httpx.Response:
        """Return a 200 with an unread, uncompressed body, to be closed by *stack*; raise `_FailedError` otherwise."""
        route = await self._route(server)
        client = await stack.enter_async_context(self._transport.client(route))
        headers = {"Host": route.host_header, "User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        body = None
        if content is not None:
            body = encode_canonical(content)
            headers["Content-Type"] = "application/json"
        request = client.build_request(method, route.url_base + path, content=body, headers=headers)
        if signed:
            uri = request.url.raw_path.decode("ascii")
            request.headers["Authorization"] = await self._signer.sign(method, uri, server, content)
        response = await client.send(request, stream=True)
        stack.push_async_callback(response.aclose)
        if response.status_code != _OK_STATUS:
            body = await read_start(response, self._max_error_body_bytes)
            failure = classify_response(response.status_code, response.headers, body, now_s=self._now_s())
            assert failure is not None
            raise _FailedError(failure)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            # Not asked for, and a small body could unpack to any size.
            raise _FailedError(Failure(Outcome.INVALID, "compressed although identity was asked for"))
        return response


async def read_start(response: httpx.Response, max_bytes: int) -> bytes:
    """Return the first *max_bytes* of a body; what follows is not read."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= max_bytes:
            break
    return bytes(body[:max_bytes])


class _FailedError(Exception):
    """An answer that is a failure, on its way out of the exit stack."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


def _failure_of(error: Exception, timeout_s: float) -> Failure:
    """Return what *error* means; an error that no server can cause is raised again."""
    match error:
        case _FailedError():
            return error.failure
        case httpx.TransportError() | httpx.InvalidURL() | SigningUnavailableError():
            outcome = next(outcome for kind, outcome in _BY_ERROR if isinstance(error, kind))
            return Failure(outcome, escaped(str(error)))
        case TimeoutError():
            return Failure(Outcome.TIMEOUT, f"no answer in {timeout_s:g} s")
        case OSError():
            return Failure(Outcome.UNREACHABLE, escaped(str(error)))
    raise error

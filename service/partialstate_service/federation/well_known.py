"""`/.well-known/matrix/server`: fetching, judging and caching delegations (server-server API, "Server discovery")."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Protocol
from weakref import WeakValueDictionary

import httpx

from partialstate_service.domain.ids import InvalidIdError, ServerName, parse_server_name
from partialstate_service.federation.routes import direct_route
from partialstate_service.federation.transport import Transport

WELL_KNOWN_PATH = "/.well-known/matrix/server"
MAX_BODY_BYTES = 50 * 1024
MAX_REDIRECTS = 5
DEFAULT_LIFETIME_S = 24 * 3600.0
MAX_LIFETIME_S = 48 * 3600.0
# The specification sets no lower bound; a server that forbids caching is still not asked at every request.
MIN_LIFETIME_S = 300.0
# "Errors are cached for up to an hour, with exponential backoff": the first one for a minute.
FIRST_ERROR_LIFETIME_S = 60.0
MAX_ERROR_LIFETIME_S = 3600.0
MAX_CACHED_NAMES = 20_000

_OK_STATUS = 200
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Fetched:
    """A valid answer: who serves for the name, and for how long that holds."""

    server: ServerName
    lifetime_s: float


class WellKnownSource(Protocol):
    """Fetches one host's delegation, uncached."""

    async def fetch(self, host: str) -> Fetched | None:
        """Return the delegation of *host*, or None where there is no valid one. Raises nothing, in bounded time."""
        ...


class HttpsWellKnown:
    """A `WellKnownSource` over HTTPS; each hop of a redirect is HTTPS, verified and vetted like any other."""

    def __init__(
        self, transport: Transport, *, now_s: Callable[[], float], port: int = 443, timeout_s: float = 10.0
    ) -> None:
        self._transport = transport
        self._now_s = now_s
        self._port = port
        self._timeout_s = timeout_s

    async def fetch(self, host: str) -> Fetched | None:
        """See `WellKnownSource`. The time limit is for all hops together."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(host)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError):
            return None

    async def _follow(self, host: str) -> Fetched | None:
        url = httpx.URL(f"https://{host}:{self._port}{WELL_KNOWN_PATH}")
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._get(url)
            if isinstance(answer, Fetched) or answer is None:
                return answer
            url = url.join(answer)
            if url.scheme != "https":
                return None
        return None

    async def _get(self, url: httpx.URL) -> Fetched | str | None:
        """Return the answer at *url*, or where it redirects to."""
        authority = url.netloc.decode("ascii")
        async with (
            self._transport.client(direct_route(authority, 443)) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if response.status_code in _REDIRECTS:
                location: str | None = response.headers.get("location")
                return location
            encoding = response.headers.get("content-encoding", "identity").lower()
            if response.status_code != _OK_STATUS or encoding != "identity":
                return None
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    return None
            server = delegated_server(bytes(body))
            return server and Fetched(server, lifetime_s(response.headers, self._now_s()))


@dataclass(slots=True)
class _Entry:
    server: ServerName | None
    expires_s: float
    errors: int


class WellKnownCache:
    """Delegations by host, each fetched by one caller at a time."""

    def __init__(self, source: WellKnownSource, *, now_s: Callable[[], float]) -> None:
        self._source = source
        self._now_s = now_s
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def delegate(self, host: str) -> ServerName | None:
        """Return the server that *host* delegates to; None where it delegates to nobody or cannot be asked."""
        if (entry := self._fresh(host)) is not None:
            return entry.server
        lock = self._locks.setdefault(host, asyncio.Lock())
        async with lock:
            if (entry := self._fresh(host)) is not None:
                return entry.server
            return self._keep(host, await self._source.fetch(host))

    def _fresh(self, host: str) -> _Entry | None:
        entry = self._entries.get(host)
        return entry if entry is not None and self._now_s() < entry.expires_s else None

    def _keep(self, host: str, fetched: Fetched | None) -> ServerName | None:
        before = self._entries.pop(host, None)
        if fetched is not None:
            entry = _Entry(fetched.server, self._now_s() + fetched.lifetime_s, 0)
        else:
            errors = before.errors if before is not None else 0
            wait_s = min(FIRST_ERROR_LIFETIME_S * 2**errors, MAX_ERROR_LIFETIME_S)
            entry = _Entry(None, self._now_s() + wait_s, min(errors + 1, 10))
        self._entries[host] = entry
        while len(self._entries) > MAX_CACHED_NAMES:
            self._entries.popitem(last=False)
        return entry.server


def delegated_server(body: bytes) -> ServerName | None:
    """Return the `m.server` of a well-known file, or None where the file is not valid."""
    try:
        content = json.loads(body)
        server = content.get("m.server") if isinstance(content, dict) else None
        return parse_server_name(server) if isinstance(server, str) else None
    except (ValueError, RecursionError, InvalidIdError):
        return None


def lifetime_s(headers: Mapping[str, str], now_s: float) -> float:
    """Return how long an answer with these headers is kept (seconds), within our bounds."""
    return min(max(_stated_lifetime_s(headers, now_s), MIN_LIFETIME_S), MAX_LIFETIME_S)


def _stated_lifetime_s(headers: Mapping[str, str], now_s: float) -> float:
    for directive in headers.get("cache-control", "").lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name in {"no-store", "no-cache"}:
            return 0.0
        digits = value.strip('" ')
        if name == "max-age" and digits.isascii() and digits.isdigit():
            # Beyond ten digits Python would parse for long, and the answer is our maximum anyway.
            return float(digits[:10])
    if (expires := headers.get("expires")) is not None:
        try:
            return parsedate_to_datetime(expires).timestamp() - now_s
        except (ValueError, TypeError, IndexError, OverflowError):
            # "Expires: 0" and the like mean: already expired (RFC 9111, 5.3).
            return 0.0
    return DEFAULT_LIFETIME_S

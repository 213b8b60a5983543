"""httpx's transport over aiohttp: the URL's path byte for byte, the route's targets, vetted addresses only.

aiohttp carries the bytes because it costs a third (one connection) to an eighth (32) of what httpx's own transport
does per small request. The ready-made bridge (httpx-aiohttp) is not used: it lets aiohttp normalise the path, which
breaks request signatures.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from operator import itemgetter
from typing import Any

import aiohttp
import httpx
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from partialstate_service.federation.addresses import AddressPolicy, IpAddress, parse_ip_literal
from partialstate_service.federation.lookups import Lookups
from partialstate_service.federation.routes import Route, Target

# Of one route. All are tried at short intervals, and then one by one up to the connect timeout each: this many stay
# below the time limit of a request, so that a dead server is found to be that, and not slow.
MAX_ADDRESSES = 5

# Not of the peer's choosing: neither kept nor sent back.
_DROPPED_HEADERS = frozenset({b"set-cookie"})


class RouteResolver(AbstractResolver):
    """Resolves every name to the targets of one route, vetted."""

    def __init__(self, route: Route, lookups: Lookups, policy: AddressPolicy) -> None:
        self._route = route
        self._lookups = lookups
        self._policy = policy

    async def resolve(
        self,
        host: str,
        port: int = 0,  # noqa: ARG002 - aiohttp's interface; the targets have their own ports
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - and both families are wanted
    ) -> list[ResolveResult]:
        """Return permitted addresses of the targets, in the route's order; `OSError` where there is none."""
        answers = await asyncio.gather(*map(self._permitted, self._route.targets), return_exceptions=True)
        found: list[tuple[int, int, ResolveResult]] = []
        reasons: list[str] = []
        for number, (target, answer) in enumerate(zip(self._route.targets, answers, strict=True)):
            match answer:
                case OSError():
                    reasons.append(str(answer))
                case BaseException():
                    raise answer
                case _:
                    found += [
                        (rank, number, _result(host, each, target.port)) for rank, each in enumerate(answer)
                    ]
        if not found:
            raise OSError("; ".join(reasons) or "no address")
        # Each target's first address before anyone's second; then again in the route's order.
        chosen = sorted(found, key=itemgetter(0, 1))[:MAX_ADDRESSES]
        return [result for _, _, result in sorted(chosen, key=itemgetter(1, 0))]

    async def _permitted(self, target: Target) -> list[IpAddress]:
        """Return the permitted addresses of *target*, both families in turn; `OSError` where all are refused."""
        literal = parse_ip_literal(target.host)
        addresses = [literal] if literal is not None else await self._lookups.addresses(target.host)
        permitted = [address for address in addresses if self._policy.permits(address)]
        if addresses and not permitted:
            self._policy.check(str(addresses[0]))
        by_family = ([each for each in permitted if each.version == version] for version in (6, 4))
        return [each for pair in zip_longest(*by_family) for each in pair if each is not None]

    async def close(self) -> None:
        """Nothing is held."""


def _result(name: str, address: IpAddress, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=name,
        host=str(address),
        port=port,
        family=socket.AF_INET if address.version == 4 else socket.AF_INET6,  # noqa: PLR2004 - IPv4
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Carries the requests to one route. Redirects, cookies, decompression and the environment play no part."""

    def __init__(
        self,
        route: Route,
        *,
        tls: ssl.SSLContext,
        lookups: Lookups,
        policy: AddressPolicy,
        connections: int,
        idle_timeout_s: float = 30.0,
    ) -> None:
        def vetted_socket(address: Any) -> socket.socket:
            # The last gate before every connection attempt: aiohttp asks no resolver about address literals.
            family, kind, protocol, _, destination = address
            policy.check(destination[0])
            return socket.socket(family=family, type=kind, proto=protocol)

        connector = aiohttp.TCPConnector(
            resolver=RouteResolver(route, lookups, policy),
            use_dns_cache=False,
            ssl=tls,
            limit=connections,
            keepalive_timeout=idle_timeout_s,
            socket_factory=vetted_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request*; the answer's body is unread. Raises `httpx.TransportError`s only."""
        timeout = request.extensions.get("timeout", {})
        with _httpx_errors():
            response = await self._session.request(
                request.method,
                # Already percent-encoded, and signed so: not a byte of it may change.
                yarl.URL(str(request.url), encoded=True),
                headers=request.headers,
                data=request.content or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
            )
        headers = [header for header in response.raw_headers if header[0].lower() not in _DROPPED_HEADERS]
        return httpx.Response(response.status, headers=headers, stream=_Body(response), request=request)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for chunk in self._response.content.iter_any():
                yield chunk

    async def aclose(self) -> None:
        # Gives the connection back after a whole body, and cuts it otherwise.
        self._response.release()


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raise aiohttp's errors as httpx's; texts are ours or the system's, never the peer's."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout("no connection in time") from error
    except (TimeoutError, aiohttp.ServerTimeoutError) as error:
        raise httpx.ReadTimeout("no answer in time") from error
    except (aiohttp.ClientConnectorError, aiohttp.ClientConnectorCertificateError) as error:
        raise httpx.ConnectError(_reason(error)) from error
    except aiohttp.ClientPayloadError as error:
        raise httpx.RemoteProtocolError("the body ended early or was framed wrongly") from error
    except (aiohttp.ClientConnectionError, OSError) as error:
        raise httpx.ReadError(f"the connection broke: {type(error).__name__}") from error
    except (UnicodeError, aiohttp.InvalidURL) as error:
        # A server name can be valid for Matrix and impossible for TLS or DNS.
        raise httpx.ConnectError("not a usable host name") from error
    except aiohttp.ClientError as error:
        raise httpx.RemoteProtocolError(f"not HTTP: {type(error).__name__}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"certificate refused: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error)
    return type(error).__name__

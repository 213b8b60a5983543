"""One pool of connections per route, opened when wanted and closed when least used."""

import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from partialstate_service.federation.addresses import AddressPolicy
from partialstate_service.federation.lookups import Lookups
from partialstate_service.federation.network import AiohttpTransport
from partialstate_service.federation.routes import Route, Target

# Connections are verified for a name, so pools are never shared between names.
_PoolKey = tuple[str, str, tuple[Target, ...]]


@dataclass(slots=True)
class _Pool:
    client: httpx.AsyncClient
    users: int = 0


class Transport:
    """Hands out an `httpx.AsyncClient` per route. Close it with `aclose`, when no request runs."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext,
        lookups: Lookups,
        policy: AddressPolicy,
        connections_per_destination: int,
        connect_timeout_s: float,
        max_idle_pools: int = 256,
    ) -> None:
        self._tls = tls
        self._lookups = lookups
        self._policy = policy
        self._connections = connections_per_destination
        self._connect_timeout_s = connect_timeout_s
        self._max_idle_pools = max_idle_pools
        self._pools: OrderedDict[_PoolKey, _Pool] = OrderedDict()

    @asynccontextmanager
    async def client(self, route: Route) -> AsyncIterator[httpx.AsyncClient]:
        """Lend the client of *route*; its requests must be over when the block ends."""
        key = (route.tls_name, route.host_header, tuple(sorted(route.targets)))
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = _Pool(self._open(route))
        self._pools.move_to_end(key)
        pool.users += 1
        try:
            yield pool.client
        finally:
            pool.users -= 1
            await self._close_surplus()

    async def aclose(self) -> None:
        """Close all connections."""
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.client.aclose()

    def _open(self, route: Route) -> httpx.AsyncClient:
        transport = AiohttpTransport(
            route,
            tls=self._tls,
            lookups=self._lookups,
            policy=self._policy,
            connections=self._connections,
        )
        return httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            # Reading is bounded by deadlines and by progress, which know what is being read.
            timeout=httpx.Timeout(None, connect=self._connect_timeout_s),
            headers=httpx.Headers(),
        )

    async def _close_surplus(self) -> None:
        idle = [key for key, pool in self._pools.items() if not pool.users]
        for key in idle[: max(0, len(idle) - self._max_idle_pools)]:
            await self._pools.pop(key).client.aclose()


class InvalidAuthoritiesError(OSError):
    """A file of certificate authorities cannot be read, or holds none."""


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return the context for all federation traffic; *ca_file* (PEM) replaces the system's authorities.

    Raises `InvalidAuthoritiesError` if *ca_file* holds none.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        raise InvalidAuthoritiesError(f"federation_ca_file: {ca_file}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context

"""From a server name to a route (server-server API, "Resolving server names"), over the lookups it is given."""

from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Protocol

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.lookups import LookupFailedError, Lookups
from partialstate_service.federation.routes import Route, direct_route, is_final, srv_targets

FEDERATION_PORT = 8448
# The second is deprecated by the specification and still asked for by it.
SRV_SERVICES = ("_matrix-fed._tcp", "_matrix._tcp")
ROUTE_LIFETIME_S = 60.0
MAX_CACHED_ROUTES = 10_000


class NoRouteError(OSError):
    """The server's DNS says that it offers no federation service."""


class Delegations(Protocol):
    """Who serves for a host, by well-known."""

    async def delegate(self, host: str) -> ServerName | None:
        """Return the delegated server name, or None without a valid delegation. Raises nothing."""
        ...


class Discovery:
    """Resolves server names and remembers each route for a minute; what lies beneath has its own caches."""

    def __init__(
        self,
        delegations: Delegations,
        lookups: Lookups,
        *,
        random: Random,
        now_s: Callable[[], float],
        default_port: int = FEDERATION_PORT,
    ) -> None:
        self._delegations = delegations
        self._lookups = lookups
        self._random = random
        self._now_s = now_s
        self._default_port = default_port
        self._routes: OrderedDict[ServerName, tuple[float, Route]] = OrderedDict()

    async def route(self, server: ServerName) -> Route:
        """Return the way to *server*; `NoRouteError` where there is none by its own word."""
        if is_final(server):
            return direct_route(server, self._default_port)
        expires_s, route = self._routes.get(server, (0.0, None))
        if route is not None and self._now_s() < expires_s:
            return route
        route = await self._resolve(server)
        self._routes.pop(server, None)
        self._routes[server] = (self._now_s() + ROUTE_LIFETIME_S, route)
        while len(self._routes) > MAX_CACHED_ROUTES:
            self._routes.popitem(last=False)
        return route

    async def _resolve(self, server: ServerName) -> Route:
        # Delegation is one step: the delegated name's own well-known is not asked for.
        name = await self._delegations.delegate(server) or server
        if is_final(name):
            return direct_route(name, self._default_port)
        for service in SRV_SERVICES:
            try:
                records = await self._lookups.srv(f"{service}.{name}")
            except LookupFailedError:
                # Unknown is treated as absent: the name's certificate still decides who is talked to.
                continue
            if records:
                targets = srv_targets(records, self._random)
                if not targets:
                    raise NoRouteError("its SRV record says that there is no such service")
                return Route(name, name, targets)
        return direct_route(name, self._default_port)

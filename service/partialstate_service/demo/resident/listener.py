"""The HTTPS servers of a world: one listener for each server that lives."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiohttp import web

from partialstate_service.demo.certificates import CertificateAuthority
from partialstate_service.demo.resident.answers import ResidentAnswers
from partialstate_service.demo.resident.behaviour import Behaviour, Honest
from partialstate_service.demo.resident.handlers import ResidentHandlers
from partialstate_service.demo.resident.refusals import FederationRefusedError, matrix_error
from partialstate_service.demo.resident.request_log import ReceivedRequest, RequestLog
from partialstate_service.demo.simulated_server import SimulatedServer
from partialstate_service.demo.world import World
from partialstate_service.demo.x_matrix import KeyLookup, UnauthenticatedError, authenticate
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.ed25519 import KeyId

MAX_REQUEST_BYTES: Final = 8 * 1024 * 1024
_SHUTDOWN_S: Final = 0.1

Route = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Handler = Callable[[web.Request], Awaitable[bytes]]
_HONEST = Honest()


class SimulatedResidents:
    """The living servers of a world. `log` tells what they were asked; behaviours may be changed at any time."""

    def __init__(self, world: World, keys_elsewhere: KeyLookup) -> None:
        """*keys_elsewhere* gives the keys of servers that are not of the world, such as the homeserver's."""
        self.world = world
        self.log = RequestLog()
        self._answers = ResidentAnswers(world)
        self._keys_elsewhere = keys_elsewhere
        self._behaviours: dict[tuple[ServerName, Endpoint], Behaviour] = {}

    def behave(self, server: ServerName, behaviour: Behaviour, *endpoints: Endpoint) -> None:
        """Let *server* treat requests for *endpoints* in this way from now on; for none given, the state's two."""
        for endpoint in endpoints or (Endpoint.STATE, Endpoint.STATE_IDS):
            self._behaviours[server, endpoint] = behaviour

    @asynccontextmanager
    async def listening(self, server: SimulatedServer, context: ssl.SSLContext) -> AsyncIterator[None]:
        """Let one server live."""
        runner = web.AppRunner(self._application(server), access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            # The runner closes the socket that it listens on; the reserved one stays the world's.
            await web.SockSite(runner, server.reserved.dup(), ssl_context=context).start()
            yield
        finally:
            await runner.cleanup()

    def routes(self, server: SimulatedServer) -> Mapping[Endpoint, Route]:
        """Return how *server* answers, by endpoint."""
        handlers = ResidentHandlers(server, self._answers).by_endpoint
        return {endpoint: self._route(server, endpoint, handler) for endpoint, handler in handlers.items()}

    def _application(self, server: SimulatedServer) -> web.Application:
        application = web.Application(client_max_size=MAX_REQUEST_BYTES)
        for endpoint, route in self.routes(server).items():
            application.router.add_route(endpoint.method, endpoint.path, route)
        return application

    def _route(self, server: SimulatedServer, endpoint: Endpoint, handler: _Handler) -> Route:
        async def route(request: web.Request) -> web.StreamResponse:
            self.log.add(ReceivedRequest(server.name, endpoint, request.raw_path))

            async def honest() -> web.Response:
                try:
                    await self._admit(request, server, endpoint)
                    body = await handler(request)
                except UnauthenticatedError as error:
                    return matrix_error(401, "M_UNAUTHORIZED", str(error))
                except FederationRefusedError as error:
                    return error.response()
                return web.Response(body=body, content_type="application/json")

            return await self._behaviours.get((server.name, endpoint), _HONEST).answer(request, honest)

        return route

    async def _admit(self, request: web.Request, server: SimulatedServer, endpoint: Endpoint) -> None:
        """Refuse who may not ask: unsigned requests, other rooms, servers outside the room or denied by it."""
        if endpoint in _UNAUTHENTICATED:
            return
        origin = await authenticate(request, server.name, self._key_of)
        room_id = request.match_info.get("roomId")
        if room_id is not None:
            self._answers.require_in_room(room_id)
            self._answers.require_allowed(origin)
        if endpoint in _MEMBERS_ONLY:
            self._answers.require_member(origin)

    async def _key_of(self, name: ServerName, key_id: KeyId) -> bytes | None:
        server = self.world.by_name.get(name)
        if server is None:
            return await self._keys_elsewhere(name, key_id)
        return server.key.public if server.key.key_id == key_id else None


_UNAUTHENTICATED: Final = frozenset({Endpoint.KEY_SERVER, Endpoint.KEY_QUERY, Endpoint.KEY_QUERY_SERVER})
_MEMBERS_ONLY: Final = frozenset(
    {
        Endpoint.STATE,
        Endpoint.STATE_IDS,
        Endpoint.EVENT,
        Endpoint.EVENT_AUTH,
        Endpoint.BACKFILL,
        Endpoint.GET_MISSING_EVENTS,
    }
)


@asynccontextmanager
async def residents_listening(
    world: World,
    authority: CertificateAuthority,
    keys_elsewhere: KeyLookup,
    *,
    dead: frozenset[ServerName] = frozenset(),
) -> AsyncIterator[SimulatedResidents]:
    """Run all servers of *world* except the *dead* ones, to which connections are refused."""
    residents = SimulatedResidents(world, keys_elsewhere)
    async with AsyncExitStack() as stack:
        for server in world.servers:
            if server.name not in dead:
                context = authority.server_context(server.address)
                await stack.enter_async_context(residents.listening(server, context))
        yield residents

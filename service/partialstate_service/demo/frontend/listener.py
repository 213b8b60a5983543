"""The HTTPS server of the frontend: every endpoint of the server-server API, authenticated where it has to be."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from socket import socket
from typing import Any

import orjson
from aiohttp import web

from partialstate_service.demo.frontend.answering import ROOM_ENDPOINTS, answer_room_request, answer_send
from partialstate_service.demo.frontend.homeserver import AnsweredRequest, Homeserver
from partialstate_service.demo.resident.refusals import FederationRefusedError, matrix_error
from partialstate_service.demo.simulated_server import published_keys
from partialstate_service.demo.x_matrix import UnauthenticatedError, authenticate
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import ServerName

MAX_REQUEST_BYTES = 8 * 1024 * 1024
_SHUTDOWN_S = 0.1
_OPEN_TO_ALL = frozenset({Endpoint.KEY_SERVER, Endpoint.VERSION, Endpoint.WELL_KNOWN_SERVER})


@asynccontextmanager
async def listening(homeserver: Homeserver, reserved: socket, context: ssl.SSLContext) -> AsyncIterator[None]:
    """Answer other servers' requests on the socket *reserved*, which stays the caller's."""
    application = web.Application(client_max_size=MAX_REQUEST_BYTES)
    for endpoint in Endpoint:
        application.router.add_route(endpoint.method, endpoint.path, _route(homeserver, endpoint))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.SockSite(runner, reserved.dup(), ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()


def _route(
    homeserver: Homeserver, endpoint: Endpoint
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def route(request: web.Request) -> web.StreamResponse:
        origin = ""
        try:
            if endpoint not in _OPEN_TO_ALL:
                origin = await authenticate(request, homeserver.name, homeserver.request_key)
            body = await _answer(homeserver, endpoint, ServerName(origin), request)
        except UnauthenticatedError as error:
            response = matrix_error(401, "M_UNAUTHORIZED", str(error))
        except FederationRefusedError as error:
            response = error.response()
        else:
            response = web.Response(body=orjson.dumps(body), content_type="application/json")
        homeserver.answered.append(AnsweredRequest(origin, endpoint, response.status))
        return response

    return route


async def _answer(
    homeserver: Homeserver, endpoint: Endpoint, origin: ServerName, request: web.Request
) -> dict[str, Any]:
    if endpoint is Endpoint.KEY_SERVER:
        return published_keys(homeserver.name, homeserver.key, homeserver.now_ms())
    if endpoint is Endpoint.VERSION:
        return {"server": {"name": "partial-state reference frontend", "version": "1"}}
    if endpoint is Endpoint.SEND:
        return await answer_send(homeserver, origin, request)
    if endpoint in ROOM_ENDPOINTS:
        return await answer_room_request(homeserver, endpoint, origin, request)
    if endpoint is Endpoint.USER_DEVICES:
        return {"user_id": request.match_info["userId"], "stream_id": 1, "devices": []}
    raise FederationRefusedError(404, "M_UNRECOGNIZED", "This server does not do that")

"""From a request to the honest answer, by endpoint."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from partialstate_service.demo.resident.answers import ResidentAnswers
from partialstate_service.demo.resident.refusals import FederationRefusedError
from partialstate_service.demo.simulated_server import SimulatedServer
from partialstate_service.domain.endpoints import Endpoint


class ResidentHandlers:
    """The handlers of one server; each returns the body of a 200 or raises `FederationRefusedError`."""

    def __init__(self, server: SimulatedServer, answers: ResidentAnswers) -> None:
        self._server = server
        self._answers = answers

    @property
    def by_endpoint(self) -> Mapping[Endpoint, Callable[[web.Request], Awaitable[bytes]]]:
        """The endpoints that a resident server serves."""
        return {
            Endpoint.STATE: self._state,
            Endpoint.STATE_IDS: self._state_ids,
            Endpoint.EVENT: self._event,
            Endpoint.EVENT_AUTH: self._event_auth,
            Endpoint.BACKFILL: self._backfill,
            Endpoint.GET_MISSING_EVENTS: self._missing_events,
            Endpoint.MAKE_JOIN: self._make_join,
            Endpoint.SEND_JOIN_V2: self._send_join,
            Endpoint.SEND: self._send,
            Endpoint.KEY_SERVER: self._own_keys,
            Endpoint.KEY_QUERY: self._keys_of_others,
            Endpoint.KEY_QUERY_SERVER: self._keys_of_another,
        }

    async def _state(self, request: web.Request) -> bytes:
        return await asyncio.to_thread(self._answers.state, request.query.get("event_id", ""))

    async def _state_ids(self, request: web.Request) -> bytes:
        return await asyncio.to_thread(self._answers.state_ids, request.query.get("event_id", ""))

    async def _event(self, request: web.Request) -> bytes:
        return self._answers.event(request.match_info["eventId"])

    async def _event_auth(self, request: web.Request) -> bytes:
        return self._answers.event_auth(request.match_info["eventId"])

    async def _backfill(self, request: web.Request) -> bytes:
        limit = request.query.get("limit", "")
        if not limit.isascii() or not limit.isdecimal():
            raise FederationRefusedError(400, "M_INVALID_PARAM", "limit is not a number")
        return self._answers.backfill(request.query.getall("v", []), int(limit))

    async def _missing_events(self, request: web.Request) -> bytes:
        return self._answers.missing_events(await json_body(request))

    async def _make_join(self, request: web.Request) -> bytes:
        return self._answers.make_join(request.match_info["userId"], request.query.getall("ver", ["1"]))

    async def _send_join(self, request: web.Request) -> bytes:
        omit_members = request.query.get("omit_members") == "true"
        join = await json_body(request)
        return await asyncio.to_thread(self._answers.send_join, self._server, join, omit_members=omit_members)

    async def _send(self, request: web.Request) -> bytes:
        return self._answers.take(await json_body(request))

    async def _own_keys(self, request: web.Request) -> bytes:
        del request
        return self._answers.server_keys(self._server)

    async def _keys_of_others(self, request: web.Request) -> bytes:
        return self._answers.known_keys(self._server, (await json_body(request)).get("server_keys", {}))

    async def _keys_of_another(self, request: web.Request) -> bytes:
        return self._answers.known_keys(self._server, [request.match_info["serverName"]])


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the JSON object that is the body of *request*, or refuse it."""
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise FederationRefusedError(400, "M_NOT_JSON", "The body is not a JSON object")
    return body

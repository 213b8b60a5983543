"""Behaviours that break the connection, draw it out, or never let it end."""

import asyncio
from dataclasses import dataclass

from aiohttp import web

from partialstate_service.demo.resident.behaviour import Behaviour, HonestAnswer

_JSON = {"Content-Type": "application/json"}


class HangingUp(Behaviour):
    """Closes the connection without an answer."""

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """See `Behaviour`."""
        del honest
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


@dataclass(frozen=True, slots=True)
class Truncating(Behaviour):
    """Announces the honest answer's length and hangs up after *share* of it."""

    share: float = 0.5

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """See `Behaviour`."""
        body = (await honest()).body
        assert isinstance(body, bytes)
        response = web.StreamResponse(headers={**_JSON, "Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: int(len(body) * self.share)])
        if request.transport is not None:
            request.transport.close()
        return response


@dataclass(frozen=True, slots=True)
class Endless(Behaviour):
    """Sends *head* and then *repeated*, again and again, for as long as the other side reads."""

    head: bytes = b'{"pdus":['
    repeated: bytes = b'{"type":"m.room.message"},'

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """See `Behaviour`."""
        del honest
        response = web.StreamResponse(headers=_JSON)
        await response.prepare(request)
        await response.write(self.head)
        chunk = self.repeated * (64 * 1024 // len(self.repeated) or 1)
        while request.transport is not None and not request.transport.is_closing():
            await response.write(chunk)
            await asyncio.sleep(0)  # a write to a connection that is gone does not wait, so the loop must
        return response


@dataclass(frozen=True, slots=True)
class Dripping(Behaviour):
    """Sends the honest answer byte by byte, *interval_s* seconds apart."""

    interval_s: float

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """See `Behaviour`."""
        body = (await honest()).body
        assert isinstance(body, bytes)
        response = web.StreamResponse(headers=_JSON)
        await response.prepare(request)
        for byte in body:
            await response.write(bytes([byte]))
            await asyncio.sleep(self.interval_s)
        return response


@dataclass(frozen=True, slots=True)
class Paced(Behaviour):
    """Sends the honest answer piece by piece, spread over *duration_s* seconds: a server with little bandwidth."""

    duration_s: float
    pieces: int = 20

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """See `Behaviour`."""
        answer = await honest()
        body = answer.body
        if answer.status != web.HTTPOk.status_code or not isinstance(body, bytes):
            return answer
        response = web.StreamResponse(headers={**_JSON, "Content-Length": str(len(body))})
        await response.prepare(request)
        size = -(-len(body) // self.pieces)
        for start in range(0, len(body), size):
            await response.write(body[start : start + size])
            await asyncio.sleep(self.duration_s / self.pieces)
        return response

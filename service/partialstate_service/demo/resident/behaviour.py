"""How a server treats a request: honestly, or in one of the ways in which real ones go wrong.

A behaviour is given the request and the means to make the honest answer, and returns what is answered.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson
from aiohttp import web

from partialstate_service.demo.resident.refusals import matrix_error

HonestAnswer: TypeAlias = Callable[[], Awaitable[web.Response]]

UNABLE_ERRCODE = "ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE"


class Behaviour(ABC):
    """One way to treat requests; an object may serve many requests at once."""

    @abstractmethod
    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """Return what *request* gets."""


class Honest(Behaviour):
    """Answers as the specification says."""

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """See `Behaviour`."""
        del request
        return await honest()


@dataclass(frozen=True, slots=True)
class Refusing(Behaviour):
    """Answers every request with an error."""

    status: int
    errcode: str
    headers: Mapping[str, str] = field(default_factory=dict)

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """See `Behaviour`."""
        del request, honest
        response = matrix_error(self.status, self.errcode, "As this simulated server pleases")
        response.headers.update(self.headers)
        return response


def unable() -> Refusing:
    """Return the behaviour of a server whose own state of the room is partial."""
    return Refusing(403, UNABLE_ERRCODE)


def forbidden() -> Refusing:
    """Return the behaviour of a server that thinks that the origin is not in the room."""
    return Refusing(403, "M_FORBIDDEN")


def rate_limited(retry_after_s: int) -> Refusing:
    """Return the behaviour of a server that asks for patience."""
    return Refusing(429, "M_LIMIT_EXCEEDED", {"Retry-After": str(retry_after_s)})


@dataclass(slots=True)
class AtFirst(Behaviour):
    """Treats the first *times* requests in one way and all later ones in another."""

    times: int
    first: Behaviour
    then: Behaviour = field(default_factory=Honest)

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """See `Behaviour`."""
        if self.times > 0:
            self.times -= 1
            return await self.first.answer(request, honest)
        return await self.then.answer(request, honest)


@dataclass(frozen=True, slots=True)
class Held(Behaviour):
    """Answers once *released* is set, in the way of *then*."""

    released: asyncio.Event
    then: Behaviour = field(default_factory=Honest)

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """See `Behaviour`."""
        await self.released.wait()
        return await self.then.answer(request, honest)


@dataclass(frozen=True, slots=True)
class Slow(Behaviour):
    """Answers after *delay_s* seconds, in the way of *then*. With a very long delay: never."""

    delay_s: float
    then: Behaviour = field(default_factory=Honest)

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """See `Behaviour`."""
        await asyncio.sleep(self.delay_s)
        return await self.then.answer(request, honest)


@dataclass(frozen=True, slots=True)
class Lying(Behaviour):
    """Changes the JSON of the honest answer."""

    change: Callable[[dict[str, Any]], None]

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """See `Behaviour`."""
        del request
        response = await honest()
        if response.status != web.HTTPOk.status_code or not isinstance(response.body, bytes):
            return response
        body = orjson.loads(response.body)
        self.change(body)
        return web.Response(body=orjson.dumps(body), content_type="application/json")


@dataclass(frozen=True, slots=True)
class Saying(Behaviour):
    """Answers every request with the same bytes."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        """See `Behaviour`."""
        del request, honest
        return web.Response(body=self.body, status=self.status, headers=self.headers)

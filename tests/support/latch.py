"""A resident server that holds requests until it is told to answer."""

import asyncio
from dataclasses import dataclass, field

from aiohttp import web
from partialstate_service.demo.resident.behaviour import Behaviour, HonestAnswer


@dataclass(frozen=True, slots=True)
class Latch(Behaviour):
    """Holds requests, as Complement's fake server does, until it is released; tells when the first has come."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        del request
        self.arrived.set()
        await self.released.wait()
        return await honest()

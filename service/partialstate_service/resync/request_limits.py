"""How many requests the resyncs of one process have in flight, at one server and in all.

A server that is in many of our rooms shall not be asked by all of them at once, and its answers shall not crowd out
everybody else's. Waiting for one's turn counts against no time limit: those begin with the request.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.federation.protocol import OwnId, ResidentServers, StateElement, StateIds, same_id


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The most requests in flight, by what they cost the server that is asked."""

    states: int = 16
    """`/state`, at all servers: each may bring hundreds of megabytes."""
    states_per_server: int = 2
    lists: int = 32
    """`/state_ids` and `/event_auth`, at all servers."""
    lists_per_server: int = 4
    events: int = 128
    """`/event`, at all servers."""
    events_per_server: int = 8


@dataclass(slots=True)
class _Gate:
    """Lets so many pass at a time, in all and for each server."""

    in_all: asyncio.Semaphore
    per_server: int
    _by_server: dict[ServerName, asyncio.Semaphore] = field(default_factory=dict)
    _users: Counter[ServerName] = field(default_factory=Counter)

    @asynccontextmanager
    async def passed(self, server: ServerName) -> AsyncIterator[None]:
        gate = self._by_server.setdefault(server, asyncio.Semaphore(self.per_server))
        self._users[server] += 1
        try:
            # The server's own queue first: who waits there must not hold a place that others could use.
            async with gate, self.in_all:
                yield
        finally:
            self._users[server] -= 1
            if not self._users[server]:
                del self._users[server], self._by_server[server]


class LimitedServers:
    """Asks *servers* within limits; see `ResidentServers` for the contract of each call."""

    def __init__(self, servers: ResidentServers, limits: RequestLimits) -> None:
        self._servers = servers
        self._states = _Gate(asyncio.Semaphore(limits.states), limits.states_per_server)
        self._lists = _Gate(asyncio.Semaphore(limits.lists), limits.lists_per_server)
        self._events = _Gate(asyncio.Semaphore(limits.events), limits.events_per_server)

    async def state_ids(
        self, server: ServerName, room: RoomId, event_id: EventId, own_id: OwnId = same_id
    ) -> StateIds:
        """See `ResidentServers`."""
        async with self._lists.passed(server):
            return await self._servers.state_ids(server, room, event_id, own_id)

    async def state(
        self, server: ServerName, room: RoomId, event_id: EventId
    ) -> AsyncGenerator[Sequence[StateElement], None]:
        """See `ResidentServers`."""
        async with (
            self._states.passed(server),
            aclosing(self._servers.state(server, room, event_id)) as elements,
        ):
            async for some in elements:
                yield some

    async def event(self, server: ServerName, event_id: EventId) -> bytes:
        """See `ResidentServers`."""
        async with self._events.passed(server):
            return await self._servers.event(server, event_id)

    async def event_auth(self, server: ServerName, room: RoomId, event_id: EventId) -> list[bytes]:
        """See `ResidentServers`."""
        async with self._lists.passed(server):
            return await self._servers.event_auth(server, room, event_id)

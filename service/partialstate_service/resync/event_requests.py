"""Single events by `/event`, spread over several servers.

Each server takes as many as it manages, so a slow one holds up little; what it holds for too long is asked of another
as well (hedging), and a server that fails is not asked again.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.federation.protocol import ResidentServers
from partialstate_service.resync.sources import Sources

_PER_SERVER = 4
"""Requests in flight at one server."""
_HEDGE_AFTER_S = 2.0
"""For how long one server may keep an event to itself while another has nothing to do."""


class EventRequests:
    """Asks *servers* for *wanted* events. What did not help is asked again of those not asked yet."""

    def __init__(
        self,
        federation: ResidentServers,
        sources: Sources,
        wanted: Collection[EventId],
        servers: Sequence[ServerName],
        *,
        hedge_after_s: float = _HEDGE_AFTER_S,
    ) -> None:
        self._hedge_after_s = hedge_after_s
        self._federation = federation
        self._sources = sources
        self._servers = list(servers)
        self._asked: dict[EventId, set[ServerName]] = {event_id: set() for event_id in wanted}
        self._unknown_to: dict[EventId, set[ServerName]] = {event_id: set() for event_id in wanted}
        self._sent_by: dict[EventId, ServerName] = {}

    def askable(self, event_ids: Iterable[EventId]) -> list[EventId]:
        """Return, in order, which of *event_ids* there is still somebody to ask for."""
        return sorted(
            event_id for event_id in event_ids if not self._asked[event_id].issuperset(self._servers)
        )

    def unknown(self) -> set[EventId]:
        """Return the events that somebody was asked for, and that everybody who was asked for them does not know."""
        return {
            event_id
            for event_id, asked in self._asked.items()
            if asked and asked == self._unknown_to[event_id]
        }

    def sent_by(self, event_id: EventId) -> ServerName | None:
        """Return whose answer for an event counted last, if somebody has answered for it."""
        return self._sent_by.get(event_id)

    async def bodies(self, event_ids: Sequence[EventId]) -> list[bytes]:
        """Return the first answer for each of *event_ids*; those that nobody gives are absent."""
        turn = _Turn(event_ids, self._hedge_after_s)
        async with asyncio.TaskGroup() as group:
            pulls = [
                group.create_task(self._pull(server, turn))
                for server in self._servers
                for _ in range(_PER_SERVER)
            ]
            group.create_task(_until_all_end(pulls, turn.complete))
            await turn.complete.wait()
            # What is still in flight has arrived from another server.
            for pull in pulls:
                pull.cancel()
        return list(turn.bodies.values())

    async def _pull(self, server: ServerName, turn: "_Turn") -> None:
        """Ask *server* for one event after the other until there is nothing left that it could help with."""
        while server in self._servers:
            event_id = turn.take(self._asked, server)
            if event_id is None:
                if turn.is_idle:
                    return
                await turn.wait()
                continue
            self._asked[event_id].add(server)
            try:
                if turn.arrived(event_id, await self._federation.event(server, event_id)):
                    self._sent_by[event_id] = server
            except FederationError as error:
                # One event that a server lacks says nothing about its snapshots.
                if error.outcome is Outcome.NOT_FOUND:
                    self._unknown_to[event_id].add(server)
                elif server in self._servers:
                    self._servers.remove(server)
                    self._sources.failed(error)
            finally:
                turn.ended(event_id)


async def _until_all_end(pulls: Sequence[asyncio.Task[None]], ended: asyncio.Event) -> None:
    if pulls:
        await asyncio.wait(pulls)
    ended.set()


class _Turn:
    """The events of one call: waiting, in flight and arrived."""

    def __init__(self, event_ids: Sequence[EventId], hedge_after_s: float) -> None:
        self._hedge_after_s = hedge_after_s
        self.bodies: dict[EventId, bytes] = {}
        self.complete = asyncio.Event()
        self._wanted = len(event_ids)
        self._waiting = deque(event_ids)
        self._in_flight: Counter[EventId] = Counter()
        self._last_asked_s: dict[EventId, float] = {}
        self._changed = asyncio.Event()
        self._now_s = asyncio.get_running_loop().time

    @property
    def is_idle(self) -> bool:
        """Whether no request is in flight that could fail and leave its event to another server."""
        return not self._in_flight

    def take(self, asked: Mapping[EventId, Collection[ServerName]], server: ServerName) -> EventId | None:
        """Return an event to ask *server* for: one that waits, or one that another server keeps for too long."""
        for _ in range(len(self._waiting)):
            event_id = self._waiting.popleft()
            if server not in asked[event_id]:
                return self._begun(event_id)
            self._waiting.append(event_id)
        late_s = self._now_s() - self._hedge_after_s
        for event_id in self._in_flight:
            if server not in asked[event_id] and self._last_asked_s[event_id] <= late_s:
                return self._begun(event_id)
        return None

    def arrived(self, event_id: EventId, body: bytes) -> bool:
        """Note an answer; the first one counts. Return whether it is that."""
        is_first = event_id not in self.bodies
        self.bodies.setdefault(event_id, body)
        if len(self.bodies) == self._wanted:
            self.complete.set()
        return is_first

    def ended(self, event_id: EventId) -> None:
        """Note the end of a request, whatever it came to."""
        self._in_flight[event_id] -= 1
        if not self._in_flight[event_id]:
            del self._in_flight[event_id]
            if event_id not in self.bodies:
                self._waiting.append(event_id)
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Return when a request has ended, or when one may have been in flight for too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._hedge_after_s):
                await self._changed.wait()

    def _begun(self, event_id: EventId) -> EventId:
        self._in_flight[event_id] += 1
        self._last_asked_s[event_id] = self._now_s()
        return event_id

"""Servers that do not answer are left alone by all rooms.

A room whose server hangs waits for a minute, twice, before it asks another one. When that server is in thousands of
rooms, the second room shall not wait for it like the first.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.federation.protocol import OwnId, ResidentServers, StateElement, StateIds, same_id

# Once may be the one answer that takes the server too long, which it has ready when asked again (synapse#15115).
_FAILURES = 2
_MAX_SERVERS = 10_000
_SILENT = frozenset({Outcome.TIMEOUT, Outcome.UNREACHABLE})


@dataclass(slots=True)
class _Silence:
    """What is known of a server that failed to answer, since it last did."""

    failures: int = 0
    failed_s: float = 0.0
    until_s: float = 0.0
    """Until when nothing is asked of it."""


class AnsweringServers:
    """Asks those of *servers* that answer; see `ResidentServers` for the contract of each call.

    A server that failed to answer twice in a row, whatever it was asked by whichever room, is not asked for *pause_s*:
    requests fail at once as UNREACHABLE. After that one request tries whether it answers.
    """

    def __init__(self, servers: ResidentServers, *, pause_s: float, now_s: Callable[[], float]) -> None:
        self._servers = servers
        self._pause_s = pause_s
        self._now_s = now_s
        self._silences: OrderedDict[ServerName, _Silence] = OrderedDict()

    @contextmanager
    def _asked(self, server: ServerName) -> Iterator[None]:
        begun_s = self._now_s()
        if (silence := self._silences.get(server)) is not None and silence.failures >= _FAILURES:
            if begun_s < silence.until_s:
                text = "left alone for a moment: it did not answer others"
                wait_s = silence.until_s - begun_s
                raise FederationError(Outcome.UNREACHABLE, server, wait_s, text)
            silence.until_s = begun_s + self._pause_s  # for all others while this one tries
        try:
            yield
        except FederationError as error:
            if error.outcome in _SILENT:
                self._failed(server, begun_s)
            elif error.outcome is not Outcome.UNSIGNED:
                self._silences.pop(server, None)
            raise
        else:
            self._silences.pop(server, None)

    def _failed(self, server: ServerName, begun_s: float) -> None:
        silence = self._silences.setdefault(server, _Silence())
        self._silences.move_to_end(server)
        if len(self._silences) > _MAX_SERVERS:
            self._silences.popitem(last=False)
        # Requests that were on their way at the same time fail together: that is one failure.
        if begun_s >= silence.failed_s:
            silence.failures += 1
            silence.failed_s = self._now_s()
            silence.until_s = silence.failed_s + self._pause_s

    async def state_ids(
        self, server: ServerName, room: RoomId, event_id: EventId, own_id: OwnId = same_id
    ) -> StateIds:
        """See `ResidentServers`."""
        with self._asked(server):
            return await self._servers.state_ids(server, room, event_id, own_id)

    async def state(
        self, server: ServerName, room: RoomId, event_id: EventId
    ) -> AsyncGenerator[Sequence[StateElement], None]:
        """See `ResidentServers`."""
        with self._asked(server):
            async with aclosing(self._servers.state(server, room, event_id)) as elements:
                async for some in elements:
                    yield some

    async def event(self, server: ServerName, event_id: EventId) -> bytes:
        """See `ResidentServers`."""
        with self._asked(server):
            return await self._servers.event(server, event_id)

    async def event_auth(self, server: ServerName, room: RoomId, event_id: EventId) -> list[bytes]:
        """See `ResidentServers`."""
        with self._asked(server):
            return await self._servers.event_auth(server, room, event_id)

"""For how long a room has done nothing but wait for other servers."""

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from types import MappingProxyType

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.federation.protocol import (
    KeySource,
    OwnId,
    ResidentServers,
    StateElement,
    StateIds,
    same_id,
)
from partialstate_service.matrix.keys import KeyId, ServerKeys


class Waits:
    """What one room waits for."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._requests = 0
        self._since_s = 0.0

    @property
    def waited_s(self) -> float:
        """How long ago an answer, or a piece of one, was last had; 0 while none is waited for."""
        return self._now_s() - self._since_s if self._requests else 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count as a wait what is done in the block."""
        if not self._requests:
            self._since_s = self._now_s()
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1
            self._since_s = self._now_s()


class AwaitedKeys:
    """Asks *keys* for one room; see `KeySource` for the contract."""

    def __init__(self, keys: KeySource, waits: Waits) -> None:
        self._keys = keys
        self._waits = waits

    async def keys_for(
        self,
        wanted: Mapping[ServerName, int],
        *,
        also_ask: Sequence[ServerName] = (),
        key_ids: Mapping[ServerName, Collection[KeyId]] = MappingProxyType({}),
    ) -> Mapping[ServerName, ServerKeys]:
        """See `KeySource`."""
        with self._waits.waiting():
            return await self._keys.keys_for(wanted, also_ask=also_ask, key_ids=key_ids)


class AwaitedServers:
    """Asks *servers* for one room; see `ResidentServers` for the contract of each call."""

    def __init__(self, servers: ResidentServers, waits: Waits) -> None:
        self._servers = servers
        self._waits = waits

    async def state_ids(
        self, server: ServerName, room: RoomId, event_id: EventId, own_id: OwnId = same_id
    ) -> StateIds:
        """See `ResidentServers`."""
        with self._waits.waiting():
            return await self._servers.state_ids(server, room, event_id, own_id)

    async def state(
        self, server: ServerName, room: RoomId, event_id: EventId
    ) -> AsyncGenerator[Sequence[StateElement], None]:
        """See `ResidentServers`."""
        async with aclosing(self._servers.state(server, room, event_id)) as elements:
            while True:
                with self._waits.waiting():
                    some = await anext(elements, None)
                if some is None:
                    return
                yield some

    async def event(self, server: ServerName, event_id: EventId) -> bytes:
        """See `ResidentServers`."""
        with self._waits.waiting():
            return await self._servers.event(server, event_id)

    async def event_auth(self, server: ServerName, room: RoomId, event_id: EventId) -> list[bytes]:
        """See `ResidentServers`."""
        with self._waits.waiting():
            return await self._servers.event_auth(server, room, event_id)

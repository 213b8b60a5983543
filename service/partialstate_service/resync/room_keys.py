"""The signing keys found for one room.

What a room's own servers say of others' keys counts in their room only, so the federation does not remember it; here it
is remembered for as long as a worker holds the room, and nothing is sought again for each batch of events; what was
sought in vain is not either, for a short time.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.key_answers import suffices
from partialstate_service.federation.protocol import KeySource
from partialstate_service.matrix.keys import KeyId, ServerKeys

_MISS_S = 60.0
"""For how long the keys of a server that were sought in vain are not sought again: about as long as a search may take."""
_MAX_MISSES = 20_000
_MAX_FOUND = 20_000
_SEARCH_S = 3600.0
_REST_S = 600.0
"""After how long a time of fruitless searches the search rests, and for how long: other servers' answers go on meanwhile."""


class RoomKeys:
    """A `KeySource` that remembers what *keys* found, and what it did not."""

    def __init__(self, keys: KeySource, now_s: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._now_s = now_s
        self._asking = asyncio.Lock()
        self._found: dict[ServerName, ServerKeys] = {}
        # What was sought in vain, and until when it is not sought again.
        self._missed: dict[tuple[ServerName, frozenset[KeyId]], tuple[int, float]] = {}
        # How long was sought in vain since the last rest, and until when the search rests.
        self._spent_s = 0.0
        self._rests_until_s = 0.0

    async def keys_for(
        self,
        wanted: Mapping[ServerName, int],
        *,
        also_ask: Sequence[ServerName] = (),
        key_ids: Mapping[ServerName, Collection[KeyId]] = MappingProxyType({}),
    ) -> Mapping[ServerName, ServerKeys]:
        """See `KeySource`."""
        if self._missing(wanted, key_ids):
            async with self._asking:
                # Chunks of one room need the same servers' keys: what another asked for meanwhile has been answered.
                missing = self._missing(wanted, key_ids)
                if missing and self._now_s() >= self._rests_until_s:
                    await self._ask(missing, also_ask, key_ids)
        return {server: self._found[server] for server in wanted if server in self._found}

    async def _ask(
        self,
        missing: Mapping[ServerName, int],
        also_ask: Sequence[ServerName],
        key_ids: Mapping[ServerName, Collection[KeyId]],
    ) -> None:
        begun_s = self._now_s()
        found = await self._keys.keys_for(missing, also_ask=also_ask, key_ids=key_ids)
        if len(self._found) + len(found) > _MAX_FOUND:
            self._found.clear()  # the federation remembers most of them
        self._found |= found
        if len(found) * 2 < len(missing):
            self._spend(self._now_s() - begun_s)
        if len(self._missed) > _MAX_MISSES:
            self._missed.clear()
        again_s = self._now_s() + _MISS_S
        for server, until in missing.items():
            if not self._has(server, until, key_ids):
                self._missed[server, frozenset(key_ids.get(server, ()))] = (until, again_s)

    def _spend(self, seconds: float) -> None:
        """Count a search that was mostly fruitless; whoever makes up servers by the thousand gets no more than that of it."""
        self._spent_s += seconds
        if self._spent_s > _SEARCH_S:
            self._spent_s = 0.0
            self._rests_until_s = self._now_s() + _REST_S

    def _missing(
        self, wanted: Mapping[ServerName, int], key_ids: Mapping[ServerName, Collection[KeyId]]
    ) -> dict[ServerName, int]:
        return {
            server: until
            for server, until in wanted.items()
            if not self._has(server, until, key_ids) and not self._was_missed(server, until, key_ids)
        }

    def _has(self, server: ServerName, until: int, key_ids: Mapping[ServerName, Collection[KeyId]]) -> bool:
        return suffices(self._found.get(server), until, key_ids.get(server, ()))

    def _was_missed(
        self, server: ServerName, until: int, key_ids: Mapping[ServerName, Collection[KeyId]]
    ) -> bool:
        missed = self._missed.get((server, frozenset(key_ids.get(server, ()))))
        return missed is not None and until >= missed[0] and self._now_s() < missed[1]

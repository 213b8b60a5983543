"""The signing keys found for one room.

What a room's own servers say of others' keys counts in their room only, so the federation does not remember it; here it
is remembered for as long as a worker holds the room, and nothing is sought again for each batch of events; what was
sought in vain is not either, for a short time.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.key_answers import succeeded, suffices
from partialstate_service.federation.key_cache import KeyTable
from partialstate_service.federation.protocol import KeySource
from partialstate_service.matrix.keys import KeyId, ServerKeys

_MISS_S = 60.0
"""For how long the keys of a server that were sought in vain are not sought again: about as long as a search may take."""
_MAX_MISSES = 20_000
_MAX_SERVERS = 20_000
_MAX_KEYS = 50_000
"""How many keys are remembered for a room, about 10 MB at most; the federation remembers most of them too."""
_SEARCH_S = 3600.0
_REST_S = 600.0
"""After how long a time of fruitless searches the search rests, and for how long: other servers' answers go on meanwhile."""


class RoomKeys:
    """A `KeySource` that remembers what *keys* found, and what it did not."""

    def __init__(self, keys: KeySource, now_s: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._now_s = now_s
        self._asking = asyncio.Lock()
        self._found = KeyTable(max_servers=_MAX_SERVERS, max_keys=_MAX_KEYS)
        # What was sought in vain, and until when it is not sought again. Of the key ids, which may be long, the hash.
        self._missed: dict[tuple[ServerName, int], tuple[int, float]] = {}
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
        return self.at_hand(wanted)

    def at_hand(self, servers: Iterable[ServerName]) -> Mapping[ServerName, ServerKeys]:
        """Return what has been found so far of *servers*."""
        return {server: keys for server in servers if (keys := self._found.get(server)) is not None}

    def has(self, wanted: Mapping[ServerName, int], key_ids: Mapping[ServerName, Collection[KeyId]]) -> bool:
        """Whether nothing of what is wanted would have to be sought."""
        return all(self._has(server, until, key_ids) for server, until in wanted.items())

    async def _ask(
        self,
        missing: Mapping[ServerName, int],
        also_ask: Sequence[ServerName],
        key_ids: Mapping[ServerName, Collection[KeyId]],
    ) -> None:
        begun_s = self._now_s()
        found = await self._keys.keys_for(missing, also_ask=also_ask, key_ids=key_ids)
        for server, keys in found.items():
            # What the room's servers said before of other keys is remembered nowhere else.
            known = self._found.get(server)
            needed = key_ids.get(server, ())
            self._found.put(keys if known is None else succeeded(keys, [known], needed))
        settled = sum(self._has(server, until, key_ids) for server, until in missing.items())
        if settled * 2 < len(missing):
            self._spend(self._now_s() - begun_s)
        if len(self._missed) > _MAX_MISSES:
            self._missed.clear()
        again_s = self._now_s() + _MISS_S
        for server, until in missing.items():
            if not self._has(server, until, key_ids):
                self._missed[_miss(server, key_ids)] = (until, again_s)

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
        missed = self._missed.get(_miss(server, key_ids))
        return missed is not None and until >= missed[0] and self._now_s() < missed[1]


def _miss(server: ServerName, key_ids: Mapping[ServerName, Collection[KeyId]]) -> tuple[ServerName, int]:
    return server, hash(frozenset(key_ids.get(server, ())))

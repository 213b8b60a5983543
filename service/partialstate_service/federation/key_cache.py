"""Remembered keys, and servers not worth asking again yet. Bounded, in memory."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.key_answers import merged, succeeded
from partialstate_service.matrix.keys import KeyId, ServerKeys

# Short enough for several searches within the patience of a resync: the trouble may have been our own network's.
FIRST_PAUSE_S = 30.0
MAX_PAUSE_S = 3600.0
MAX_CACHED_KEYS = 200_000
"""How many keys are remembered: a server has a few, but may publish `MAX_KEPT_KEYS`. About 30 MB, 50 with the longest ids."""


class KeyTable:
    """Keys by server, as many as there may be; least recently used dropped first."""

    def __init__(self, *, max_servers: int, max_keys: int) -> None:
        self._max_servers = max_servers
        self._max_keys = max_keys
        self._key_count = 0
        self._keys: OrderedDict[ServerName, ServerKeys] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, server: ServerName) -> ServerKeys | None:
        """Return what is known of *server*."""
        keys = self._keys.get(server)
        if keys is not None:
            self._keys.move_to_end(server)
        return keys

    def put(self, keys: ServerKeys) -> None:
        """Remember *keys* in place of what is known of their server."""
        known = self._keys.pop(keys.server_name, None)
        self._key_count += keys.key_count - (known.key_count if known is not None else 0)
        self._keys[keys.server_name] = keys
        while len(self._keys) > self._max_servers or self._key_count > self._max_keys:
            _, dropped = self._keys.popitem(last=False)
            self._key_count -= dropped.key_count


class KeyCache:
    """Keys by server, in a `KeyTable`; and pauses that double with each fruitless search."""

    def __init__(
        self, *, now_s: Callable[[], float], max_servers: int, max_keys: int = MAX_CACHED_KEYS
    ) -> None:
        self._now_s = now_s
        self._max_servers = max_servers
        self._keys = KeyTable(max_servers=max_servers, max_keys=max_keys)
        self._pauses: OrderedDict[ServerName, tuple[float, float]] = OrderedDict()

    def get(self, server: ServerName) -> ServerKeys | None:
        """Return what is known of *server*."""
        return self._keys.get(server)

    def put(
        self, keys: ServerKeys, key_ids: Collection[KeyId] = (), *, is_own_word: bool = False
    ) -> ServerKeys:
        """Remember freshly fetched *keys* beside what is known, for seven days at most; return the sum.

        *key_ids* are those that are needed. What the server itself says now (*is_own_word*) is the newest account of it,
        also where it promises less: it may have revoked a key. A notary's may be older than what is known.
        """
        keys = keys.capped(int(self._now_s() * 1000))
        known = self._keys.get(keys.server_name)
        if known is not None:
            keys = succeeded(keys, [known], key_ids) if is_own_word else merged([keys, known], key_ids)
        self._keys.put(keys)
        return keys

    def is_paused(self, server: ServerName) -> bool:
        """Return whether a search for *server* was fruitless not long ago."""
        until_s, _ = self._pauses.get(server, (0.0, 0.0))
        return self._now_s() < until_s

    def pause(self, server: ServerName) -> None:
        """Note a fruitless search."""
        _, before_s = self._pauses.pop(server, (0.0, 0.0))
        pause_s = min(before_s * 2 or FIRST_PAUSE_S, MAX_PAUSE_S)
        self._pauses[server] = (self._now_s() + pause_s, pause_s)
        _shrink(self._pauses, self._max_servers)

    def resume(self, server: ServerName) -> None:
        """Note that *server* has what was sought."""
        self._pauses.pop(server, None)


def _shrink(entries: OrderedDict[ServerName, Any], size: int) -> None:
    while len(entries) > size:
        entries.popitem(last=False)

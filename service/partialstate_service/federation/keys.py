"""Finding the signing keys of many servers at once: remembered, by notary, directly, by the room's servers."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.key_answers import (
    MAX_KEYS_BODY_BYTES,
    agreed,
    contradicts,
    keys_of_body,
    keys_of_notary_body,
    merged,
    notary_query,
    suffices,
)
from partialstate_service.federation.key_cache import KeyCache
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.federation.requester import Requester
from partialstate_service.matrix.ed25519 import KeyId
from partialstate_service.matrix.keys import MAX_KEY_LIFE_MS, InvalidKeysError, ServerKeys

# What costs time for nothing: such a notary is left alone for a while.
_HANGS = frozenset({Outcome.TIMEOUT, Outcome.UNREACHABLE})


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a search for keys may cost."""

    budget_s: float = 120.0
    """A whole search; what is not found by then is returned as missing."""
    direct_timeout_s: float = 10.0
    notary_timeout_s: float = 20.0
    concurrency: int = 50
    """Servers asked at the same time, over all searches."""
    servers_per_query: int = 100
    """In one request to a notary."""
    max_witnesses: int = 12
    """Room servers asked as notaries, at most."""
    witnesses_at_once: int = 4
    """How many of them are asked before it is seen whether more are needed: many of a room's servers are dead."""
    needed_witnesses: int = 2
    """How many of them must agree on a key, and be more than half of those that know the server."""
    enough_witnesses: int = 3
    """When so many of them know the server, no more are asked than it takes to agree."""
    max_cached_servers: int = 20_000


@dataclass(slots=True)
class _Search:
    """One call's state: what is wanted, and what has been found so far."""

    wanted: Mapping[ServerName, int]
    key_ids: Mapping[ServerName, Collection[KeyId]]
    found: dict[ServerName, ServerKeys] = field(default_factory=dict)
    sought: list[ServerName] = field(default_factory=list)
    asked_in_vain: set[ServerName] = field(default_factory=set)

    def missing(self) -> list[ServerName]:
        return [server for server in self.sought if not self.has(server)]

    def has(self, server: ServerName) -> bool:
        return suffices(self.found.get(server), self.wanted[server], self.key_ids.get(server, ()))


class KeyFetcher:
    """`KeySource` over the federation. Notaries are trusted by configuration; they say what a server's keys are."""

    def __init__(
        self,
        requester: Requester,
        notaries: Sequence[ServerName],
        *,
        limits: KeyLimits,
        now_s: Callable[[], float],
        own_keys: Callable[[int], ServerKeys] | None = None,
    ) -> None:
        """*own_keys* returns the homeserver's own keys at a time in milliseconds, where they are known here."""
        self._requester = requester
        self._notaries = tuple(notaries)
        self._limits = limits
        self._now_s = now_s
        self._cache = KeyCache(now_s=now_s, max_servers=limits.max_cached_servers)
        self._own_keys = own_keys
        self._slots = asyncio.Semaphore(limits.concurrency)

    async def keys_for(
        self,
        wanted: Mapping[ServerName, int],
        *,
        also_ask: Sequence[ServerName] = (),
        key_ids: Mapping[ServerName, Collection[KeyId]] = MappingProxyType({}),
    ) -> Mapping[ServerName, ServerKeys]:
        """See `KeySource`. A server whose search was fruitless is not sought again for some minutes.

        Only the room's servers are still asked for its keys: others may know them than those of the last room.
        """
        # Nobody's keys are taken to be valid for longer, so nothing later can be had.
        latest_ms = self._now_ms() + MAX_KEY_LIFE_MS
        search = _Search({server: min(until, latest_ms) for server, until in wanted.items()}, key_ids)
        for server in wanted:
            if (known := self._known(server)) is not None:
                search.found[server] = known
            if not search.has(server):
                search.sought.append(server)
        if search.sought:
            # What has been found when the time is up is in the search.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.budget_s):
                    await self._seek(search, also_ask)
            for server in search.asked_in_vain.intersection(search.missing()):
                self._cache.pause(server)
        return search.found

    def _known(self, server: ServerName) -> ServerKeys | None:
        known = self._cache.get(server)
        own = self._own_keys(self._now_ms()) if self._own_keys is not None else None
        if own is None or own.server_name != server:
            return known
        # A room that is joined again has our own old events; who but us would know our key best?
        return own if known is None else merged([own, known])

    async def _seek(self, search: _Search, also_ask: Sequence[ServerName]) -> None:
        for notary in self._notaries:
            if missing := self._not_paused(search.missing()):
                for keys in (await self._ask_notary(search, notary, missing)).values():
                    self._accept(search, keys, is_own_word=False)
        await self._all(self._ask_itself(search, server) for server in self._not_paused(search.missing()))
        await self._ask_witnesses(search, also_ask)

    def _not_paused(self, servers: Sequence[ServerName]) -> list[ServerName]:
        return [server for server in servers if not self._cache.is_paused(server)]

    def _accept(self, search: _Search, keys: ServerKeys, *, is_own_word: bool) -> None:
        server = keys.server_name
        search.found[server] = self._cache.put(keys, search.key_ids.get(server, ()), is_own_word=is_own_word)
        if search.has(server):
            self._cache.resume(server)

    async def _ask_itself(self, search: _Search, server: ServerName) -> None:
        if (keys := await self._fetch(server, search.key_ids.get(server, ()))) is not None:
            self._accept(search, keys, is_own_word=True)
        if not search.has(server):
            search.asked_in_vain.add(server)

    async def _fetch(self, server: ServerName, key_ids: Collection[KeyId] = ()) -> ServerKeys | None:
        async with self._slots:
            try:
                body = await self._requester.fetch(
                    server,
                    "GET",
                    "/_matrix/key/v2/server",
                    signed=False,
                    timeout_s=self._limits.direct_timeout_s,
                    max_bytes=MAX_KEYS_BODY_BYTES,
                )
                # Many wrong signatures by many keys take 0.1 s.
                return await asyncio.to_thread(keys_of_body, body, server, key_ids)
            except (FederationError, InvalidKeysError):
                return None

    async def _ask_notary(
        self, search: _Search, notary: ServerName, servers: Sequence[ServerName]
    ) -> dict[ServerName, ServerKeys]:
        """Return what *notary* says about *servers*; nothing where it cannot be asked or believed."""
        notary_keys = await self._notary_keys(notary)
        if notary_keys is None:
            return {}
        found: dict[ServerName, ServerKeys] = {}

        async def ask(batch: Sequence[ServerName]) -> None:
            found.update(await self._query(search, notary_keys, batch))

        size = self._limits.servers_per_query
        await self._all(ask(servers[start : start + size]) for start in range(0, len(servers), size))
        return found

    async def _notary_keys(self, notary: ServerName) -> ServerKeys | None:
        if self._cache.is_paused(notary):
            return None
        known = self._cache.get(notary)
        if known is not None and suffices(known, self._now_ms(), ()):
            return known
        fetched = await self._fetch(notary)
        if fetched is None:
            self._cache.pause(notary)
            return None
        return self._cache.put(fetched, is_own_word=True)

    async def _query(
        self, search: _Search, notary: ServerKeys, servers: Sequence[ServerName]
    ) -> dict[ServerName, ServerKeys]:
        async with self._slots:
            try:
                body = await self._requester.fetch(
                    notary.server_name,
                    "POST",
                    "/_matrix/key/v2/query",
                    content=notary_query(servers, search.wanted, search.key_ids),
                    signed=False,
                    timeout_s=self._limits.notary_timeout_s,
                    max_bytes=MAX_KEYS_BODY_BYTES * len(servers),
                )
            except FederationError as error:
                if error.outcome in _HANGS:
                    self._cache.pause(notary.server_name)
                return {}
        return await asyncio.to_thread(
            keys_of_notary_body,
            body,
            notary,
            frozenset(servers),
            now_ms=self._now_ms(),
            key_ids=search.key_ids,
        )

    async def _ask_witnesses(self, search: _Search, witnesses: Sequence[ServerName]) -> None:
        accounts: dict[ServerName, list[ServerKeys]] = {}

        async def ask(witness: ServerName) -> None:
            others = [server for server in missing if server != witness]
            for server, keys in (await self._ask_notary(search, witness, others)).items():
                accounts.setdefault(server, []).append(keys)

        distinct = tuple(dict.fromkeys(witnesses))[: self._limits.max_witnesses]
        for start in range(0, len(distinct), self._limits.witnesses_at_once):
            if not (missing := search.missing()):
                return
            await self._all(
                ask(witness) for witness in distinct[start : start + self._limits.witnesses_at_once]
            )
            is_last = start + self._limits.witnesses_at_once >= len(distinct)
            enough = 0 if is_last else self._limits.enough_witnesses
            self._weigh(search, {server: said for server, said in accounts.items() if len(said) >= enough})

    def _weigh(self, search: _Search, accounts: Mapping[ServerName, Sequence[ServerKeys]]) -> None:
        """Take over what enough witnesses agree on and nothing known contradicts."""
        for server, said in accounts.items():
            keys = agreed(said, self._limits.needed_witnesses)
            known = search.found.get(server)
            if keys is None or (known is not None and contradicts(keys, known)):
                continue
            # Not remembered: a room's servers vouch in their room, not in every other.
            accounts_of_it = [keys.capped(self._now_ms()), *([] if known is None else [known])]
            search.found[server] = merged(accounts_of_it, search.key_ids.get(server, ()))

    async def _all(self, calls: Iterable[Awaitable[None]]) -> None:
        """Run *calls*, as many at once as there are slots, and wait for all; the rest is not even created."""
        iterator = iter(calls)

        async def work() -> None:
            for call in iterator:
                await call

        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._limits.concurrency):
                tasks.create_task(work())

    def _now_ms(self) -> int:
        return int(self._now_s() * 1000)

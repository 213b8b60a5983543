"""A replica's copy of the registry, fed by the change log."""
# ruff: noqa: D102 - `protocol.Mirror` has the contracts

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType

from partialstate_service.domain.errors import (
    ForeignTokenError,
    NotReconciledError,
    PartialStateError,
    StoreNotUnderstoodError,
    StoreUnavailableError,
    TokenTooOldError,
)
from partialstate_service.domain.ids import EventId, Revision, RoomId
from partialstate_service.domain.rooms import PartialRoom, StateToken
from partialstate_service.store.changes import Changes
from partialstate_service.store.formats import require_known_format
from partialstate_service.store.log_entries import Entry, entry_of
from partialstate_service.store.past import past_changes
from partialstate_service.store.protocol import Change, Registry, RoomSignal
from partialstate_service.store.read_index import ReadIndex, Reading
from partialstate_service.store.watchers import Watchers

_log = logging.getLogger(__name__)
_PAGE = 500
_RETRY_S = 0.5


class RedisMirror:
    """The rooms as of the last change seen; `protocol.Mirror` has the contracts."""

    def __init__(self, changes: Changes, registry: Registry) -> None:
        self._changes = changes
        self._registry = registry
        self._rooms: dict[RoomId, PartialRoom] = {}
        self._token = StateToken("", Revision(0), "")
        self._reconciled = False
        self._not_understood: StoreNotUnderstoodError | None = None
        self._history: deque[Change] = deque(maxlen=changes.settings.mirror_history)
        self._before_history = self._token
        self._watchers = Watchers()
        self._index = ReadIndex(
            changes.server,
            changes.keys,
            self._follow,
            lambda: self._token.revision,
            changes.settings.command_timeout_s,
        )

    @property
    def rooms(self) -> Mapping[RoomId, PartialRoom]:
        return MappingProxyType(self._rooms)

    @property
    def token(self) -> StateToken:
        return self._token

    @property
    def staleness_s(self) -> float:
        """How long ago the mirror was last known to be current."""
        return time.monotonic() - self._index.current_as_of_s

    @property
    def understands_store(self) -> bool:
        return self._not_understood is None

    async def fully_consistent(self, event_ids: Sequence[EventId]) -> Mapping[EventId, RoomId]:
        return await self._index.read(event_ids)

    async def at_least(self, token: StateToken, timeout_s: float) -> None:
        if token.store_id != self._token.store_id or token.revision > self._token.revision:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._index.read(())
            except TimeoutError as error:
                raise StoreUnavailableError("the store did not answer in time") from error
        self._require_known(token)
        self._require_deciding()

    async def at_most_stale(self, max_age_s: float) -> None:
        if self.staleness_s > max_age_s:
            await self._index.read(())
        self._require_deciding()

    async def watch(
        self, after: StateToken | None, queue_limit: int, room_id: RoomId | None = None
    ) -> AsyncGenerator[Change, None]:
        if after is None or after.revision > self._token.revision:
            await self._catch_up()
        if self._not_understood is not None:
            raise self._not_understood
        with self._watchers.watching(room_id, queue_limit) as watcher:
            if after is None:
                yield _bookmark(self._token)
            else:
                async for change in self._past(after, self._token):
                    if room_id is None or change.room_id in {None, room_id}:
                        yield change
            while True:
                news = await watcher.next(self._changes.settings.bookmark_interval_s)
                yield news or _bookmark(self._token)

    def waking(self, room_id: RoomId | None) -> AbstractContextManager[RoomSignal]:
        return self._watchers.waking(room_id)

    async def _catch_up(self) -> None:
        """See all that is committed, of a store that may not be reconciled yet."""
        with contextlib.suppress(NotReconciledError):
            await self._index.read(())

    # --- following the log

    async def load(self) -> None:
        """Read all rooms anew."""
        rooms: dict[RoomId, PartialRoom] = {}
        page, after, token = await self._registry.page(None, _PAGE, frozenset())
        rooms.update((room.room_id, room) for room in page)
        while after is not None:
            page, after, _ = await self._registry.page(after, _PAGE, frozenset())
            rooms.update((room.room_id, room) for room in page)
        # Entries after the token are applied again, over rooms that may be newer: the last of each room decides.
        self._rooms, self._token, self._before_history = rooms, token, token
        self._history.clear()

    async def run(self) -> None:
        """Follow the log, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._index.run())
            tasks.create_task(self._follow_log())

    async def _follow_log(self) -> None:
        settings = self._changes.settings
        block_ms = int(1000 * min(settings.follow_interval_s, settings.command_timeout_s / 2))
        log = self._changes.keys.of("log")
        while True:
            try:
                await self._changes.server.command(
                    *("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", log, f"{self._token.revision}-0"),
                    key=log,
                )
                # What XREAD says is not enough: it waits in silence on a store that was wiped.
                await self._catch_up()
            except StoreUnavailableError:
                await asyncio.sleep(_RETRY_S)

    async def _follow(self, reading: Reading) -> bool:
        """Bring the mirror to *reading*; return False if another reading is needed."""
        try:
            require_known_format(reading.schema)
            is_there = await self._bring_to(reading)
        except StoreNotUnderstoodError as error:
            if self._not_understood is None:
                _log.error("nothing is decided any more: %s", error)
                self._watchers.restart(error)
            self._not_understood = error
            raise
        self._not_understood = None
        return is_there

    async def _bring_to(self, reading: Reading) -> bool:
        ours, theirs = self._token, reading.token
        if theirs.store_id != ours.store_id:
            return await self._restart("the store is another one", ForeignTokenError, doubt=True)
        if theirs.revision == ours.revision:
            if theirs.chain_id != ours.chain_id:
                return await self._restart("the store has lost writes", ForeignTokenError, doubt=True)
            self._reconciled = reading.reconciled
            return True
        entries = [entry_of(*entry) for entry in reading.entries]
        if entries and entries[0].revision == ours.revision and entries[0].chain == ours.chain_id:
            entries = entries[1:]
        if theirs.revision < ours.revision or (
            entries
            and entries[0].revision <= ours.revision + 1
            and entries[0].previous_chain != ours.chain_id
        ):
            return await self._restart("the store has lost writes", ForeignTokenError, doubt=True)
        if not entries or entries[0].revision > ours.revision + 1:
            return await self._restart("the change log was trimmed", TokenTooOldError, doubt=False)
        for entry in entries:
            self._apply(entry)
        self._reconciled = reading.reconciled
        return self._token.revision >= theirs.revision

    def _apply(self, entry: Entry) -> None:
        room_id = entry.room_id
        is_unknown = room_id is not None and room_id not in self._rooms
        change = entry.change(self._token.store_id, self._rooms)
        self._token = change.token
        if room_id is not None:
            if change.room is None:
                self._rooms.pop(room_id, None)
            elif not is_unknown or entry.is_complete:
                self._rooms[room_id] = change.room
        if len(self._history) == self._history.maxlen:
            self._before_history = self._history[0].token
        self._history.append(change)
        self._watchers.tell(change)

    async def _restart(self, why: str, error: type[PartialStateError], *, doubt: bool) -> bool:
        """Load all rooms anew; if *doubt*, nothing is decided by this store before it is reconciled."""
        _log.warning("%s: reading all rooms anew", why)
        if doubt:
            self._reconciled = False
            await self._changes.call("mark_doubtful", None)
        await self.load()
        self._watchers.restart(error(why))
        return False

    # --- tokens and the past

    def _require_deciding(self) -> None:
        if self._not_understood is not None:
            raise self._not_understood
        if not self._reconciled:
            raise NotReconciledError("the store is fresh or has lost writes: call ReconcileRooms first")

    def _require_known(self, token: StateToken) -> None:
        """Raise ForeignTokenError unless the token is of this store and of its present history, as far as known."""
        if token.store_id != self._token.store_id or token.revision > self._token.revision:
            raise ForeignTokenError("the token is of another store, or of a history that this store has lost")
        at = token.revision - self._before_history.revision
        known = self._before_history if at == 0 else self._history[at - 1].token if at > 0 else token
        if known.chain_id != token.chain_id:
            raise ForeignTokenError("the token is of a history that this store has lost")

    async def _past(self, after: StateToken, last: StateToken) -> AsyncIterator[Change]:
        """Yield the changes after one token up to another that the mirror has seen."""
        self._require_known(after)
        if after.revision >= self._before_history.revision:
            for change in [change for change in self._history if change.token.revision > after.revision]:
                yield change
            return
        async for change in past_changes(self._changes, after, last, self._rooms):
            yield change


def _bookmark(token: StateToken) -> Change:
    return Change(token, "bookmark", None, None, None)

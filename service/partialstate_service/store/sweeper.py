"""Dropping the large data that nothing names any more."""

import asyncio
import logging
from collections.abc import Sequence

from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.domain.ids import RoomId
from partialstate_service.store.changes import Changes

_log = logging.getLogger(__name__)
_BATCH = 100
# How long the mark of a life's end refuses late writers; longer than any of our calls takes.
_MARK_S = 24 * 3600


class Sweeper:
    """Deletes chunks and lives that a change of the registry gave up, and those that were never committed."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Say that there is something to drop."""
        self._woken.set()

    async def run(self) -> None:
        """Sweep from time to time, until cancelled. Several replicas may do so at the same time."""
        interval_s = self._changes.settings.sweep_interval_s
        while True:
            try:
                await self.sweep()
            except StoreUnavailableError:
                _log.warning("the store is unavailable: what is to be dropped waits")
            self._woken.clear()
            try:
                async with asyncio.timeout(interval_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def sweep(self) -> None:
        """Drop all that nothing names."""
        before_ms = int((self._changes.clock() - self._changes.settings.uncommitted_keep_s) * 1000)
        while int((await self._changes.call("retire_uncommitted", None, before_ms, _BATCH))[4]):
            pass
        garbage = self._changes.keys.of("garbage")
        server = self._changes.server
        while items := await server.command("SRANDMEMBER", garbage, _BATCH):
            await self._drop([item.decode() for item in items])
            await server.command("SREM", garbage, *items)

    async def _drop(self, items: Sequence[str]) -> None:
        for item in items:
            match item.split(" "):
                case ["C", key]:
                    await self._changes.server.command("UNLINK", key)
                case ["L", life, room_id]:
                    keys = self._changes.keys.life(RoomId(room_id), life)
                    await self._changes.server.run("drop_life", keys, [_MARK_S])
                case _:
                    _log.error("garbage of an unknown kind: %a", item)

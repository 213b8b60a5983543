"""Opening the store: the embedded server or the one at a URL, checked, with all that works on it running."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from partialstate_service.store.bulk import RedisBulk
from partialstate_service.store.changes import Changes
from partialstate_service.store.connection import connect
from partialstate_service.store.embedded import embedded_server
from partialstate_service.store.keys import Keys
from partialstate_service.store.ledger import RedisLedger
from partialstate_service.store.lives import Lives
from partialstate_service.store.mirror import RedisMirror
from partialstate_service.store.registry import RedisRegistry
from partialstate_service.store.settings import StoreSettings
from partialstate_service.store.sweeper import Sweeper


@dataclass(frozen=True, slots=True)
class Store:
    """The open store."""

    registry: RedisRegistry
    bulk: RedisBulk
    ledger: RedisLedger
    mirror: RedisMirror
    sweeper: Sweeper


@asynccontextmanager
async def open_store(settings: StoreSettings) -> AsyncIterator[Store]:
    """Yield the store, loaded and followed.

    Raises StoreUnavailableError, UnsuitableStoreError and EmbeddedStoreError; their texts say what to do.
    """
    async with AsyncExitStack() as stack:
        url = settings.url
        if url is None:
            url = await stack.enter_async_context(embedded_server(settings))
        server = await stack.enter_async_context(connect(url, settings))
        changes = Changes(server, Keys(settings.key_prefix), settings)
        await changes.initialise()
        lives = Lives(changes.server, changes.keys)
        sweeper = Sweeper(changes)
        registry = RedisRegistry(changes, lives, sweeper)
        mirror = RedisMirror(changes, registry)
        await mirror.load()
        store = Store(registry, RedisBulk(changes), RedisLedger(changes, lives), mirror, sweeper)
        async with _running(mirror.run(), sweeper.run()):
            yield store


@asynccontextmanager
async def _running(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run endless works meanwhile; what the body raises comes out as it is, not in a group."""
    raised: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work) for work in works]
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below
            raised = error
        finally:
            for task in running:
                task.cancel()
    if raised is not None:
        raise raised

"""Opening the store: the embedded server or the one at a URL, checked, with all that works on it running."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from partialstate_service.store.bulk import RedisBulk
from partialstate_service.store.changes import Changes
from partialstate_service.store.connection import connect
from partialstate_service.store.embedded import embedded_server
from partialstate_service.store.keys import Keys
from partialstate_service.store.ledger import RedisLedger
from partialstate_service.store.lives import Lives
from partialstate_service.store.meanwhile import meanwhile
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
        async with meanwhile(mirror.run(), sweeper.run()):
            yield store

"""Replicas of the API in this process, each with its own connections to the store, that can be killed and come back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from partialstate_service.app import servicers
from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.metrics import Metrics
from partialstate_service.rpc.server import ServerConfig
from partialstate_service.settings import Settings
from partialstate_service.store.open import Store, open_store
from partialstate_service.store.settings import StoreSettings
from support.api import Api, connected
from support.send_joins import US
from support.serving import running_server

_SUDDEN = ServerConfig(listen="127.0.0.1:0", drain_grace_s=0)


class Replica:
    """One replica, which is started again whenever it is killed."""

    def __init__(self, settings: StoreSettings, channels: AsyncExitStack) -> None:
        self._settings = settings
        self._channels = channels
        self._killed = asyncio.Event()
        self._api: asyncio.Future[Api] = asyncio.get_running_loop().create_future()

    async def api(self) -> Api:
        """Return what a client has of it, once it runs."""
        return await asyncio.shield(self._api)

    def kill(self) -> None:
        """Cut its calls and its connections to the store, if it runs: who asks for its API from now on gets the next life's."""
        if self._api.done():
            self._api = asyncio.get_running_loop().create_future()
            self._killed.set()

    async def run(self) -> None:
        """Run until cancelled."""
        chosen = Settings(server_name=US, signing_key_path="unused")
        while True:
            try:
                async with (
                    open_store(self._settings) as store,
                    running_server(servicers(chosen, store, Metrics()), _SUDDEN) as address,
                ):
                    # Kept by the client: what becomes of its calls is for the server to say.
                    channel = await self._channels.enter_async_context(grpc.aio.insecure_channel(address))
                    self._api.set_result(connected(store, address, channel))
                    await self._killed.wait()
                    _cut(store)
            except StoreUnavailableError:
                continue  # as a supervisor would start it again
            finally:
                self._killed.clear()


def _cut(store: Store) -> None:
    """End a replica's connections to the store."""
    store.registry._changes.server._route.close()


@asynccontextmanager
async def mortal_replicas(count: int, settings: StoreSettings) -> AsyncIterator[Sequence[Replica]]:
    """Run replicas over one store until the end of the block."""
    async with AsyncExitStack() as channels, asyncio.TaskGroup() as group:
        replicas = [Replica(settings, channels) for _ in range(count)]
        running = [group.create_task(replica.run()) for replica in replicas]
        try:
            yield replicas
        finally:
            for task in running:
                task.cancel()

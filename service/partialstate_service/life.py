"""The life of the process: what is started, in which order, how it outlives its store, and how it ends."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace

import structlog

from partialstate_service.app import resyncing, server_config, servicers, store_settings
from partialstate_service.domain.errors import NotReconciledError, StoreUnavailableError
from partialstate_service.metrics import Metrics, served_metrics, watched_loop
from partialstate_service.preflight import check_inputs
from partialstate_service.rpc.server import ApiServer, api_server
from partialstate_service.settings import Role, Settings
from partialstate_service.store.open import Store, open_store
from partialstate_service.store.protocol import Mirror
from partialstate_service.store.settings import StoreSettings

_PATIENCE_S = 3.0
"""How long the first answer waits for the store, so that who starts both at once meets no refusals."""
_FRESH_S = 3.0
"""How long ago the mirror may have been known to be current while the service calls itself ready.

It asks the store at least every second; a store that fails over takes longer than this.
"""
_LOOK_AGAIN_S = 0.5

_log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Run the service until SIGTERM or SIGINT, then drain and return.

    Raises `CannotStartError`, `CannotListenError`, `InvalidCredentialsError`, and what the store raises; maybe in exception groups.
    """
    with _stop_signals() as stop:
        async with service(settings) as address:
            _log.info("serving", address=address, server_name=settings.server_name)
            await stop.wait()
            _log.info("stopping")
    _log.info("stopped")


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[str]:
    """Run the service within the block; yields the address of its gRPC server.

    What the settings name is read first, then the ports are taken. The server answers once there is a store, or when that takes too long: then the process is live but
    not ready, calls fail with STORE_UNAVAILABLE, and it becomes ready by itself. At the end calls are drained, then the
    workers hand their leases back, and the store is closed last.
    """
    check_inputs(settings)
    metrics = Metrics()
    async with (
        api_server(server_config(settings), metrics) as server,
        served_metrics(metrics, settings.metrics_listen),
        watched_loop(metrics),
        asyncio.TaskGroup() as group,
    ):
        waited_enough = asyncio.Event()
        work = group.create_task(_work(settings, server, metrics, waited_enough.set), name="work")
        try:
            await waited_enough.wait()
            await server.start()
            yield server.address
            await server.drain()
        finally:
            work.cancel()


async def _work(
    settings: Settings, server: ApiServer, metrics: Metrics, waited_enough: Callable[[], None]
) -> None:
    """Open the store, and serve and resync with it until cancelled."""
    async with AsyncExitStack() as stack:
        store = await _opened(store_settings(settings), stack, waited_enough)
        metrics.observe_rooms(store.mirror)
        # Asked once, so that it is known to be current; who waits to be asked is not ready for a moment.
        with suppress(NotReconciledError, StoreUnavailableError):
            await store.mirror.fully_consistent(())
        if settings.resyncs:
            await stack.enter_async_context(resyncing(settings, store))
        if settings.role is not Role.RESYNC:
            server.serve(servicers(settings, store, metrics))
        waited_enough()
        await _tell_readiness(store.mirror, server)


async def _opened(settings: StoreSettings, stack: AsyncExitStack, waited_enough: Callable[[], None]) -> Store:
    """Return the store, whenever it comes; calls *waited_enough* when it does not come soon.

    The embedded server is our own: it comes, or the process ends with the reason.
    """
    if settings.url is None:
        # It may have much to load. Who probes would take a process that says nothing for one that hangs.
        late = asyncio.get_running_loop().call_later(settings.start_timeout_s, waited_enough)
        stack.callback(late.cancel)
    attempt = settings if settings.url is None else replace(settings, start_timeout_s=_PATIENCE_S)
    while True:
        try:
            return await stack.enter_async_context(open_store(attempt))
        except StoreUnavailableError as error:
            _log.warning("waiting for the store", error=str(error))
            waited_enough()
            attempt = settings


async def _tell_readiness(mirror: Mirror, server: ApiServer) -> None:
    while True:
        server.set_ready(ready=mirror.staleness_s < _FRESH_S)
        await asyncio.sleep(_LOOK_AGAIN_S)


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """Yield an event that SIGTERM and SIGINT set; a second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def restore() -> None:
        for number in signals:
            loop.remove_signal_handler(number)

    def ask_to_stop() -> None:
        stop.set()
        restore()

    for number in signals:
        loop.add_signal_handler(number, ask_to_stop)
    try:
        yield stop
    finally:
        restore()

"""The service put together: what is started, in which order, and how it ends."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from uuid import uuid4

import structlog

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.assembly import Federation, FederationConfig, open_federation
from partialstate_service.federation.signing import LocalSigner, RequestSigner
from partialstate_service.matrix.ed25519 import InvalidSigningKeyError
from partialstate_service.matrix.keys import parse_signing_key
from partialstate_service.metrics import Metrics, served_metrics
from partialstate_service.ownership.checking import Checking
from partialstate_service.ownership.recovered_log import RecoveredLog
from partialstate_service.resync.recovery import RecoveryPolicy
from partialstate_service.resync.room_resync import ResyncPolicy, ResyncServices
from partialstate_service.resync.verifier import Verifier
from partialstate_service.resync.verifier_pool import available_cores, verifier_pool
from partialstate_service.resync.worker import WorkerLimits, Workers
from partialstate_service.rpc.check import CheckServicer
from partialstate_service.rpc.credentials import TlsFiles
from partialstate_service.rpc.recovered_state import RecoveredStateServicer
from partialstate_service.rpc.remote_signer import remote_signer
from partialstate_service.rpc.rooms import RoomsLimits, RoomsServicer
from partialstate_service.rpc.server import ServerConfig, Servicers, running_server
from partialstate_service.rpc.watch import WatchServicer
from partialstate_service.settings import Role, Settings
from partialstate_service.store.open import Store, open_store
from partialstate_service.store.settings import StoreSettings

_FRESHNESS_TIMEOUT_S = 5.0
"""How long a check waits for a state token that this replica has not seen yet."""

_log = structlog.get_logger()


class CannotStartError(Exception):
    """The service cannot start; the text says what to change."""


async def serve(settings: Settings) -> None:
    """Run the service until SIGTERM or SIGINT, then drain and return.

    Raises `CannotStartError`, `CannotListenError`, and what the store raises; maybe in exception groups.
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

    Started in the order store, federation, verifiers and workers, metrics, gRPC; ended in the reverse: calls are drained first, then
    the workers hand their leases back, and the store is closed last. The role says which of them there are.
    """
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(store_settings(settings)))
        metrics.observe_rooms(store.mirror)
        if settings.resyncs:
            await stack.enter_async_context(_resyncing(settings, store))
        await stack.enter_async_context(served_metrics(metrics, settings.metrics_listen))
        served = None if settings.role is Role.RESYNC else servicers(settings, store, metrics)
        address = await stack.enter_async_context(running_server(served, server_config(settings)))
        yield address


def store_settings(settings: Settings) -> StoreSettings:
    """Return the store's part of the settings."""
    return StoreSettings(
        data_dir=settings.data_dir,
        url=None if settings.store_url is None else settings.store_url.get_secret_value(),
        allow_unpersisted=settings.store_allow_unpersisted,
    )


def server_config(settings: Settings) -> ServerConfig:
    """Return the gRPC server's part of the settings."""
    tls = None
    if settings.tls_cert_file is not None and settings.tls_key_file is not None:
        tls = TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    return ServerConfig(
        listen=settings.listen,
        tls=tls,
        token_file=settings.token_file,
        max_message_bytes=settings.max_message_bytes,
        drain_grace_s=settings.drain_grace_s,
    )


def local_signer(path: Path, us: ServerName) -> LocalSigner:
    """Return a signer with the key in the file *path*. Raises `CannotStartError`."""
    try:
        return LocalSigner(us, parse_signing_key(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, InvalidSigningKeyError) as error:
        raise CannotStartError(f"signing_key_path: {path}: {error}") from error


@asynccontextmanager
async def _signer(settings: Settings) -> AsyncIterator[RequestSigner]:
    if settings.signing_key_path is not None:
        yield local_signer(settings.signing_key_path, settings.server_name)
        return
    assert settings.signing_target is not None
    async with remote_signer(settings.signing_target, settings.server_name) as signer:
        yield signer


def servicers(settings: Settings, store: Store, metrics: Metrics) -> Servicers:
    """Return all services over *store*."""
    checking = Checking(
        registry=store.registry,
        mirror=store.mirror,
        ledger=store.ledger,
        spelling=settings.errcode,
        freshness_timeout_s=_FRESHNESS_TIMEOUT_S,
    )
    return Servicers(
        rooms=RoomsServicer(
            registry=store.registry,
            bulk=store.bulk,
            ledger=store.ledger,
            us=settings.server_name,
            now_ms=_now_ms,
            limits=RoomsLimits(max_send_join_bytes=settings.max_send_join_bytes),
        ),
        check=CheckServicer(checking, metrics.observe_check),
        recovered_state=RecoveredStateServicer(
            store.registry, RecoveredLog(store.registry, store.bulk, store.mirror), _now_ms
        ),
        watch=WatchServicer(store.mirror),
    )


@asynccontextmanager
async def _resyncing(settings: Settings, store: Store) -> AsyncIterator[None]:
    """Work on rooms within the block."""
    config = FederationConfig(
        ca_file=settings.federation_ca_file,
        allowed_networks=settings.federation_allowed_networks,
        key_servers=settings.federation_key_servers,
    )
    async with (
        _signer(settings) as signer,
        open_federation(signer, config) as federation,
        verifier_pool(settings.resync_processes or available_cores()) as pool,
        _running_workers(settings, store, federation, Verifier(federation.keys, pool)),
    ):
        yield


@asynccontextmanager
async def _running_workers(
    settings: Settings, store: Store, federation: Federation, verifier: Verifier
) -> AsyncIterator[None]:
    workers = Workers(
        ResyncServices(
            own_name=settings.server_name,
            registry=store.registry,
            bulk=store.bulk,
            ledger=store.ledger,
            servers=federation.client,
            verifier=verifier,
            policy=ResyncPolicy(
                RecoveryPolicy(
                    cross_check=settings.resync_cross_check,
                    omit_unverifiable=settings.resync_omit_unverifiable,
                )
            ),
            now_ms=_now_ms,
            jitter=Random().random,  # noqa: S311 - spreads load, guards nothing
        ),
        store.mirror,
        WorkerLimits(concurrent_rooms=settings.resync_workers),
        owner=f"{socket.gethostname()}.{os.getpid()}.{uuid4().hex[:8]}",
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(workers.run(), name="workers")
        try:
            yield
        finally:
            running.cancel()


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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

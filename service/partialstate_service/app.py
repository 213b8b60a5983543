"""The parts of the service, made as the settings want them; `life` starts and ends them."""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from uuid import uuid4

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.assembly import Federation, FederationConfig, open_federation
from partialstate_service.federation.signing import LocalSigner, RequestSigner
from partialstate_service.matrix.ed25519 import (
    SEED_BYTES,
    InvalidSigningKeyError,
    signing_key_from_seed,
    signing_key_text,
)
from partialstate_service.matrix.keys import parse_signing_key
from partialstate_service.metrics import Metrics
from partialstate_service.ownership.checking import Checking
from partialstate_service.ownership.recovered_log import RecoveredLog
from partialstate_service.resync.allocator import return_freed_memory
from partialstate_service.resync.recovery_policy import RecoveryPolicy
from partialstate_service.resync.room_resync import ResyncPolicy, ResyncServices
from partialstate_service.resync.verifier import Verifier
from partialstate_service.resync.verifier_pool import available_cores, verifier_pool
from partialstate_service.resync.worker import WorkerLimits, Workers
from partialstate_service.rpc.check import CheckServicer
from partialstate_service.rpc.credentials import TlsFiles
from partialstate_service.rpc.recovered_state import RecoveredStateServicer
from partialstate_service.rpc.remote_signer import SigningAccess, remote_signer
from partialstate_service.rpc.rooms import RoomsLimits, RoomsServicer
from partialstate_service.rpc.server import ServerConfig
from partialstate_service.rpc.services import Servicers
from partialstate_service.rpc.watch import WatchServicer
from partialstate_service.settings import Role, Settings
from partialstate_service.store.open import Store
from partialstate_service.store.settings import StoreSettings

_FRESHNESS_TIMEOUT_S = 5.0
"""How long a check waits for a state token that this replica has not seen yet."""


class CannotStartError(Exception):
    """The service cannot start; the text says what to change."""


def store_settings(settings: Settings) -> StoreSettings:
    """Return the store's part of the settings."""
    return StoreSettings(
        data_dir=settings.data_dir,
        url=None if settings.store_url is None else settings.store_url.get_secret_value(),
        allow_unpersisted=settings.store_allow_unpersisted,
        acknowledging_replicas=settings.store_acknowledging_replicas,
        acknowledge_on_disk=settings.store_acknowledge_on_disk,
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
        health_listen=settings.health_listen,
        health_only=settings.role is Role.RESYNC,
        max_message_bytes=settings.max_message_bytes,
        max_calls_per_client=settings.max_calls_per_client,
        max_calls_per_second_per_client=settings.max_calls_per_second_per_client,
        max_call_burst_per_client=settings.max_call_burst_per_client,
        max_connection_age_s=settings.max_connection_age_s,
        drain_grace_s=settings.drain_grace_s,
    )


def local_signer(path: Path, us: ServerName) -> LocalSigner:
    """Return a signer with the key in the file *path*. Raises `CannotStartError`."""
    try:
        return LocalSigner(us, parse_signing_key(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, InvalidSigningKeyError) as error:
        raise CannotStartError(f"signing_key_path: {path}: {error}") from error


def write_new_key(path: Path) -> None:
    """Write a new signing key that only its owner can read. Raises `OSError`, if there is a file already."""
    key = signing_key_from_seed(f"a_{secrets.token_hex(2)}", secrets.token_bytes(SEED_BYTES))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "x", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(signing_key_text(key))


@asynccontextmanager
async def _signer(settings: Settings) -> AsyncIterator[RequestSigner]:
    if settings.signing_key_path is not None:
        yield local_signer(settings.signing_key_path, settings.server_name)
        return
    assert settings.signing_target is not None
    access = SigningAccess(settings.signing_target, settings.signing_ca_file, settings.signing_token_file)
    async with remote_signer(access, settings.server_name) as signer:
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
        check=CheckServicer(checking, metrics.observe_checks),
        recovered_state=RecoveredStateServicer(
            store.registry, RecoveredLog(store.registry, store.bulk, store.mirror), _now_ms
        ),
        watch=WatchServicer(store.mirror),
    )


@asynccontextmanager
async def resyncing(settings: Settings, store: Store) -> AsyncIterator[None]:
    """Work on rooms within the block."""
    return_freed_memory()
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

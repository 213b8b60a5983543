"""The gRPC server: its services, health, reflection, limits and end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from partialstate.v1 import (
    check_service_pb2,
    check_service_pb2_grpc,
    recovered_state_service_pb2,
    recovered_state_service_pb2_grpc,
    rooms_service_pb2,
    rooms_service_pb2_grpc,
    watch_service_pb2,
    watch_service_pb2_grpc,
)

from partialstate_service.rpc.credentials import TlsFiles, server_credentials, tokens_in
from partialstate_service.rpc.guard import Guard

_SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (rooms_service_pb2, "RoomsService"),
        (check_service_pb2, "CheckService"),
        (recovered_state_service_pb2, "RecoveredStateService"),
        (watch_service_pb2, "WatchService"),
    )
)
_OVERALL = health.OVERALL_HEALTH


@dataclass(frozen=True, slots=True)
class Servicers:
    """What the server serves."""

    rooms: rooms_service_pb2_grpc.RoomsServiceServicer
    check: check_service_pb2_grpc.CheckServiceServicer
    recovered_state: recovered_state_service_pb2_grpc.RecoveredStateServiceServicer
    watch: watch_service_pb2_grpc.WatchServiceServicer


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How the server listens. Times are in seconds."""

    listen: str
    """HOST:PORT or unix:PATH; port 0 means any free port."""
    tls: TlsFiles | None = None
    token_file: Path | None = None
    max_message_bytes: int = 64 * 1024 * 1024
    max_concurrent_calls: int = 10_000
    unary_timeout_s: float = 30.0
    upload_timeout_s: float = 300.0
    drain_grace_s: float = 10.0


class CannotListenError(Exception):
    """The address cannot be listened on; the text names it."""


@asynccontextmanager
async def running_server(servicers: Servicers | None, config: ServerConfig) -> AsyncIterator[str]:
    """Serve until the end of the block; yields the address, with the port that was chosen. Without servicers, serve health only.

    At the end, health turns NOT_SERVING, streams of answers end with UNAVAILABLE, and other calls may go on for
    `drain_grace_s`. Raises `CannotListenError`, and `OSError` or `ValueError` for unreadable credentials.
    """
    guard = Guard(
        tokens_in(config.token_file) if config.token_file is not None else None,
        unary_timeout_s=config.unary_timeout_s,
        upload_timeout_s=config.upload_timeout_s,
    )
    server = grpc.aio.server(
        interceptors=[guard],
        options=[
            ("grpc.max_receive_message_length", config.max_message_bytes),
            ("grpc.max_send_message_length", config.max_message_bytes),
            # A second process on the same port would silently get half of the calls.
            ("grpc.so_reuseport", 0),
            # Frontends keep connections for days; dead ones are found within a minute.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ],
        maximum_concurrent_rpcs=config.max_concurrent_calls,
    )
    healths = health.aio.HealthServicer()  # type: ignore[attr-defined]  # missing in the stubs
    health_pb2_grpc.add_HealthServicer_to_server(healths, server)
    services = (_OVERALL,)
    if servicers is not None:
        _add(servicers, server)
        services = (_OVERALL, *_SERVICES)
        reflection.enable_server_reflection(
            (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
    address = _listen(server, config)
    await server.start()
    for service in services:
        await healths.set(service, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield address
    finally:
        await healths.enter_graceful_shutdown()
        guard.end_streams()
        await server.stop(config.drain_grace_s)


def _add(servicers: Servicers, server: grpc.aio.Server) -> None:
    rooms_service_pb2_grpc.add_RoomsServiceServicer_to_server(servicers.rooms, server)
    check_service_pb2_grpc.add_CheckServiceServicer_to_server(servicers.check, server)
    recovered_state_service_pb2_grpc.add_RecoveredStateServiceServicer_to_server(
        servicers.recovered_state, server
    )
    watch_service_pb2_grpc.add_WatchServiceServicer_to_server(servicers.watch, server)


def _listen(server: grpc.aio.Server, config: ServerConfig) -> str:
    try:
        if config.tls is not None:
            port = server.add_secure_port(config.listen, server_credentials(config.tls))
        else:
            port = server.add_insecure_port(config.listen)
    except RuntimeError as error:
        raise CannotListenError(f"cannot listen on {config.listen}: is it in use?") from error
    if config.listen.startswith("unix:"):
        return config.listen
    host = config.listen.rpartition(":")[0]
    return f"{host}:{port}"

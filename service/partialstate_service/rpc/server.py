"""The gRPC server: it listens, serves once there is a store, and drains."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from partialstate_service.rpc import health
from partialstate_service.rpc.admission import Admission, CallLimits
from partialstate_service.rpc.call_rates import CallRates
from partialstate_service.rpc.credentials import TlsFiles, clients_in, server_credentials
from partialstate_service.rpc.guard import CallObserver, Guard
from partialstate_service.rpc.health_watches import HealthWatches
from partialstate_service.rpc.known_clients import InvalidTokenFileError, KnownClients
from partialstate_service.rpc.services import SERVICES, LateServices, Servicers
from partialstate_service.store.meanwhile import meanwhile

_PROBES_AT_A_TIME = 100
_REFUSALS_AT_A_TIME = 1_000
"""How many calls more than allowed may be there for a moment, to be refused with a reason; and how many probes."""
_HEALTH_WATCHES = 1_000
_HEALTH_WATCHES_PER_HOST = 100
"""How many streams of health there may be besides: everybody may open them, and they last."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How the server listens. Times are in seconds."""

    listen: str
    """HOST:PORT or unix:PATH; port 0 means any free port."""
    health_listen: str | None = None
    """Where health alone is told, without TLS, to probes that speak none."""
    health_only: bool = False
    """Whether there is nothing to serve but health."""
    tls: TlsFiles | None = None
    token_file: Path | None = None
    max_message_bytes: int = 64 * 1024 * 1024
    max_concurrent_calls: int = 10_000
    max_calls_per_client: int = 2_000
    """How many of these one client may have."""
    max_calls_per_second_per_client: float = 0
    """How often one client may call, on average; 0: as often as it likes."""
    max_call_burst_per_client: int = 1
    """How many of these calls may come at once."""
    max_connection_age_s: float = 0
    """After how long a client is asked to connect anew, so that it finds new replicas; 0: never."""
    unary_timeout_s: float = 30.0
    upload_timeout_s: float = 300.0
    drain_grace_s: float = 10.0


class CannotListenError(Exception):
    """The address cannot be listened on; the text names it."""


class ApiServer:
    """The server. Its ports are taken from the beginning, its first answer comes after `start`."""

    def __init__(self, config: ServerConfig, observed: CallObserver) -> None:
        """Take the ports. Raises `CannotListenError` and `InvalidCredentialsError`."""
        self._config = config
        self._services = LateServices()
        self._guard = Guard(
            self._services,
            Admission(_known_clients(config), _limits(config)),
            observed,
            unary_timeout_s=config.unary_timeout_s,
            upload_timeout_s=config.upload_timeout_s,
        )
        self._health = health.Health(() if config.health_only else SERVICES)
        api = grpc.aio.server(
            options=_options(config),
            # The guard's own limit comes first and says what it is; this one also bounds what the guard lets pass.
            maximum_concurrent_rpcs=config.max_concurrent_calls + _REFUSALS_AT_A_TIME + _HEALTH_WATCHES,
        )
        watches = HealthWatches(_HEALTH_WATCHES, _HEALTH_WATCHES_PER_HOST)
        # Asked in this order at each call.
        if not config.health_only:
            api.add_generic_rpc_handlers((self._guard,))
        api.add_generic_rpc_handlers((self._health.handler(watches),))
        self.address = _listen(api, config.listen, config.tls)
        self._servers = [api]
        self.health_address: str | None = None
        if config.health_listen is not None:
            probes = grpc.aio.server(
                options=[("grpc.so_reuseport", 0)],
                maximum_concurrent_rpcs=_PROBES_AT_A_TIME + _HEALTH_WATCHES_PER_HOST,
            )
            # Kubelet and a load balancer, or all of them through one address.
            watches = HealthWatches(_HEALTH_WATCHES_PER_HOST, _HEALTH_WATCHES_PER_HOST)
            probes.add_generic_rpc_handlers((self._health.handler(watches),))
            self.health_address = _listen(probes, config.health_listen, None)
            self._servers.append(probes)

    async def start(self) -> None:
        """Answer from now on; calls of the API fail with STORE_UNAVAILABLE until `serve`."""
        for server in self._servers:
            await server.start()

    def serve(self, servicers: Servicers) -> None:
        """Serve with *servicers* from now on, and be ready."""
        self._services.add(servicers)
        self._guard.forget_handlers()
        self.set_ready(ready=True)

    def set_ready(self, *, ready: bool) -> None:
        """Say whether calls can succeed, to those who ask before they call."""
        self._health.set_ready(ready=ready)

    async def follow_clients(self) -> None:
        """See `Guard.follow_clients`."""
        await self._guard.follow_clients()

    async def drain(self) -> None:
        """Take no further calls, end the streams with UNAVAILABLE, and let other calls go on for `drain_grace_s`."""
        self._health.drain()
        self._guard.end_streams()
        # Probes are answered until the last call is.
        for server in self._servers:
            await server.stop(self._config.drain_grace_s)

    async def close(self) -> None:
        """Cut what is left."""
        for server in self._servers:
            await server.stop(None)


@asynccontextmanager
async def api_server(config: ServerConfig, observed: CallObserver) -> AsyncIterator[ApiServer]:
    """Yield a server that is not started yet, and whose end is sudden: `ApiServer.drain` is the gentle one.

    *observed* is told what becomes of calls.

    Raises `CannotListenError` and `InvalidCredentialsError`.
    """
    async with AsyncExitStack() as stack:
        server = ApiServer(config, observed)
        stack.push_async_callback(server.close)
        await stack.enter_async_context(meanwhile(server.follow_clients()))
        yield server


def check_credentials(config: ServerConfig) -> None:
    """Read the files that say who is served, and by whom. Raises `InvalidCredentialsError`."""
    _known_clients(config)
    if config.tls is not None:
        server_credentials(config.tls)


def _known_clients(config: ServerConfig) -> Callable[[], KnownClients] | None:
    """Return what tells the clients that are known now, None where there is no token file.

    Raises `InvalidCredentialsError`.
    """
    if config.token_file is None:
        return None
    clients = clients_in(config.token_file)
    if clients().by_certificate and (config.tls is None or config.tls.client_ca is None):
        raise InvalidTokenFileError(
            f"token_file: {config.token_file}: names certificates, but clients show theirs only where tls_client_ca_file is set"
        )
    return clients


def _limits(config: ServerConfig) -> CallLimits:
    rates = None
    if config.max_calls_per_second_per_client:
        rates = CallRates(config.max_calls_per_second_per_client, config.max_call_burst_per_client)
    return CallLimits(config.max_concurrent_calls, config.max_calls_per_client, rates)


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    options = [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", config.max_message_bytes),
        # A second process on the same port would silently get half of the calls.
        ("grpc.so_reuseport", 0),
        # Frontends keep connections for days; dead ones are found within a minute.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
    if config.max_connection_age_s:
        options += [
            # Varied by grpc by a tenth, so that not all clients come at once.
            ("grpc.max_connection_age_ms", int(1000 * config.max_connection_age_s)),
            # As long as any call but a stream of answers may take; streams are cut then, and taken up again.
            ("grpc.max_connection_age_grace_ms", int(1000 * config.upload_timeout_s)),
        ]
    return options


def _listen(server: grpc.aio.Server, listen: str, tls: TlsFiles | None) -> str:
    try:
        if tls is not None:
            port = server.add_secure_port(listen, server_credentials(tls))
        else:
            port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise CannotListenError(f"cannot listen on {listen}: is it in use?") from error
    if listen.startswith("unix:"):
        return listen
    host = listen.rpartition(":")[0]
    return f"{host}:{port}"

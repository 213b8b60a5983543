"""Connecting to the store: its servers are found, checked, and asked for as much durability as they can promise."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.store.exchange import (
    Argument,
    ConnectionLostError,
    NotConnectedError,
    ReplyError,
)
from partialstate_service.store.nodes import Node, Terms
from partialstate_service.store.server import Server
from partialstate_service.store.settings import StoreSettings
from partialstate_service.store.suitability import configured, info_of, lag_problem, problems, sync_problem
from partialstate_service.store.topologies import Route, route_to
from partialstate_service.store.urls import Topology, UnsuitableStoreError, parse_store_url

_log = logging.getLogger(__name__)
_RETRY_S = 0.2


@asynccontextmanager
async def connect(url: str, settings: StoreSettings) -> AsyncIterator[Server]:
    """Yield the servers once they answer.

    Raises StoreUnavailableError after `start_timeout_s`, and UnsuitableStoreError.
    """
    parsed = parse_store_url(url)
    terms = Terms(
        parsed.login,
        parsed.tls,
        settings.connect_timeout_s,
        settings.command_timeout_s,
        settings.max_connections,
    )
    route = route_to(parsed, terms)
    try:
        primaries = await _ready(route, settings.start_timeout_s)
        for node in primaries:
            await _examine(node, parsed.topology, route, settings)
        replicas = settings.acknowledging_replicas
        if replicas is None:
            replicas = 0 if parsed.topology is Topology.SINGLE else 1
        acknowledgement, needed = _acknowledgement(replicas, settings)
        yield Server(route, acknowledgement, needed, timeout_s=settings.command_timeout_s)
    finally:
        route.close()
        await asyncio.sleep(0)  # the event loop closes the sockets in its next pass


async def _ready(route: Route, timeout_s: float) -> list[Node]:
    give_up = time.monotonic() + timeout_s
    while True:
        try:
            primaries = list(await route.primaries())
            for node in primaries:
                await _ping(node)
        except NotConnectedError as error:
            route.doubt(None)
            if time.monotonic() > give_up:
                _log.error("the store is not reachable: %s", error)
                raise StoreUnavailableError(f"the store is not reachable within {timeout_s:g} s") from error
            await asyncio.sleep(_RETRY_S)
        else:
            return primaries


async def _ping(node: Node) -> None:
    try:
        [reply] = await node.ask(("PING",))
    except (ConnectionLostError, TimeoutError) as error:
        raise NotConnectedError(f"{node.address}: {error}") from error
    if isinstance(reply, ReplyError):
        raise NotConnectedError(f"{node.address}: {reply}")


async def _examine(node: Node, topology: Topology, route: Route, settings: StoreSettings) -> None:
    """Refuse an unsuitable primary."""
    try:
        info = await info_of(node)
        for problem in problems(info, topology, settings):
            raise UnsuitableStoreError(problem)
        if settings.acknowledge_on_disk:
            appendfsync = await configured(node, "appendfsync")
            if unsynced := sync_problem(appendfsync):
                raise UnsuitableStoreError(unsynced)
        if topology is not Topology.SINGLE:
            max_lag = await configured(node, "min-replicas-max-lag")
            if too_long := lag_problem(max_lag, await route.takeover_ms()):
                raise UnsuitableStoreError(too_long)
    except (NotConnectedError, ConnectionLostError, TimeoutError) as error:
        raise StoreUnavailableError("the store stopped answering while it was checked") from error


def _acknowledgement(replicas: int, settings: StoreSettings) -> tuple[tuple[Argument, ...], tuple[int, ...]]:
    """Return the command that waits until *replicas* have a change, and on whose disks, and what it must count."""
    timeout_ms = int(1000 * settings.command_timeout_s / 2)
    if settings.acknowledge_on_disk:
        return ("WAITAOF", 1, replicas, timeout_ms), (1, replicas)
    if replicas:
        return ("WAIT", replicas, timeout_ms), (replicas,)
    return (), ()

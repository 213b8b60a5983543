"""Connections to the server, and what it must be like before anything is entrusted to it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError

from partialstate_service.domain.errors import PartialStateError, StoreUnavailableError
from partialstate_service.store.settings import StoreSettings

_log = logging.getLogger(__name__)
_OLDEST = (7, 0)
_SCHEMES = ("redis://", "rediss://", "unix://")


class UnsuitableStoreError(PartialStateError):
    """The server is reachable, but not one to entrust data to; the text says what to change."""


@asynccontextmanager
async def connect(url: str, settings: StoreSettings) -> AsyncIterator[Redis]:
    """Yield a client once the server answers; its commands are never repeated by themselves.

    Raises StoreUnavailableError after `start_timeout_s`, and UnsuitableStoreError.
    """
    if not url.startswith(_SCHEMES):
        raise UnsuitableStoreError(
            f"the store's URL must begin with one of {', '.join(_SCHEMES)}, not {url.split('://', maxsplit=1)[0]!a}"
        )
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=settings.max_connections,
        timeout=settings.command_timeout_s,
        socket_timeout=settings.command_timeout_s,
        socket_connect_timeout=settings.connect_timeout_s,
        # A command whose answer was lost may have been executed: only our callers know whether to repeat it.
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        protocol=2,
        client_name="partialstate",
    )
    client = Redis.from_pool(pool)
    try:
        await _wait_until_ready(client, settings.start_timeout_s)
        await _check(client, settings)
        yield client
    finally:
        await client.aclose()


async def _wait_until_ready(client: Redis, timeout_s: float) -> None:
    give_up = time.monotonic() + timeout_s
    while True:
        try:
            await client.ping()
        except (BusyLoadingError, ConnectionError, RedisError) as error:
            if time.monotonic() > give_up:
                _log.error("the store is not reachable: %s", error)
                raise StoreUnavailableError(f"the store is not reachable within {timeout_s:g} s") from error
            await asyncio.sleep(0.2)
        else:
            return


async def _check(client: Redis, settings: StoreSettings) -> None:
    """Refuse a server that may lose or evict what it is given.

    INFO says all of it, also where CONFIG is forbidden, as with most managed servers.
    """
    info: dict[str, Any] = {}
    for section in ("server", "memory", "persistence", "replication"):
        info.update(await client.info(section))
    for problem in _problems(info, settings):
        raise UnsuitableStoreError(problem)


def _problems(info: dict[str, Any], settings: StoreSettings) -> list[str]:
    found = []
    version = tuple(int(part) for part in str(info.get("redis_version", "0.0")).split(".")[:2])
    if version < _OLDEST:
        found.append(
            f"the store is version {info.get('redis_version')}: use Redis 7.0 or newer, or Valkey 7.2 or newer"
        )
    if info.get("role") not in ("master", None):
        found.append("the store is a replica, which takes no writes: give the URL of its primary")
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        found.append(
            f"the store may evict keys (maxmemory-policy {policy}), so rooms would be forgotten: "
            "set maxmemory-policy noeviction"
        )
    if not int(info.get("aof_enabled", 0)) and not settings.allow_unpersisted:
        found.append(
            "the store keeps no append-only file, so what it holds is lost when it stops: set appendonly yes "
            "(best with appendfsync always), or allow an unpersisted store in the settings"
        )
    return found

"""Rows `registry.10k_rooms…`: what 10,000 partial rooms cost a replica in memory, and each check in CPU."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings
from support.store_rooms import join, register
from support.store_server import running_server, servers_here

from bench import check_load
from bench.checks import REPEATS, row
from bench.service_process import RunningService, running_service

ROOMS = 10_000
_AT_ONCE = 50


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    yield from asyncio.run(_ten_thousand_rooms())


async def _ten_thousand_rooms() -> list[dict[str, Any]]:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        services: list[RunningService] = []
        for name, rooms in (("full", ROOMS), ("empty", 0)):
            socket = stack.enter_context(running_server(servers_here()[0], directory / name / "s"))
            await _fill(f"unix://{socket}", directory, rooms)
            services.append(
                await stack.enter_async_context(
                    running_service(directory / name, resync_workers="0", store_url=f"unix://{socket}")
                )
            )
            await check_load.reconcile(services[-1].channel)
            await check_load.unary(services[-1].channel)
        full, empty = services
        memory = full.process.memory_mib() - empty.process.memory_mib()
        figures: tuple[list[float], list[float]] = ([], [])
        for _ in range(REPEATS):
            for service, found in zip(services, figures, strict=True):
                before = service.process.cpu_s()
                count = await check_load.unary(service.channel)
                found.append((service.process.cpu_s() - before) / count * 1e6)
        baseline = empty.process.memory_mib()
    return [
        row("registry.10k_rooms", memory, "MiB", 10, baseline=baseline, is_ratio=False),
        row(
            "registry.10k_rooms.check",
            median(figures[0]),
            "us CPU/check",
            1.05,
            baseline=median(figures[1]),
        ),
    ]


async def _fill(url: str, directory: Path, rooms: int) -> None:
    async with open_store(StoreSettings(data_dir=directory, url=url)) as store:
        for first in range(0, rooms, _AT_ONCE):
            await asyncio.gather(
                *(
                    register(store, join(f"!room-{i}:server-{i % 50}.example", f"$join-{i:040}"))
                    for i in range(first, first + _AT_ONCE)
                )
            )

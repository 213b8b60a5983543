"""Rows `check.…`: what fully consistent checks cost the server, against empty handlers of the same gRPC stack."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import grpc
from support.store_server import running_server, servers_here

from bench import check_load
from bench.processes import Measured, measured_process
from bench.service_process import running_service

REPEATS = 7
Load: TypeAlias = Callable[[grpc.aio.Channel], Awaitable[int]]
Served: TypeAlias = tuple[Measured, grpc.aio.Channel]


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    yield from asyncio.run(_against_empty_handlers())
    yield asyncio.run(_two_replicas())


async def _against_empty_handlers() -> list[dict[str, Any]]:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        service = await stack.enter_async_context(running_service(directory, resync_workers="0"))
        empty = await stack.enter_async_context(_empty_server(directory))
        await check_load.reconcile(service.channel)
        served = (service.process, service.channel)
        found = []
        for name, load, target in (("unary", check_load.unary, 1.25), ("stream", check_load.stream, 1.3)):
            value, baseline = await _cpu_us((served, empty), load)
            found.append(row(f"check.{name}", value, "us CPU/check", target, baseline=baseline))
        value, baseline = await _cpu_us((served, empty), check_load.batch)
        found.append(row("check.batch", value, "us CPU/item", 10, baseline=baseline, is_ratio=False))
        slow, fast = [await _latency_ms(each) for each in (served, empty)]
        found.append(row("check.latency", slow - fast, "ms added", 0.3, baseline=fast, is_ratio=False))
    return found


async def _two_replicas() -> dict[str, Any]:
    """Twice the CPU of a check on one replica, by that of a check with two sharing the load, log followers included."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        socket = stack.enter_context(running_server(servers_here()[0], directory / "shared"))
        replicas: list[Served] = []
        for name in ("one", "two"):
            (directory / name).mkdir()
            service = await stack.enter_async_context(
                running_service(directory / name, resync_workers="0", store_url=f"unix://{socket}")
            )
            await check_load.reconcile(service.channel)
            replicas.append((service.process, service.channel))
        alone: list[float] = []
        shared: list[float] = []
        for _ in range(REPEATS):
            for together, figures in ((replicas[:1], alone), (replicas, shared)):
                before = sum(process.cpu_s() for process, _ in replicas)
                counts = await asyncio.gather(*(check_load.unary(channel) for _, channel in together))
                used_s = sum(process.cpu_s() for process, _ in replicas) - before
                figures.append(used_s / sum(counts) * 1e6)
    value = 2 * median(alone) / median(shared)
    return {
        "name": "check.two_replicas",
        "value": round(value, 2),
        "unit": "times the checks of one",
        "baseline": round(median(alone), 1),
        "ratio": round(value, 3),
        "target": 1.8,
        "ok": value >= 1.8,
    }


def row(
    name: str, value: float, unit: str, target: float, *, baseline: float, is_ratio: bool = True
) -> dict[str, Any]:
    """Return a figure: the target is for its ratio to the baseline, or for itself."""
    ratio = value / baseline
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "baseline": round(baseline, 3),
        "ratio": round(ratio, 3),
        "target": target,
        "ok": (ratio if is_ratio else value) <= target,
    }


async def _cpu_us(both: Sequence[Served], load: Load) -> tuple[float, float]:
    """Return the CPU per request of each of two servers, interleaved."""
    figures: tuple[list[float], list[float]] = ([], [])
    for served in both:
        await load(served[1])
    for _ in range(REPEATS):
        for (process, channel), found in zip(both, figures, strict=True):
            before = process.cpu_s()
            count = await load(channel)
            found.append((process.cpu_s() - before) / count * 1e6)
    return median(figures[0]), median(figures[1])


async def _latency_ms(served: Served) -> float:
    return 1000 * median(await check_load.latencies_s(served[1]))


@asynccontextmanager
async def _empty_server(directory: Path) -> AsyncIterator[Served]:
    target = f"unix:{directory}/empty.sock"
    async with (
        measured_process(["-m", "bench.empty_server", target]) as process,
        grpc.aio.insecure_channel(target) as channel,
    ):
        await channel.channel_ready()
        yield process, channel

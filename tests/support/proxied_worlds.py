"""A world whose servers are reached through fault proxies only."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from partialstate_service.demo.world import WorldSize
from support.fault_proxy import FaultProxy, fault_proxy
from support.worlds import RunningWorld, running_world


@asynccontextmanager
async def proxied_world(size: WorldSize) -> AsyncIterator[tuple[RunningWorld, list[FaultProxy]]]:
    """Run a world; yields the proxies in the order of its servers."""
    async with running_world(size, dead=range(size.servers)) as running, AsyncExitStack() as stack:
        proxies = []
        for server in running.world.servers:
            hidden = stack.enter_context(socket.socket())
            hidden.bind((server.address, 0))
            context = running.authority.server_context(server.address)
            await stack.enter_async_context(
                running.residents.listening(replace(server, reserved=hidden), context)
            )
            host, port = hidden.getsockname()
            proxy = fault_proxy(
                lambda host=host, port=port: asyncio.open_connection(host, port), server.reserved.dup()
            )
            proxies.append(await stack.enter_async_context(proxy))
        yield running, proxies


async def trouble(proxies: list[FaultProxy], rng: random.Random, duration_s: float) -> None:
    """Make trouble at random for a while, then heal everything."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + duration_s
    while loop.time() < end_s:
        proxy = rng.choice(proxies)
        rng.choice([proxy.cut, proxy.cut, proxy.silence, proxy.heal])()
        proxy.latency_s = rng.choice([0.0, 0.0, 0.02])
        await asyncio.sleep(rng.uniform(0.02, 0.2))
    for proxy in proxies:
        proxy.latency_s = 0.0
        proxy.heal()

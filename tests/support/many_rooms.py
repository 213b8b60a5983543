"""Many rooms for one homeserver: worlds of their own, which share nothing but the certificate authority."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
from partialstate_service.demo.certificates import CertificateAuthority
from partialstate_service.demo.resident.listener import residents_listening
from partialstate_service.demo.simulated_server import reserve_server
from partialstate_service.demo.world import WorldSize, generated_world
from partialstate_service.demo.x_matrix import SignedClient
from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.ed25519 import KeyId
from support.worlds import NOW_MS, RunningWorld


@asynccontextmanager
async def running_rooms(sizes: Sequence[WorldSize], rng: random.Random) -> AsyncIterator[list[RunningWorld]]:
    """Run one world for each of *sizes*, all known to the same homeserver."""
    authority = CertificateAuthority()
    homeserver = reserve_server("127.20.0.1", rng)

    async def key_of(server: ServerName, key_id: KeyId) -> bytes | None:
        known = (homeserver.name, homeserver.key.key_id)
        return homeserver.key.public if (server, key_id) == known else None

    try:
        async with AsyncExitStack() as stack:
            connector = aiohttp.TCPConnector(ssl=authority.client_context())
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            client = SignedClient(homeserver.name, homeserver.key, session)
            rooms = []
            for number, size in enumerate(sizes):
                world = stack.enter_context(
                    generated_world(size, rng, now_ms=NOW_MS, prefix=f"127.{30 + number % 200}")
                )
                residents = await stack.enter_async_context(residents_listening(world, authority, key_of))
                rooms.append(RunningWorld(world, residents, authority, homeserver, client))
            yield rooms
    finally:
        homeserver.reserved.close()

"""Running worlds for tests: real resident servers on loopback, and a homeserver that joins their room by hand.

async with running_world(WorldSize(members=50, servers=5, messages=2)) as running:
    join = await running.join_partially()
    ...   # join.response, join.event and join.event_id are what RegisterPartialJoin wants
"""

import random
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
from partialstate_service.demo.certificates import CertificateAuthority
from partialstate_service.demo.resident.listener import SimulatedResidents, residents_listening
from partialstate_service.demo.simulated_server import SimulatedServer, reserve_server
from partialstate_service.demo.world import World, WorldSize, generated_world
from partialstate_service.demo.x_matrix import PeerResponse, SignedClient
from partialstate_service.domain.ids import EventId, ServerName, UserId
from partialstate_service.matrix.ed25519 import KeyId
from partialstate_service.matrix.hashes import event_id_of
from partialstate_service.matrix.room_versions import EventIdFormat, RoomVersion
from partialstate_service.matrix.signing import sign_event

# The resync judges keys by the clock: a world of the past has none that are valid.
NOW_MS = int(time.time() * 1000)


@dataclass(frozen=True, slots=True)
class PartialJoin:
    """A join as the homeserver that made it knows it."""

    joined_via: ServerName
    event: dict[str, Any]
    event_id: EventId
    response: bytes


@dataclass(frozen=True, slots=True)
class RunningWorld:
    """A world whose servers listen, and the homeserver under test, which is a name, a key and a client only."""

    world: World
    residents: SimulatedResidents
    authority: CertificateAuthority
    homeserver: SimulatedServer
    client: SignedClient

    @property
    def user(self) -> UserId:
        """The homeserver's user who joins."""
        return self.homeserver.user("alice")

    async def get(self, server: SimulatedServer, path: str) -> PeerResponse:
        """Ask *server* as the homeserver."""
        return await self.client.request("GET", server.name, f"/_matrix/federation/v1/{path}")

    async def join_partially(
        self, via: SimulatedServer | None = None, *, localpart: str = "alice"
    ) -> PartialJoin:
        """Do make_join and send_join with omit_members at *via* (the room's creator, unless given)."""
        room, resident = self.world.room, via or self.world.creator
        return await partial_join(
            self.client, self.homeserver, resident.name, room.room_id, room.version, localpart=localpart
        )


async def partial_join(
    client: SignedClient,
    homeserver: SimulatedServer,
    via: ServerName,
    room_id: str,
    version: RoomVersion,
    *,
    localpart: str = "alice",
) -> PartialJoin:
    """Let a user of *homeserver* do make_join and send_join with omit_members at *via*."""
    room, user = quote(room_id, safe=""), quote(homeserver.user(localpart), safe="")
    uri = f"/_matrix/federation/v1/make_join/{room}/{user}?ver={version}"
    template = (await client.request("GET", via, uri)).json["event"]
    if version.event_ids is EventIdFormat.GIVEN:
        template["event_id"] = f"$join:{homeserver.name}"
    event = sign_event(template, version, homeserver.name, homeserver.key)
    event_id = event_id_of(event, version)
    uri = f"/_matrix/federation/v2/send_join/{room}/{quote(event_id, safe='')}?omit_members=true"
    answer = await client.request("PUT", via, uri, event)
    assert answer.status == 200, answer.body
    return PartialJoin(via, event, event_id, answer.body)


@asynccontextmanager
async def running_world(
    size: WorldSize, *, version: str = "11", dead: Collection[int] = (), seed: int = 1
) -> AsyncIterator[RunningWorld]:
    """Run a world; the servers at the places *dead* refuse connections."""
    rng = random.Random(seed)
    authority = CertificateAuthority()
    homeserver = reserve_server("127.20.0.1", rng)
    try:
        with generated_world(size, rng, now_ms=NOW_MS, version=version) as world:

            async def key_of(server: ServerName, key_id: KeyId) -> bytes | None:
                known = (homeserver.name, homeserver.key.key_id)
                return homeserver.key.public if (server, key_id) == known else None

            names = names_of(world, dead)
            connector = aiohttp.TCPConnector(ssl=authority.client_context())
            async with (
                residents_listening(world, authority, key_of, dead=frozenset(names)) as residents,
                aiohttp.ClientSession(connector=connector) as session,
            ):
                client = SignedClient(homeserver.name, homeserver.key, session)
                yield RunningWorld(world, residents, authority, homeserver, client)
    finally:
        homeserver.reserved.close()


def names_of(world: World, places: Collection[int]) -> Sequence[ServerName]:
    """Return the names of the servers at *places* in the world."""
    return [world.servers[place].name for place in places]

"""The process of `joined_rooms`: few servers with many rooms each, and a homeserver's joins of them, made beforehand.

`python -m support.joined_rooms_process CONFIG` writes the certificate authority's certificate and a line of JSON for each
join, prints "ready" once all servers listen, and runs until its standard input ends.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from partialstate_service.demo.certificates import CertificateAuthority
from partialstate_service.demo.resident.answers import ResidentAnswers
from partialstate_service.demo.resident.behaviour import Behaviour, Slow
from partialstate_service.demo.resident.breaking import HangingUp
from partialstate_service.demo.resident.listener import SimulatedResidents
from partialstate_service.demo.simulated_server import SimulatedServer, loopback_addresses, reserve_server
from partialstate_service.demo.world import World, WorldSize, populated_world
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import ServerName, UserId
from partialstate_service.matrix.ed25519 import KeyId, SigningKey, signing_key_from_seed
from partialstate_service.matrix.signing import sign_event

BEHAVIOURS: Mapping[str, Callable[[], Behaviour]] = {
    "slow": lambda: Slow(0.5),
    "hanging": lambda: Slow(3600),
    "hanging_up": HangingUp,
}
FETCHES = (Endpoint.STATE, Endpoint.STATE_IDS, Endpoint.EVENT, Endpoint.EVENT_AUTH)
VERSION = "11"


class Group:
    """Rooms whose servers all behave alike; each room is on some of the group's servers."""

    def __init__(self, given: Mapping[str, Any], prefix: str, rng: random.Random, now_ms: int) -> None:
        self.name: str = given["name"]
        self._size = WorldSize(given["members"], given["servers_per_room"], messages=2)
        self._rng, self._now_ms = rng, now_ms
        self._behaviour = BEHAVIOURS.get(given["behaviour"])
        self.servers: list[SimulatedServer] = []
        self._addresses = islice(loopback_addresses(prefix), given["servers"])
        self._rooms, self._joins = given["rooms"], given["joins_per_room"]
        self._by_room: dict[str, SimulatedResidents] = {}
        self._by_event: dict[str, SimulatedResidents] = {}

    def reserve(self, stack: ExitStack) -> None:
        """Make the servers; *stack* gives their ports back."""
        for address in self._addresses:
            server = reserve_server(address, self._rng)
            stack.callback(server.reserved.close)
            self.servers.append(server)

    def joins(self, name: ServerName, key: SigningKey) -> Iterator[dict[str, Any]]:
        """Make the rooms, and let a new user of the homeserver join each in turn, as often as it is to be joined."""
        worlds = [self._new_room(number, name, key) for number in range(self._rooms)]
        for turn in range(self._joins):
            for world in worlds:
                yield self._join(world, UserId(f"@u{turn}:{name}"), key)

    @property
    def endpoints(self) -> Collection[Endpoint]:
        """What the servers serve."""
        return next(iter(self._by_room.values())).routes(self.servers[0]).keys()

    def route(self, server: SimulatedServer, endpoint: Endpoint) -> Callable[..., Awaitable[Any]]:
        """Return how *server* answers for whichever room is asked about."""

        async def route(request: web.Request) -> web.StreamResponse:
            room_id, event_id = request.match_info.get("roomId"), request.match_info.get("eventId")
            residents = (
                self._by_room.get(room_id)
                if room_id
                else self._by_event.get(event_id)
                if event_id
                else next(iter(self._by_room.values()))
            )
            if residents is None:
                return web.json_response({"errcode": "M_NOT_FOUND", "error": "?"}, status=404)
            return await residents.routes(server)[endpoint](request)

        return route

    def _new_room(self, number: int, homeserver: ServerName, key: SigningKey) -> World:
        count = self._size.servers
        servers = tuple(self.servers[(number + i) % len(self.servers)] for i in range(count))
        world = populated_world(servers, self._size, self._rng, now_ms=self._now_ms, version=VERSION)

        async def key_of(server: ServerName, key_id: KeyId) -> bytes | None:
            return key.public if (server, key_id) == (homeserver, key.key_id) else None

        residents = SimulatedResidents(world, key_of)
        if self._behaviour is not None:
            for server in servers:
                residents.behave(server.name, self._behaviour(), *FETCHES)
        self._by_room[world.room.room_id] = residents
        for event_id in world.room.events:
            self._by_event[event_id] = residents
        return world

    def _join(self, world: World, user: UserId, key: SigningKey) -> dict[str, Any]:
        answers = ResidentAnswers(world)
        template = orjson.loads(answers.make_join(user, [VERSION]))["event"]
        join = sign_event(template, world.room.version, ServerName(user.partition(":")[2]), key)
        response = answers.send_join(world.creator, join, omit_members=True)
        self._by_event[world.room.extremities[-1]] = self._by_room[world.room.room_id]
        return {
            "group": self.name,
            "room_id": world.room.room_id,
            "via": world.creator.name,
            "join": orjson.dumps(join).decode(),
            "response": response.decode(),
            "state": list(world.room.current_state().values()),
        }


@asynccontextmanager
async def listening(group: Group, authority: CertificateAuthority) -> AsyncIterator[None]:
    """Let the servers of *group* live."""
    async with AsyncExitStack() as stack:
        for server in group.servers:
            application = web.Application(client_max_size=8 * 1024 * 1024)
            for endpoint in group.endpoints:
                application.router.add_route(endpoint.method, endpoint.path, group.route(server, endpoint))
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            context = authority.server_context(server.address)
            await web.SockSite(runner, server.reserved.dup(), ssl_context=context).start()
        yield


async def run(config: Mapping[str, Any]) -> None:
    rng = random.Random(config["seed"])
    authority = CertificateAuthority()
    authority.write_pem(Path(config["ca_file"]))
    key = signing_key_from_seed("sim", bytes.fromhex(config["homeserver_seed"]))
    with ExitStack() as ports:
        groups = []
        now_ms = time.time_ns() // 1_000_000
        for number, given in enumerate(config["groups"]):
            groups.append(Group(given, f"127.{30 + number}", rng, now_ms))
            groups[-1].reserve(ports)
        name = ServerName(config["homeserver"])
        lines = [json.dumps(join) + "\n" for group in groups for join in group.joins(name, key)]
        await asyncio.to_thread(Path(config["joins_file"]).write_text, "".join(lines))
        async with AsyncExitStack() as stack:
            for group in groups:
                await stack.enter_async_context(listening(group, authority))
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(run(json.loads(Path(sys.argv[1]).read_bytes())))

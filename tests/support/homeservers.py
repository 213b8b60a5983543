"""A whole homeserver for tests: the service as a real process, the reference frontend, and a world around them.

async with homeserver(WorldSize(members=60, servers=6, messages=2)) as ours:
async with ours.service(), ours.frontend() as frontend:
joined = await ours.join(frontend)
ours.release_state()
await frontend.full(ours.room_id)
"""

import asyncio
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from partialstate_service.demo.certificates import CertificateAuthority
from partialstate_service.demo.frontend.frontend import ReferenceFrontend, running_frontend
from partialstate_service.demo.frontend.joining import Joined
from partialstate_service.demo.resident.behaviour import Held
from partialstate_service.demo.resident.listener import SimulatedResidents, residents_listening
from partialstate_service.demo.service_process import ServiceProcess, service_process
from partialstate_service.demo.simulated_server import SimulatedServer, reserve_server
from partialstate_service.demo.world import World, WorldSize, generated_world
from partialstate_service.demo.x_matrix import PeerResponse, SignedClient
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.matrix.ed25519 import KeyId


@dataclass(frozen=True, slots=True)
class RunningHomeserver:
    """A homeserver without its processes: these are started, killed and started again by the test."""

    ours: SimulatedServer
    world: World
    residents: SimulatedResidents
    member: SignedClient
    """A server in the room, to ask us as."""
    directory: Path
    authority: CertificateAuthority
    state_released: asyncio.Event

    @property
    def room_id(self) -> RoomId:
        """The world's room."""
        return self.world.room.room_id

    @property
    def target(self) -> str:
        """Where the service listens, in every run."""
        return f"unix:{self.directory / 'service.sock'}"

    def service(self) -> AbstractAsyncContextManager[ServiceProcess]:
        """Run the service; a later run goes on with the store of the one before."""
        networks = {"FEDERATION_ALLOWED_NETWORKS": "127.0.0.0/8"}
        ca = {"FEDERATION_CA_FILE": str(self.directory / "ca.pem")}
        return service_process(self.ours.name, self.ours.key, self.directory, {**networks, **ca})

    def frontend(self) -> AbstractAsyncContextManager[ReferenceFrontend]:
        """Run the frontend."""
        return running_frontend(self.ours, self.authority, self.directory / "ca.pem", self.target)

    async def join(self, frontend: ReferenceFrontend, localpart: str = "alice") -> Joined:
        """Join the room through the server that created it."""
        return await frontend.join(self.room_id, localpart, self.world.creator.name)

    def release_state(self) -> None:
        """Let the servers of the room answer for its state; until then they keep such requests waiting."""
        self.state_released.set()

    async def send_to_us(self, text: str) -> EventId:
        """Let the member say something, and send it to us; it is taken. Return the event's id."""
        raw = self.world.message(self.world.by_name[self.member.name], text)
        event_id = self.world.room.extremities[-1]
        uri = f"/_matrix/federation/v1/send/{event_id[1:].replace('/', '_')}"
        answer = await self.member.request("PUT", self.ours.name, uri, {"pdus": [raw], "edus": []})
        assert answer.status == 200, answer.body
        assert answer.json == {"pdus": {event_id: {}}}
        return event_id

    async def ask(self, path: str) -> PeerResponse:
        """Ask us as the member."""
        return await self.member.request("GET", self.ours.name, f"/_matrix/federation/v1/{path}")


@asynccontextmanager
async def homeserver(size: WorldSize, *, version: str = "11") -> AsyncIterator[RunningHomeserver]:
    """Make a world in which nobody answers for the room's state yet, and a homeserver beside it."""
    rng = random.Random(3)
    authority = CertificateAuthority()
    ours = reserve_server("127.20.0.1", rng)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="homeserver-") as path,
            generated_world(size, rng, now_ms=time.time_ns() // 1_000_000, version=version) as world,
        ):
            directory = Path(path)
            authority.write_pem(directory / "ca.pem")

            async def our_key(server: ServerName, key_id: KeyId) -> bytes | None:
                return ours.key.public if (server, key_id) == (ours.name, ours.key.key_id) else None

            connector = aiohttp.TCPConnector(ssl=authority.client_context())
            async with (
                residents_listening(world, authority, our_key) as residents,
                aiohttp.ClientSession(connector=connector) as session,
            ):
                released = asyncio.Event()
                for server in world.servers:
                    residents.behave(server.name, Held(released))
                asker = world.servers[1]
                member = SignedClient(asker.name, asker.key, session)
                yield RunningHomeserver(ours, world, residents, member, directory, authority, released)
    finally:
        ours.reserved.close()


async def eventually(what: Callable[[], Awaitable[bool]], *, within_s: float = 40) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(within_s):
        while not await what():  # noqa: ASYNC110 - what is asked is another process, which tells nobody
            await asyncio.sleep(0.05)


def store_process(service: ServiceProcess) -> int:
    """Return the id of the store server's process, a descendant of the service."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = status.read_text().partition(" ")
        except OSError:
            continue  # it has just ended
        name, _, fields = rest.rpartition(") ")
        names[int(number)], parents[int(number)] = name.lstrip("("), int(fields.split()[1])
    for pid, name in names.items():
        ancestor = pid
        while ancestor in parents and ancestor != service.process.pid:
            ancestor = parents[ancestor]
        if ancestor == service.process.pid and ("valkey" in name or "redis" in name):
            return pid
    raise AssertionError("the service has no store process")


def kill(service: ServiceProcess) -> None:
    """End the service's process without a warning."""
    service.process.send_signal(signal.SIGKILL)

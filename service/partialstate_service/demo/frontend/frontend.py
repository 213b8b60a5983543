"""The frontend put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from time import time_ns

import aiohttp
from partialstate import Deadlines, PartialStateClient

from partialstate_service.demo.certificates import CertificateAuthority
from partialstate_service.demo.frontend.homeserver import Homeserver
from partialstate_service.demo.frontend.importing import import_recovered_state
from partialstate_service.demo.frontend.joining import Joined, join_room
from partialstate_service.demo.frontend.listener import listening
from partialstate_service.demo.frontend.reconciling import reconcile
from partialstate_service.demo.frontend.sending import Sent, send_event
from partialstate_service.demo.frontend.staging import work_off_staged_events
from partialstate_service.demo.simulated_server import SimulatedServer
from partialstate_service.demo.x_matrix import SignedClient
from partialstate_service.domain.ids import RoomId, ServerName, UserId
from partialstate_service.federation.assembly import FederationConfig, open_federation
from partialstate_service.federation.signing import LocalSigner

# Other servers wait for the answer to a /send while an event of it is recorded.
DEADLINES = Deadlines(write_s=3.0)
LOOPBACK = (IPv4Network("127.0.0.0/8"),)


@dataclass(frozen=True, slots=True)
class ReferenceFrontend:
    """A running frontend: join rooms, say something in them, import what the service recovers."""

    homeserver: Homeserver
    tasks: asyncio.TaskGroup
    imports: dict[RoomId, asyncio.Task[int]] = field(default_factory=dict)

    async def join(self, room_id: RoomId, localpart: str, via: ServerName) -> Joined:
        """Join a room; if that makes it partial, its recovered state is imported as it comes."""
        joined = await join_room(self.homeserver, room_id, self._user(localpart), via)
        if joined.generation:
            room = self.homeserver.room(room_id)
            self.imports[room_id] = self.tasks.create_task(import_recovered_state(self.homeserver, room))
        return joined

    async def say(self, room_id: RoomId, localpart: str, text: str) -> Sent:
        """Let a user of this homeserver say something."""
        content = {"msgtype": "m.text", "body": text}
        return await send_event(self.homeserver, room_id, self._user(localpart), "m.room.message", content)

    async def full(self, room_id: RoomId) -> int:
        """Wait until a room is full; return how many events were imported for it."""
        return await self.imports[room_id] if room_id in self.imports else 0

    def _user(self, localpart: str) -> UserId:
        return UserId(f"@{localpart}:{self.homeserver.name}")


@asynccontextmanager
async def running_frontend(
    server: SimulatedServer, authority: CertificateAuthority, ca_file: Path, service_target: str
) -> AsyncIterator[ReferenceFrontend]:
    """Run a frontend as the homeserver *server*, which trusts *authority* (whose certificate *ca_file* holds).

    What it imports ends with the block.
    """
    config = FederationConfig(ca_file=ca_file, allowed_networks=LOOPBACK)
    connector = aiohttp.TCPConnector(ssl=authority.client_context())
    async with (
        PartialStateClient(service_target, deadlines=DEADLINES) as service,
        aiohttp.ClientSession(connector=connector) as session,
        open_federation(LocalSigner(server.name, server.key), config) as federation,
    ):
        homeserver = Homeserver(
            name=server.name,
            key=server.key,
            service=service,
            peers=SignedClient(server.name, server.key, session),
            keys=federation.keys,
            now_ms=lambda: time_ns() // 1_000_000,
        )
        async with (
            listening(homeserver, server.reserved, authority.server_context(server.address)),
            asyncio.TaskGroup() as tasks,
        ):
            # A fresh store decides nothing before it has been told which rooms are held as partial, be it none.
            await reconcile(homeserver)
            staged = tasks.create_task(work_off_staged_events(homeserver))
            frontend = ReferenceFrontend(homeserver, tasks)
            yield frontend
            for task in (staged, *frontend.imports.values()):
                task.cancel()

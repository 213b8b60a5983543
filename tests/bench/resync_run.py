"""One resync, measured from outside: a room of simulated resident servers, and the service as processes of their own."""

import asyncio
import json
import random
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import orjson
from partialstate import PartialJoin, PartialStateClient, RoomChanged, RoomStatus
from partialstate_service.demo.frontend.held_room import HeldRoom
from partialstate_service.demo.frontend.importing import import_recovered_state
from partialstate_service.demo.simulated_server import SimulatedServer, reserve_server
from partialstate_service.demo.x_matrix import SignedClient
from partialstate_service.domain.ids import RoomId, ServerName
from partialstate_service.matrix.ed25519 import SigningKey
from partialstate_service.matrix.parsing import parse_event_bytes
from partialstate_service.matrix.room_versions import room_version
from partialstate_service.matrix.shared_state import SharedState
from support.loopback_ports import free_port
from support.worlds import partial_join
from unpaddedbase64 import encode_base64

from bench.processes import measured_process
from bench.service_process import RunningService, running_service, write_key

SERVERS = 40
VERSION = "11"
LONGEST_S = 900
_LAG_METRIC = "partialstate_event_loop_lag_seconds_bucket"


@dataclass(frozen=True, slots=True)
class Residents:
    """Running resident servers, with one room."""

    directory: Path
    """`ca.pem` in it is the certificate of their authority."""
    room_id: str
    servers: Sequence[ServerName]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one resync took."""

    wall_s: float
    cpu_s: float
    """Of the service with its verifier processes and its embedded store."""
    peak_mib: float
    """The most resident memory that the service's own process had."""
    added_mib: float
    """By how much that is more than before the registration."""
    store_bytes: int
    """What the store's memory grew by, with the whole recovered state in it."""
    lag_p99_s: float
    """99 of 100 looks at the event loop were less late than this, an edge of the metric's buckets."""
    import_s: float = 0.0
    """How much longer it took until the reference frontend had imported it all and the room was full, if asked for."""


async def run_resync(members: int, *, imports: bool = False) -> Figures:
    """Resync a new room of *members* with a new service; if it *imports*, until the room is full."""
    with tempfile.TemporaryDirectory() as name:
        homeserver = reserve_server("127.20.0.1", random.Random(1))
        try:
            async with running_residents(Path(name), members, {homeserver.name: homeserver.key}) as residents:
                return await measured_resync(residents, homeserver, imports=imports)
        finally:
            homeserver.reserved.close()


@asynccontextmanager
async def running_residents(
    directory: Path, members: int, askers: Mapping[ServerName, SigningKey]
) -> AsyncIterator[Residents]:
    """Run the servers of a room in a process of their own; *askers* are the homeservers that may ask them."""
    keys = {name: {key.key_id: encode_base64(key.public)} for name, key in askers.items()}
    given = {"ca_file": str(directory / "ca.pem"), "keys": keys, "members": members}
    config = directory / "residents.json"
    config.write_text(json.dumps({**given, "servers": SERVERS, "version": VERSION}))
    command = ["-m", "partialstate_service.demo.resident", "--config", str(config)]
    async with measured_process(command) as process:
        world = json.loads(await process.output.readline())
        yield Residents(directory, world["room_id"], [ServerName(name) for name in world["servers"]])


async def measured_resync(
    residents: Residents, homeserver: SimulatedServer, *, imports: bool = False
) -> Figures:
    """Join as *homeserver*, and let a new service resync the room; if it *imports*, until the room is full."""
    key_file = residents.directory / "signing.key"
    write_key(key_file, homeserver.key)
    metrics = f"127.0.0.1:{free_port('127.0.0.1')}"
    settings = {
        "server_name": homeserver.name,
        "federation_ca_file": str(residents.directory / "ca.pem"),
        "federation_allowed_networks": "127.0.0.0/8",
        "metrics_listen": metrics,
    }
    async with (
        running_service(residents.directory, **settings) as service,
        PartialStateClient(service.target) as client,
        trusting_session(residents) as session,
    ):
        async for page in client.list_partial_rooms():
            await client.reconcile_rooms(page.state_token, [])
        signed = SignedClient(homeserver.name, homeserver.key, session)
        via = residents.servers[0]
        join = await partial_join(signed, homeserver, via, residents.room_id, room_version(VERSION))
        event = PartialJoin(residents.room_id, VERSION, orjson.dumps(join.event), via)
        figures = await _registered_until_recovered(service, client, event, join.response, metrics)
        if not imports:
            return figures
        begun_s = time.monotonic()
        await _imported(client, homeserver, event)
        return replace(figures, import_s=time.monotonic() - begun_s)


async def _imported(client: PartialStateClient, us: SimulatedServer, join: PartialJoin) -> None:
    """Import the recovered room into a frontend that holds nothing of it but the join."""
    version, room_id = room_version(VERSION), RoomId(join.room_id)
    event = parse_event_bytes(join.join_event, version)
    generation = (await client.get_partial_room(join.room_id)).room.generation
    room = HeldRoom(
        room_id,
        version,
        seed=SharedState(),
        join_event_id=event.event_id,
        joined_via=ServerName(join.joined_via),
        servers_at_join=frozenset(),
        generation=generation,
    )
    room.persist(event, SharedState(), accepted=True, partial=True)
    await client.confirm_join(join.room_id, generation)
    frontend: Any = SimpleNamespace(name=us.name, service=client, rooms={room_id: room})
    await import_recovered_state(frontend, room)


@asynccontextmanager
async def trusting_session(residents: Residents) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session that trusts the residents' certificates."""
    tls = ssl.create_default_context(cafile=residents.directory / "ca.pem")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        yield session


async def _registered_until_recovered(
    service: RunningService, client: PartialStateClient, join: PartialJoin, response: bytes, metrics: str
) -> Figures:
    process = service.process
    lags = await _lags(metrics)
    store_bytes = await _store_bytes(service)
    cpu_s, memory_mib = process.cpu_s(with_children=True), process.memory_mib()
    begun_s = time.monotonic()
    registration = await client.register_partial_join(join, response)
    async with (
        asyncio.timeout(LONGEST_S),
        aclosing(client.watch(registration.state_token, room_id=join.room_id)) as changes,
    ):
        async for change in changes:
            if isinstance(change, RoomChanged) and change.room.status is RoomStatus.AWAITING_IMPORT:
                break
    return Figures(
        wall_s=time.monotonic() - begun_s,
        cpu_s=process.cpu_s(with_children=True) - cpu_s,
        peak_mib=process.peak_memory_mib(),
        added_mib=process.peak_memory_mib() - memory_mib,
        store_bytes=await _store_bytes(service) - store_bytes,
        lag_p99_s=_percentile({edge: count - lags[edge] for edge, count in (await _lags(metrics)).items()}),
    )


async def _lags(metrics: str) -> dict[float, float]:
    """Return how many looks at the event loop were at most so late, by the edges of the buckets."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{metrics}/metrics") as response:
        lines = (await response.text()).splitlines()
    found = (line.partition('le="')[2].partition('"} ') for line in lines if line.startswith(_LAG_METRIC))
    return {float(edge): float(count) for edge, _, count in found}


def _percentile(cumulative: Mapping[float, float]) -> float:
    enough = 0.99 * cumulative[float("inf")]
    return min(edge for edge, count in cumulative.items() if count >= enough)


async def _store_bytes(service: RunningService) -> int:
    """Return the memory that the embedded store's data takes, as it says itself."""
    socket = Path(service.target.removeprefix("unix:")).parent / "store" / "store.sock"
    reader, writer = await asyncio.open_unix_connection(socket)
    writer.write(b"INFO memory\r\n")
    text = await reader.readuntil(b"used_memory_human")
    writer.close()
    await writer.wait_closed()
    return int(text.partition(b"used_memory:")[2].split()[0])

"""Rows `resync.10k.…`: a 10,000-member room, from its registration to AWAITING_IMPORT, in processes of their own.

Wall time; CPU time of the service with its verifier processes and its embedded store; and the most resident memory that
the service's own process had. The simulated resident servers are a process of their own, on the same machine.
"""

import asyncio
import json
import random
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import orjson
from partialstate import PartialJoin, PartialStateClient, RoomChanged, RoomStatus
from partialstate_service.demo.simulated_server import SimulatedServer, reserve_server
from partialstate_service.demo.x_matrix import SignedClient
from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.room_versions import room_version
from support.worlds import partial_join
from unpaddedbase64 import encode_base64

from bench.processes import measured_process
from bench.service_process import running_service, write_key

MEMBERS = 10_000
SERVERS = 40
VERSION = "11"
REPEATS = 3
LONGEST_S = 300


@dataclass(frozen=True, slots=True)
class Figures:
    """What one resync took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    runs = [asyncio.run(_resync()) for _ in range(REPEATS)]
    for name, unit, values in (
        ("wall", "s", [run.wall_s for run in runs]),
        ("cpu", "s", [run.cpu_s for run in runs]),
        ("peak_memory", "MiB", [run.peak_mib for run in runs]),
    ):
        yield {
            "name": f"resync.10k.{name}",
            "value": round(median(values), 2),
            "unit": unit,
            "baseline": None,
            "ratio": None,
            "target": None,
            "ok": True,
        }


async def _resync() -> Figures:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        homeserver = reserve_server("127.20.0.1", random.Random(1))
        try:
            async with _residents(directory, homeserver) as (room_id, via):
                return await _measured(directory, homeserver, room_id, via)
        finally:
            homeserver.reserved.close()


async def _measured(directory: Path, homeserver: SimulatedServer, room_id: str, via: ServerName) -> Figures:
    key_file = directory / "signing.key"
    write_key(key_file, homeserver.key)
    settings = {
        "server_name": homeserver.name,
        "federation_ca_file": str(directory / "ca.pem"),
        "federation_allowed_networks": "127.0.0.0/8",
    }
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=directory / "ca.pem"))
    async with (
        running_service(directory, **settings) as service,
        PartialStateClient(service.target) as client,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        async for page in client.list_partial_rooms():
            await client.reconcile_rooms(page.state_token, [])
        signed = SignedClient(homeserver.name, homeserver.key, session)
        join = await partial_join(signed, homeserver, via, room_id, room_version(VERSION))
        before_s = service.process.cpu_s(with_children=True)
        begun_s = time.monotonic()
        registration = await client.register_partial_join(
            PartialJoin(room_id, VERSION, orjson.dumps(join.event), via), join.response
        )
        async with (
            asyncio.timeout(LONGEST_S),
            aclosing(client.watch(registration.state_token, room_id=room_id)) as changes,
        ):
            async for change in changes:
                if isinstance(change, RoomChanged) and change.room.status is RoomStatus.AWAITING_IMPORT:
                    break
        wall_s = time.monotonic() - begun_s
        return Figures(
            wall_s,
            service.process.cpu_s(with_children=True) - before_s,
            service.process.peak_memory_mib(),
        )


@asynccontextmanager
async def _residents(directory: Path, homeserver: SimulatedServer) -> AsyncIterator[tuple[str, ServerName]]:
    """Run the simulated resident servers; yields the room and the server to join through."""
    config = directory / "residents.json"
    config.write_text(
        json.dumps(
            {
                "ca_file": str(directory / "ca.pem"),
                "keys": {homeserver.name: {homeserver.key.key_id: encode_base64(homeserver.key.public)}},
                "members": MEMBERS,
                "servers": SERVERS,
                "version": VERSION,
            }
        )
    )
    command = ["-m", "partialstate_service.demo.resident", "--config", str(config)]
    async with measured_process(command) as process:
        world = json.loads(await process.output.readline())
        yield world["room_id"], ServerName(world["servers"][0])

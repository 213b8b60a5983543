"""Row `resync.route`: CPU of one event by `/event`, spread over servers, against one within a streamed `/state`.

The ratio says from which missing share of a state on the one large answer costs us less: one in `ratio`. (What it costs the
server that answers speaks for `/event`: it computes the whole state for `/state`.) Verification costs the same on both
routes and is left out. The simulated servers are a process of their own.
"""

import asyncio
import ipaddress
import json
import random
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
from partialstate_service.demo.simulated_server import SimulatedServer, reserve_server
from partialstate_service.demo.x_matrix import SignedClient
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.federation.assembly import FederationConfig, open_federation
from partialstate_service.federation.protocol import ResidentServers
from partialstate_service.federation.signing import LocalSigner
from partialstate_service.matrix.room_versions import room_version
from partialstate_service.resync.cooldown import CooldownPolicy
from partialstate_service.resync.event_requests import EventRequests
from partialstate_service.resync.sources import Sources
from support.worlds import partial_join
from unpaddedbase64 import encode_base64

from bench.processes import measured_process

MEMBERS = 3000
SERVERS = 5
EVENTS = 1000
REPEATS = 3
VERSION = "11"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def rows() -> Iterator[dict[str, Any]]:
    """Yield the row."""
    by_event_us, by_state_us = asyncio.run(_measured())
    yield {
        "name": "resync.route",
        "value": round(by_event_us),
        "unit": "µs CPU per event by /event",
        "baseline": round(by_state_us, 1),
        "ratio": round(by_event_us / by_state_us, 1),
        "target": None,
        "ok": True,
    }


async def _measured() -> tuple[float, float]:
    homeserver = reserve_server("127.20.0.1", random.Random(1))
    try:
        with tempfile.TemporaryDirectory() as name:
            config = _config(Path(name), homeserver)
            command = ["-m", "partialstate_service.demo.resident", "--config", str(config)]
            async with measured_process(command) as process:
                world = json.loads(await process.output.readline())
                return await _compared(Path(name) / "ca.pem", homeserver, world)
    finally:
        homeserver.reserved.close()


def _config(directory: Path, homeserver: SimulatedServer) -> Path:
    config = directory / "residents.json"
    key = {homeserver.key.key_id: encode_base64(homeserver.key.public)}
    config.write_text(
        json.dumps(
            {
                "ca_file": str(directory / "ca.pem"),
                "keys": {homeserver.name: key},
                "members": MEMBERS,
                "servers": SERVERS,
                "version": VERSION,
            }
        )
    )
    return config


async def _compared(ca_file: Path, homeserver: SimulatedServer, world: dict[str, Any]) -> tuple[float, float]:
    servers = [ServerName(server) for server in world["servers"]]
    room_id = RoomId(world["room_id"])
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca_file))
    async with aiohttp.ClientSession(connector=connector) as session:
        signed = SignedClient(homeserver.name, homeserver.key, session)
        join = await partial_join(signed, homeserver, servers[0], room_id, room_version(VERSION))
    config = FederationConfig(ca_file=ca_file, allowed_networks=LOOPBACK)
    async with open_federation(LocalSigner(homeserver.name, homeserver.key), config) as federation:
        client = federation.client
        ids = await client.state_ids(servers[0], room_id, join.event_id)
        wanted = list(ids.pdu_ids)[:EVENTS]
        by_event, by_state = [], []
        for _ in range(REPEATS):
            by_event.append(await _by_event_us(client, homeserver.name, servers, wanted))
            by_state.append(await _by_state_us(client, servers[0], room_id, join.event_id))
        return median(by_event), median(by_state)


async def _by_event_us(
    client: ResidentServers, own_name: ServerName, servers: list[ServerName], wanted: list[EventId]
) -> float:
    sources = Sources(
        own_name=own_name,
        joined_via=None,
        servers=servers,
        records=(),
        registered_at_ms=0,
        policy=CooldownPolicy(),
        now_ms=lambda: 0,
        jitter=random.random,
    )
    begun = time.process_time()
    bodies = await EventRequests(client, sources, wanted, servers).bodies(wanted)
    assert len(bodies) == len(wanted)
    return (time.process_time() - begun) * 1e6 / len(wanted)


async def _by_state_us(
    client: ResidentServers, server: ServerName, room_id: RoomId, event_id: EventId
) -> float:
    begun = time.process_time()
    count = 0
    async for elements in client.state(server, room_id, event_id):
        count += len(elements)
    return (time.process_time() - begun) * 1e6 / count

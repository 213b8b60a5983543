"""Rows `resync.vs_synapse.…`: our resync against a real Synapse's, of the same room on the same resident servers.

Ours is from the registration to AWAITING_IMPORT; Synapse's is from `Syncing state for room` to `State resync complete`
in its log. Each repeat has a room of its own, in which the Synapse comes first and goes on running.
"""

import asyncio
import hashlib
import os
import random
import re
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from partialstate_service.demo.certificates import CertificateAuthority
from partialstate_service.demo.simulated_server import reserve_server
from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.ed25519 import signing_key_from_seed
from support.loopback_ports import free_port
from support.synapses import Synapse, running_synapse

from bench.resync_run import Residents, measured_resync, running_residents

ROWS = {"10k": (10_000, 3), "50k": (50_000, 1)}
"""By the row: members and repeats."""
TARGET = 10.0
LONGEST_S = 200
_PYTHON = Path(os.environ.get("SYNAPSE_PYTHON", Path(__file__).parents[2] / ".venv-synapse/bin/python"))
_ADDRESS = "127.30.0.1"
_TIMES = re.compile(r"^(\S+ \S+) .*?(Syncing state for room|State resync complete)", re.MULTILINE)


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per size of room."""
    for name, (members, repeats) in ROWS.items():
        runs = [asyncio.run(_both(members)) for _ in range(repeats)]
        ours_s, theirs_s = (median(values) for values in zip(*runs, strict=True))
        yield {
            "name": f"resync.vs_synapse.{name}",
            "value": round(ours_s, 2),
            "unit": "s",
            "baseline": round(theirs_s, 2),
            "ratio": round(theirs_s / ours_s, 1),
            "target": TARGET,
            "ok": theirs_s / ours_s >= TARGET,
        }


async def _both(members: int) -> tuple[float, float]:
    """Return the seconds that we took and that Synapse took."""
    homeserver = reserve_server("127.20.0.1", random.Random(1))
    port = free_port(_ADDRESS)
    synapse = ServerName(f"{_ADDRESS}:{port}")
    keys = {
        homeserver.name: homeserver.key,
        synapse: signing_key_from_seed("synapse", hashlib.sha256(synapse.encode()).digest()),
    }
    authority = CertificateAuthority()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        authority.write_pem(directory / "synapse.pem")
        try:
            async with (
                running_residents(directory, members, keys) as residents,
                running_synapse(
                    _PYTHON,
                    directory / "synapse",
                    authority,
                    directory / "ca.pem",
                    _ADDRESS,
                    federation_port=port,
                ) as synapse,
            ):
                # It cannot be second: it would want our key, and gives up where it gets none.
                theirs_s = await _synapse_s(synapse, residents)
                # Now it is in the room, and we shall want its key.
                with (directory / "ca.pem").open("ab") as trusted:
                    trusted.write((directory / "synapse.pem").read_bytes())
                return (await measured_resync(residents, homeserver)).wall_s, theirs_s
        finally:
            homeserver.reserved.close()


async def _synapse_s(synapse: Synapse, residents: Residents) -> float:
    user = await synapse.register("bench")
    await user.join(residents.room_id, residents.servers[0])
    until_s = time.monotonic() + LONGEST_S
    while time.monotonic() < until_s:
        times = {what: datetime.fromisoformat(at) for at, what in _TIMES.findall(synapse.log.read_text())}
        if "State resync complete" in times:
            return (times["State resync complete"] - times["Syncing state for room"]).total_seconds()
        await asyncio.sleep(0.5)  # a log has no other way to tell
    raise TimeoutError(f"no resync in {LONGEST_S} s")

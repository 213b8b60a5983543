"""Rows `resync.vs_synapse.…`: our resync against a real Synapse's of the same room, each with the machine to itself.

Ours is from the registration to AWAITING_IMPORT; Synapse's is from `Syncing state for room` to `State resync complete`
in its log. The room is made anew for each from the same seed. Each row also says how long Synapse took until it had
fetched the state and verified it (`baseline_unpersisted`: the rest is authorising, persisting and updating what it
keeps), and how long we took with the import by the reference frontend (`with_import`).
"""

import asyncio
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from partialstate_service.demo.certificates import CertificateAuthority
from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.ed25519 import signing_key_from_seed
from support.loopback_ports import free_port
from support.synapses import Synapse, running_synapse

from bench.resync_run import Figures, Residents, run_resync, running_residents

ROWS = {"10k": (10_000, 3), "50k": (50_000, 1)}
"""By the row: members and repeats."""
TARGET = 10.0
LONGEST_S = 200
_PYTHON = Path(os.environ.get("SYNAPSE_PYTHON", Path(__file__).parents[2] / ".venv-synapse/bin/python"))
_ADDRESS = "127.30.0.1"
_TIMES = re.compile(
    r"^(\S+ \S+) .*?(Syncing state for room|/state returned|State resync complete)", re.MULTILINE
)


class SynapseTimes(NamedTuple):
    """How long Synapse took."""

    whole_s: float
    unpersisted_s: float
    """Until it had the state and had verified it."""


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per size of room."""
    for name, (members, repeats) in ROWS.items():
        runs = [asyncio.run(_both(members)) for _ in range(repeats)]
        ours_s = median(ours.wall_s for ours, _ in runs)
        theirs_s = median(theirs.whole_s for _, theirs in runs)
        yield {
            "name": f"resync.vs_synapse.{name}",
            "value": round(ours_s, 2),
            "unit": "s",
            "baseline": round(theirs_s, 2),
            "ratio": round(theirs_s / ours_s, 1),
            "target": TARGET,
            "ok": theirs_s / ours_s >= TARGET,
            "baseline_unpersisted": round(median(theirs.unpersisted_s for _, theirs in runs), 2),
            "with_import": round(ours_s + median(ours.import_s for ours, _ in runs), 2),
        }


async def _both(members: int) -> tuple[Figures, SynapseTimes]:
    """Return what we took and what Synapse took, one after the other."""
    theirs = await _synapse(members)
    return await run_resync(members, imports=True), theirs


async def _synapse(members: int) -> SynapseTimes:
    port = free_port(_ADDRESS)
    name = ServerName(f"{_ADDRESS}:{port}")
    keys = {name: signing_key_from_seed("synapse", hashlib.sha256(name.encode()).digest())}
    authority = CertificateAuthority()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
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
            return await _synapse_times(synapse, residents)


async def _synapse_times(synapse: Synapse, residents: Residents) -> SynapseTimes:
    user = await synapse.register("bench")
    await user.join(residents.room_id, residents.servers[0])
    until_s = time.monotonic() + LONGEST_S
    while time.monotonic() < until_s:
        times = {what: datetime.fromisoformat(at) for at, what in _TIMES.findall(synapse.log.read_text())}
        if "State resync complete" in times:
            begun = times["Syncing state for room"]
            return SynapseTimes(
                (times["State resync complete"] - begun).total_seconds(),
                (times["/state returned"] - begun).total_seconds(),
            )
        await asyncio.sleep(0.5)  # a log has no other way to tell
    raise TimeoutError(f"no resync in {LONGEST_S} s")

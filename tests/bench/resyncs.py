"""Rows `resync.10k.…`: a 10,000-member room, from its registration to AWAITING_IMPORT."""

import asyncio
from collections.abc import Iterator
from statistics import median
from typing import Any

from bench.resync_run import run_resync

MEMBERS = 10_000
REPEATS = 3


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    runs = [asyncio.run(run_resync(MEMBERS)) for _ in range(REPEATS)]
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

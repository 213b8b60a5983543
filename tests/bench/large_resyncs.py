"""What a large room takes: memory that hardly grows with it, an event loop that goes on, and bytes in the store.

Rows `resync.peak_memory.50k`, `resync.peak_memory.200k`, `store.bytes_per_member` (of a recovered room that is not
imported yet, 50,000 members) and `resync.loop_lag` (200,000 members: the 99th percentile).
"""

import asyncio
from collections.abc import Iterator
from typing import Any

from bench.resync_run import run_resync

MOST_ADDED_MIB = 150
MOST_BYTES_PER_MEMBER = 450
MOST_LAG_S = 0.05


def rows() -> Iterator[dict[str, Any]]:
    """Yield the rows."""
    fifty = asyncio.run(run_resync(50_000))
    yield _row("resync.peak_memory.50k", round(fifty.added_mib, 1), "MiB added", MOST_ADDED_MIB)
    yield _row(
        "store.bytes_per_member", round(fifty.store_bytes / 50_000), "bytes of memory", MOST_BYTES_PER_MEMBER
    )
    most = asyncio.run(run_resync(200_000))
    yield _row("resync.peak_memory.200k", round(most.added_mib, 1), "MiB added", MOST_ADDED_MIB)
    yield _row("resync.loop_lag", most.lag_p99_s, "s, p99 at most", MOST_LAG_S)


def _row(name: str, value: float, unit: str, target: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "baseline": None,
        "ratio": None,
        "target": target,
        "ok": value <= target,
    }

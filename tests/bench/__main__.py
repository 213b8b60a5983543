"""Print one JSON object per figure: name, value, unit, baseline, ratio, target, ok. Never fails a build.

Each module of `MODULES` has `rows() -> Iterator[dict]`. Figures are medians of interleaved repeats against a baseline
of the same run, for machines differ and are noisy.
"""

import importlib
import json
import sys
import traceback

MODULES = {
    "bench.matrix_events": ("matrix.parse_hash", "matrix.verify", "matrix.two_processes"),
    "bench.matrix_auth": ("matrix.event_auth",),
    "bench.matrix_resolve": ("matrix.resolve_50k",),
    "bench.checks": ("check.unary", "check.stream", "check.batch", "check.latency", "check.two_replicas"),
    "bench.registry": ("registry.10k_rooms",),
    "bench.routes": ("resync.route",),
    "bench.resyncs": ("resync.10k",),
    "bench.resync_lower_bound": ("resync.lower_bound",),
    "bench.large_resyncs": (
        "resync.peak_memory.50k",
        "resync.peak_memory.200k",
        "resync.loop_lag",
        "store.bytes_per_member",
    ),
    "bench.resync_vs_synapse": ("resync.vs_synapse.10k", "resync.vs_synapse.50k"),
}


def main(only: str) -> None:
    """Print the rows whose names begin with *only*."""
    for module, names in MODULES.items():
        if not any(name.startswith(only) for name in names):
            continue
        try:
            for row in importlib.import_module(module).rows():
                if row["name"].startswith(only):
                    print(json.dumps(row), flush=True)
        except Exception:  # noqa: BLE001 - one figure that cannot be had must not hide the others
            traceback.print_exc()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")

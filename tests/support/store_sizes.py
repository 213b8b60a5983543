"""How much a store holds, read without any code of the service between."""

from dataclasses import dataclass

from redis import Redis


@dataclass(frozen=True, slots=True)
class StoreSizes:
    """What there is in a store at one time. What is kept on purpose for a time is told apart."""

    keys: int
    """Without those of the next two kinds."""
    ended_lives: int
    """Marks, which expire after a day."""
    uncommitted: int
    """Chunks that a worker wrote for a room that ended meanwhile; dropped after six hours."""
    log_entries: int
    """About 100,000 are kept."""
    log_mib: float
    tombstones: int
    """Fields; kept for thirty days, three for each join that ended."""
    tombstones_mib: float
    other_mib: float
    """All memory but that of the log and the tombstones."""


def store_sizes(url: str, prefix: str = "mps") -> StoreSizes:
    """Measure the store at *url*."""
    with Redis.from_url(url) as client:
        ended_lives = sum(1 for _ in client.scan_iter(f"{prefix}:*:ended", count=1000))

        def key(name: str) -> str:
            return f"{prefix}:{{registry}}:{name}"

        def mib(*names: str) -> float:
            return sum(client.memory_usage(key(name), samples=0) or 0 for name in names) / 2**20

        announced = [item.split(b" ") for item in client.zrange(key("uncommitted"), 0, -1)]
        uncommitted = sum(client.exists(item[1]) for item in announced if item[0] == b"C")
        log_mib, tombstones_mib = mib("log"), mib("tombstones", "ended")
        used_mib = client.info("memory")["used_memory"] / 2**20
        return StoreSizes(
            keys=client.dbsize() - ended_lives - uncommitted,
            ended_lives=ended_lives,
            uncommitted=uncommitted,
            log_entries=client.xlen(key("log")),
            log_mib=log_mib,
            tombstones=client.hlen(key("tombstones")),
            tombstones_mib=tombstones_mib,
            other_mib=used_mib - log_mib - tombstones_mib,
        )

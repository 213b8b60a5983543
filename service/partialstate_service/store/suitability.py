"""What a server must be like before anything is entrusted to it.

INFO says nearly all of it, also where CONFIG is forbidden, as with most managed servers.
"""

import logging
from collections.abc import Mapping

from partialstate_service.store.exchange import ReplyError
from partialstate_service.store.nodes import Node
from partialstate_service.store.settings import StoreSettings
from partialstate_service.store.urls import Topology

_log = logging.getLogger(__name__)
_OLDEST = (7, 0)
_WITH_WAITAOF = (7, 2)
# A replica's last acknowledgement is known by the second, and looked at once a second.
_LAG_MARGIN_S = 2

Info = Mapping[str, str]


async def info_of(node: Node) -> Info:
    """Return what the server says of itself. Raises what `Node.ask` does."""
    sections = ("server", "memory", "persistence", "replication")
    replies = await node.ask(*(("INFO", section) for section in sections))
    lines = b"\r\n".join(reply for reply in replies if isinstance(reply, bytes)).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


async def configured(node: Node, name: str) -> str | None:
    """Return a value of the server's configuration, or None where that is not told."""
    [reply] = await node.ask(("CONFIG", "GET", name))
    return reply[1].decode() if not isinstance(reply, ReplyError) and reply else None


def version_of(info: Info) -> tuple[int, ...]:
    """Return the version of the Redis that the server is, or is like."""
    return tuple(int(part) for part in info.get("redis_version", "0.0").split(".")[:2])


def problems(info: Info, topology: Topology, settings: StoreSettings) -> list[str]:
    """Return what is wrong with a primary, each with what to change."""
    found = []
    if version_of(info) < _OLDEST:
        found.append(
            f"the store is version {info.get('redis_version')}: use Redis 7.0 or newer, or Valkey 7.2 or newer"
        )
    if settings.acknowledge_on_disk and version_of(info) < _WITH_WAITAOF:
        found.append(
            "the store knows no WAITAOF: use Redis or Valkey 7.2 or newer, or do not acknowledge on disk"
        )
    if info.get("role", "master") != "master":
        found.append("the store is a replica, which takes no writes: give the URL of its primary")
    if topology is not Topology.CLUSTER and info.get("redis_mode") == "cluster":
        found.append("the store is part of a cluster: begin its URL with redis+cluster://")
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        found.append(
            f"the store may evict keys (maxmemory-policy {policy}), so rooms would be forgotten: "
            "set maxmemory-policy noeviction"
        )
    if not int(info.get("aof_enabled", "0")) and not settings.allow_unpersisted:
        found.append(
            "the store keeps no append-only file, so what it holds is lost when it stops: set appendonly yes "
            "(best with appendfsync always), or allow an unpersisted store in the settings"
        )
    if topology is not Topology.SINGLE and "min_slaves_good_slaves" not in info:
        found.append(
            "a primary that was replaced could go on deciding: set min-replicas-to-write 1 (or more), and "
            "min-replicas-max-lag 2 s or more below the time after which another primary is chosen"
        )
    return found


def lag_problem(max_lag: str | None, takeover_ms: int | None) -> str | None:
    """Return what is wrong with how long a cut off primary goes on; unknown values are logged and accepted."""
    if max_lag is None or takeover_ms is None:
        _log.warning(
            "it cannot be told whether min-replicas-max-lag is below the store's fail-over time: see to it"
        )
        return None
    longest_s = int(max_lag) + _LAG_MARGIN_S
    if longest_s * 1000 <= takeover_ms:
        return None
    return (
        f"a primary that is cut off takes changes for up to {longest_s} s (min-replicas-max-lag {max_lag}, and "
        f"{_LAG_MARGIN_S} s since it counts whole seconds), but another one is chosen after {takeover_ms} ms: "
        "set min-replicas-max-lag lower, or the time of the fail-over higher"
    )


def sync_problem(appendfsync: str | None) -> str | None:
    """Return what is wrong with how the append-only file is synced where changes are acknowledged on disk."""
    if appendfsync != "no":
        return None
    return "the store leaves it to its operating system when changes are on disk: set appendfsync everysec or always"

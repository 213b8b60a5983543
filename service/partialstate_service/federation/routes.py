"""How a server is reached: where to connect, which name its certificate must carry, what Host says. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from partialstate_service.domain.ids import ServerName
from partialstate_service.federation.addresses import parse_ip_literal

MAX_TARGETS = 8


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A host (a DNS name, or an address without brackets) and a port to connect to."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a server. `tls_name` and `host_header` are the names after well-known and before SRV."""

    tls_name: str
    host_header: str
    targets: tuple[Target, ...]

    @property
    def url_base(self) -> str:
        """The scheme and authority of URLs; `tls_name` has to be in it, since TLS takes the name from there."""
        host = f"[{self.tls_name}]" if ":" in self.tls_name else self.tls_name
        # One target's port stands for all of them: it names the pool, the targets say where to connect.
        return f"https://{host}:{self.targets[0].port}"


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """One SRV record (RFC 2782), its target without the final dot; a target of "" says "no such service"."""

    priority: int
    weight: int
    target: str
    port: int


def split_server_name(server: str) -> tuple[str, int | None]:
    """Return the host of a valid server name, without brackets, and its port if it names one."""
    host, port = server, ""
    if not server.endswith("]") and ":" in server:
        host, _, port = server.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port) if port else None


def direct_route(server: str, default_port: int) -> Route:
    """Return the route straight to the host and port that *server* names."""
    host, port = split_server_name(server)
    return Route(host, server, (Target(host, port or default_port),))


def is_final(server: ServerName) -> bool:
    """Return whether *server* says where to connect by itself: an address, or a name with a port."""
    host, port = split_server_name(server)
    return port is not None or parse_ip_literal(host) is not None


def srv_targets(records: Sequence[SrvRecord], random: Random) -> tuple[Target, ...]:
    """Return at most `MAX_TARGETS` targets in the order to try: by priority, then by weighted chance (RFC 2782)."""
    ordered: list[Target] = []
    for priority in sorted({record.priority for record in records}):
        group = [record for record in records if record.priority == priority and record.target]
        while group and len(ordered) < MAX_TARGETS:
            # A weight of zero keeps a small chance, as the RFC asks.
            (chosen,) = random.choices(group, [record.weight + 0.01 for record in group])
            group.remove(chosen)
            ordered.append(Target(chosen.target, chosen.port))
    return tuple(ordered)

"""The store's URL: which server or servers, of which topology, and how to be let in.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]                      one server
    unix://[USER:PASSWORD@]/PATH[?db=DB]                          the same on a unix socket
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],…/SERVICE[/DB]   the primary that Sentinels name
    redis+cluster://[USER:PASSWORD@]HOST[:PORT],…                 a cluster; some of its nodes suffice

`rediss` in place of `redis` means TLS. User, password and names are percent-encoded. Parameters: `db`, `username`,
`password`, `sentinel_username`, `sentinel_password`; with TLS `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (paths),
`ssl_check_hostname` (`true` or `false`).

Not by redis-py's `parse_url`: it knows one server only, passes unknown parameters on, takes a wrong database for none, and
its errors show what stands where it expects a port, which may be a part of a password.
"""

import re
import ssl
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qsl, unquote

from partialstate_service.domain.errors import PartialStateError

_PORT = 6379
_SENTINEL_PORT = 26379
_URL = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<user>[^@/?]*)@)?(?P<hosts>[^/?]*)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s@:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535
_DB = re.compile(r"[0-9]{1,9}")
_LOGIN_PARAMETERS = ("db", "username", "password", "sentinel_username", "sentinel_password")
_TLS_PARAMETERS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_BOOLEANS = {"true": True, "false": False}
_PARAMETERS = frozenset((*_LOGIN_PARAMETERS, *_TLS_PARAMETERS))


class UnsuitableStoreError(PartialStateError):
    """The store is not one to entrust data to, or its URL is none; the text says what to change."""


class Topology(Enum):
    """How the store's servers hang together."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. Port 0: *host* is the path of a unix socket."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


@dataclass(frozen=True, slots=True)
class Login:
    """What a new connection says first."""

    username: str = ""
    password: str = field(default="", repr=False)
    db: int = 0


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A parsed URL."""

    topology: Topology
    addresses: tuple[Address, ...]
    login: Login
    sentinel_login: Login
    service: str
    """What the Sentinels call the primary; empty without them."""
    tls: ssl.SSLContext | None


_SCHEMES = {
    "redis": (Topology.SINGLE, False),
    "rediss": (Topology.SINGLE, True),
    "unix": (Topology.SINGLE, False),
    "redis+sentinel": (Topology.SENTINEL, False),
    "rediss+sentinel": (Topology.SENTINEL, True),
    "redis+cluster": (Topology.CLUSTER, False),
    "rediss+cluster": (Topology.CLUSTER, True),
}


def parse_store_url(text: str) -> StoreUrl:
    """Return the parts of a URL; raises UnsuitableStoreError, whose text shows nothing of the URL but its scheme."""
    match = _URL.fullmatch(text)
    if match is None or match["scheme"] not in _SCHEMES:
        schemes = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise UnsuitableStoreError(f"the store's URL must begin with one of {schemes}")
    scheme = match["scheme"]
    topology, has_tls = _SCHEMES[scheme]
    parameters = _parameters(match, has_tls=has_tls)
    path = unquote(match["path"] or "")
    words = [] if scheme == "unix" else [word for word in path.split("/") if word]
    service = words.pop(0) if topology is Topology.SENTINEL and words else ""
    if topology is Topology.SENTINEL and not service:
        raise UnsuitableStoreError("the store's URL must name the service of the Sentinels: …/SERVICE")
    username, _, password = (match["user"] or "").partition(":")
    db = parameters.get("db", words[0] if words else "0")
    if _DB.fullmatch(db) is None or len(words) > 1 or (topology is Topology.CLUSTER and int(db)):
        raise UnsuitableStoreError(
            "the store's URL names no database that there is (a cluster has only number 0)"
        )
    return StoreUrl(
        topology,
        (_socket(match["hosts"], path),) if scheme == "unix" else _addresses(match["hosts"], topology),
        Login(
            parameters.get("username", unquote(username)),
            parameters.get("password", unquote(password)),
            int(db),
        ),
        Login(parameters.get("sentinel_username", ""), parameters.get("sentinel_password", "")),
        service,
        _tls(parameters) if has_tls else None,
    )


def _parameters(match: re.Match[str], *, has_tls: bool) -> dict[str, str]:
    """Return the parameters of a URL, refusing first what shows that its parts are not where they seem to be."""
    query = match["query"] or ""
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(parameters.keys() - _PARAMETERS)
    # An `@`, `/` or `?` in a password ends it too early: then the rest stands where hosts, a path or parameters belong.
    in_path = match["scheme"] != "unix" and "@" in (match["path"] or "")
    if "@" in match["hosts"] or in_path or (unknown and "@" in query):
        raise UnsuitableStoreError(
            "the store's URL has an @ too many or too late: percent-encode the user and the password (%40 for @, %2F for /, %3F for ?)"
        )
    if unknown:
        raise UnsuitableStoreError(f"the store's URL has unknown parameters: {', '.join(unknown)}")
    if not has_tls and (given := sorted(parameters.keys() & set(_TLS_PARAMETERS))):
        raise UnsuitableStoreError(
            f"{', '.join(given)} in the store's URL mean TLS, which its scheme does not: begin it with rediss"
        )
    return parameters


def _socket(hosts: str, path: str) -> Address:
    if hosts or not path.strip("/"):
        raise UnsuitableStoreError("the store's URL must name a socket by its absolute path: unix:///PATH")
    return Address(path, 0)


def _addresses(hosts: str, topology: Topology) -> tuple[Address, ...]:
    found = []
    for host in hosts.split(","):
        match = _HOST.fullmatch(host)
        default = _SENTINEL_PORT if topology is Topology.SENTINEL else _PORT
        port = int(match["port"] or default) if match is not None else 0
        if match is None or not 1 <= port <= _MAX_PORT:
            raise UnsuitableStoreError(
                f"the store's URL must name HOST or HOST:PORT, with a port from 1 to {_MAX_PORT}"
            )
        found.append(Address(match["v6"] or match["name"], port))
    if topology is Topology.SINGLE and len(found) > 1:
        raise UnsuitableStoreError(
            "several servers need redis+sentinel:// or redis+cluster:// in the store's URL"
        )
    return tuple(found)


def _tls(parameters: dict[str, str]) -> ssl.SSLContext:
    files = [parameters.get(name) for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")]
    authorities, certificate, key = files
    if "" in files or (key is not None and certificate is None):
        raise UnsuitableStoreError(
            "ssl_ca_certs, ssl_certfile and ssl_keyfile in the store's URL are paths, the last one only with ssl_certfile"
        )
    check_hostname = _BOOLEANS.get(parameters.get("ssl_check_hostname", "true").lower())
    if check_hostname is None:
        raise UnsuitableStoreError("ssl_check_hostname in the store's URL must be true or false")
    try:
        context = ssl.create_default_context(cafile=authorities)
        context.check_hostname = check_hostname
        if certificate is not None:
            # Without a password: nobody is there to be asked for one.
            context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise UnsuitableStoreError(
            f"the certificates that the store's URL names cannot be read: {error}"
        ) from error
    return context

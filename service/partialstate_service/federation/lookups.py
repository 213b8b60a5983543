"""DNS by dnspython: asynchronous, cancellable, bounded in time, cached by TTL; the only home of dnspython.

Names are absolute: no search list is applied. `/etc/hosts` is honoured, since operators use it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.SRV import SRV

from partialstate_service.federation.addresses import IpAddress
from partialstate_service.federation.routes import SrvRecord

MAX_RECORDS = 16
_CACHED_ANSWERS = 20_000


class LookupFailedError(OSError):
    """No answer about a name could be had; whether it exists is unknown."""


class Lookups(Protocol):
    """What discovery and the transport ask of DNS. An empty answer means: there is no such record."""

    async def addresses(self, host: str) -> Sequence[IpAddress]:
        """Return at most `MAX_RECORDS` addresses of *host*; `LookupFailedError` where DNS gives no answer."""
        ...

    async def srv(self, name: str) -> Sequence[SrvRecord]:
        """Return at most `MAX_RECORDS` SRV records of *name*; `LookupFailedError` where DNS gives no answer."""
        ...


class DnsLookups:
    """`Lookups` over the system's name servers, or the given ones (address and port)."""

    def __init__(
        self,
        *,
        name_servers: Sequence[tuple[str, int]] = (),
        hosts: Mapping[str, Sequence[IpAddress]] | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        """*hosts* overrides DNS by lower-case name; None reads `/etc/hosts` once."""
        self._resolver = dns.asyncresolver.Resolver(configure=not name_servers)
        if name_servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(*each) for each in name_servers]
        self._resolver.lifetime = timeout_s
        self._resolver.cache = dns.resolver.LRUCache(_CACHED_ANSWERS)
        self._hosts = read_hosts(Path("/etc/hosts")) if hosts is None else hosts

    async def addresses(self, host: str) -> Sequence[IpAddress]:
        """See `Lookups`. IPv6 and IPv4 are asked at once; one answer is enough."""
        if (known := self._hosts.get(host.lower().rstrip("."))) is not None:
            return known[:MAX_RECORDS]
        answers = await asyncio.gather(
            self._query(host, dns.rdatatype.AAAA), self._query(host, dns.rdatatype.A), return_exceptions=True
        )
        found = [
            ip_address(record.address)
            for answer in answers
            if not isinstance(answer, BaseException)
            for record in answer
            if isinstance(record, A | AAAA)
        ]
        for answer in answers:
            if isinstance(answer, BaseException) and (not found or not isinstance(answer, LookupFailedError)):
                raise answer
        return found[:MAX_RECORDS]

    async def srv(self, name: str) -> Sequence[SrvRecord]:
        """See `Lookups`."""
        return [
            SrvRecord(record.priority, record.weight, record.target.to_text(omit_final_dot=True), record.port)
            for record in (await self._query(name, dns.rdatatype.SRV))[:MAX_RECORDS]
            if isinstance(record, SRV)
        ]

    async def _query(self, name: str, kind: dns.rdatatype.RdataType) -> list[object]:
        try:
            absolute = dns.name.from_text(name)
            answer = await self._resolver.resolve(absolute, kind, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return []
        except (dns.exception.DNSException, OSError, ValueError) as error:
            # Too long a label, a server failure, no answer in time: nothing is known about the name.
            raise LookupFailedError(f"no answer from DNS: {type(error).__name__}") from error
        return list(answer.rrset or ())


def read_hosts(path: Path) -> dict[str, list[IpAddress]]:
    """Return the addresses by lower-case name of a hosts file; a missing file is empty, odd lines are skipped."""
    hosts: dict[str, list[IpAddress]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return hosts
    for line in lines:
        address_text, *names = line.partition("#")[0].split() or [""]
        try:
            address = ip_address(address_text)
        except ValueError:
            continue
        for name in names:
            hosts.setdefault(name.lower(), []).append(address)
    return hosts

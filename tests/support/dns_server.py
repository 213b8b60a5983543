"""A DNS server on loopback with the records a test gives it; it answers over UDP as a real one does."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset


class DnsServer(asyncio.DatagramProtocol):
    """Answers from `records`, lines like `example.org. 300 IN A 127.0.0.2`; `broken` names get SERVFAIL."""

    def __init__(self, records: Iterable[str]) -> None:
        self.asked: list[tuple[str, str]] = []
        self.broken: set[str] = set()
        self.silent: set[str] = set()
        self.address = ("", 0)
        self._records: list[dns.rrset.RRset] = []
        for record in records:
            self.add(record)

    def add(self, record: str) -> None:
        """Add one record."""
        name, ttl, kind_class, kind, rdata = record.split(maxsplit=4)
        added = dns.rrset.from_text(name, int(ttl), kind_class, kind, rdata)
        same = [known for known in self._records if (known.name, known.rdtype) == (added.name, added.rdtype)]
        if same:
            same[0].add(added[0])
        else:
            self._records.append(added)

    def replace(self, record: str) -> None:
        """Add one record in place of all that its name has."""
        name = dns.name.from_text(record.split(maxsplit=1)[0])
        self._records = [known for known in self._records if known.name != name]
        self.add(record)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket and its address."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer one query."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append((name, question.rdtype.name))
        if name in self.silent:
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if name in self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            of_name = [record for record in self._records if record.name == question.name]
            response.answer += [record for record in of_name if record.rdtype == question.rdtype]
            if not of_name:
                response.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(response.to_wire(), address)


@asynccontextmanager
async def dns_server(*records: str) -> AsyncIterator[DnsServer]:
    """Yield a running server; its `address` is what a resolver is pointed at."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: DnsServer(records), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()

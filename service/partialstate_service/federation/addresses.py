"""Which addresses may be connected to. Pure.

Remote servers choose their own names, DNS records and redirects, so every address is vetted at every connection:
only global unicast addresses are permitted, and private ones only where a setting names their network.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

# All of IPv6's global unicast space; what lies outside is loopback, local, multicast, mapped or unassigned.
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
# An address of a translator (RFC 6052) or a tunnel leads to the IPv4 address inside it.
_NAT64 = IPv6Network("64:ff9b::/96")


class RefusedAddressError(OSError):
    """The policy does not permit a connection to an address; an `OSError`, so that the next address is tried."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Permits global unicast addresses, and those in `allowed_networks` whatever they are."""

    allowed_networks: tuple[IpNetwork, ...] = ()

    def permits(self, address: IpAddress) -> bool:
        """Return whether *address* and every address embedded in it may be connected to."""
        return all(self._permits_one(each) for each in _unwrapped(address))

    def check(self, text: str) -> None:
        """Raise `RefusedAddressError` unless the address *text* is permitted."""
        if not self.permits(ip_address(text)):
            raise RefusedAddressError(
                f"address {text} is refused: it is not public and in no allowed network"
            )

    def _permits_one(self, address: IpAddress) -> bool:
        if any(address in network for network in self.allowed_networks):
            return True
        if isinstance(address, IPv4Address):
            return address.is_global and not (address.is_multicast or address.is_reserved)
        return address in _GLOBAL_UNICAST_V6 and address.is_global


def parse_networks(texts: Iterable[str]) -> tuple[IpNetwork, ...]:
    """Return the networks that *texts* name (`10.0.0.0/8`, `fd00::/8`, one address); `ValueError` otherwise."""
    return tuple(ip_network(text.strip()) for text in texts)


def parse_ip_literal(host: str) -> IpAddress | None:
    """Return the address that *host* is (an IPv6 one may stand in brackets), or None for a DNS name."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return ip_address(bare)
    except ValueError:
        return None


def _unwrapped(address: IpAddress) -> Iterator[IpAddress]:
    """Yield the addresses that a connection to *address* may end at."""
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address in _NAT64:
        yield IPv4Address(address.packed[-4:])
    else:
        yield address
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo

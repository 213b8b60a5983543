"""Which addresses may be connected to."""

from ipaddress import ip_address

import pytest
from partialstate_service.federation.addresses import (
    AddressPolicy,
    RefusedAddressError,
    parse_ip_literal,
    parse_networks,
)

PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]
REFUSED = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_permitted(text: str) -> None:
    """Also those that a translator leads to."""
    assert AddressPolicy().permits(ip_address(text))


@pytest.mark.parametrize("text", REFUSED)
def test_any_other_address_is_refused(text: str) -> None:
    """Local, private, shared, reserved, documentation, multicast, and what embeds them."""
    assert not AddressPolicy().permits(ip_address(text))
    with pytest.raises(RefusedAddressError):
        AddressPolicy().check(text)


@pytest.mark.parametrize(
    ("network", "address", "permitted"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "192.168.0.1", False),
        ("127.0.0.5", "127.0.0.5", True),
        ("127.0.0.5", "127.0.0.6", False),
        ("fd00::/8", "fd00::1", True),
        ("::/0", "10.0.0.1", False),
    ],
)
def test_a_setting_permits_its_networks_alone(network: str, address: str, *, permitted: bool) -> None:
    """Named networks are permitted, whatever they are."""
    assert AddressPolicy(parse_networks([network])).permits(ip_address(address)) is permitted


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "example.org", ""])
def test_a_wrong_network_is_an_error(text: str) -> None:
    """Host bits, a name or nothing."""
    with pytest.raises(ValueError, match=r"."):
        parse_networks([text])


@pytest.mark.parametrize(
    ("host", "literal"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("a.example", None),
        ("1", None),
        ("01.2.3.4", None),
    ],
)
def test_literals(host: str, literal: str | None) -> None:
    """Only the canonical forms; what else looks like a number is a name."""
    parsed = parse_ip_literal(host)
    assert (None if parsed is None else str(parsed)) == literal

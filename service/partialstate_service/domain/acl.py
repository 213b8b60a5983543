"""Server access control lists (`m.room.server_acl`).

Source: Matrix specification v1.19, client-server API, "Server Access Control Lists (ACLs) for rooms". The lists are
written by whoever has the power to in a room, so they are hostile input: matching takes time linear in the length
of the server's name, whatever the patterns are, and never backtracks.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from partialstate_service.domain.ids import MAX_ID_BYTES, ServerName


class GlobSet:
    """Whether a text matches any of many globs, where `*` is any run of characters and `?` any one; all else is literal.

    All patterns with wildcards run at once as one automaton whose states are the bits of a single integer. Bit *i*
    says that everything before the *i*-th literal of the row of all patterns' literals has matched; a pattern owns
    one bit per literal and one final bit.
    """

    __slots__ = ("_any", "_exact", "_final", "_loops", "_masks", "_start")

    def __init__(self, patterns: Iterable[str]) -> None:
        lowered = {pattern.lower() for pattern in patterns}
        globs = {pattern for pattern in lowered if "*" in pattern or "?" in pattern}
        self._exact = frozenset(lowered - globs)
        start, loops, final, any_char = bytearray(), bytearray(), bytearray(), bytearray()
        literals: list[tuple[int, str]] = []
        position = 0
        for pattern in sorted(globs):
            length = len(pattern) - pattern.count("*")
            if length > MAX_ID_BYTES:
                continue  # longer than any server name: it can match none
            for row in (start, loops, final, any_char):
                row.extend(bytes((position + length) // 8 + 1 - len(row)))
            _set_bit(start, position)
            for char in pattern:
                if char == "*":
                    _set_bit(loops, position)
                    continue
                if char == "?":
                    _set_bit(any_char, position)
                else:
                    literals.append((position, char))
                position += 1
            _set_bit(final, position)
            position += 1
        size = len(start)
        masks: dict[str, bytearray] = {}
        for bit, char in literals:
            # A server name is printable ASCII: a literal outside it never matches and needs no mask.
            if char.isascii() and char.isprintable():
                _set_bit(masks.setdefault(char, bytearray(size)), bit)
        self._start = int.from_bytes(start, "little")
        self._loops = int.from_bytes(loops, "little")
        self._final = int.from_bytes(final, "little")
        self._any = int.from_bytes(any_char, "little")
        self._masks = {char: int.from_bytes(mask, "little") | self._any for char, mask in masks.items()}

    def matches(self, text: str) -> bool:
        """Return whether the lower-case *text*, as a whole, matches a pattern."""
        if text in self._exact:
            return True
        states = self._start
        for char in text:
            if not states:
                return False
            states = ((states & self._masks.get(char, self._any)) << 1) | (states & self._loops)
        return bool(states & self._final)


@dataclass(frozen=True, slots=True)
class ServerAcl:
    """One parsed `m.room.server_acl`. Parse it once with `parse_server_acl`, then ask it many times."""

    allow: GlobSet
    deny: GlobSet
    allow_ip_literals: bool

    def denies(self, server: ServerName) -> bool:
        """Return whether *server* may not take part in the room. Its port does not count, nor does the case."""
        host = _host_of(server)
        if not self.allow_ip_literals and _is_ip_literal(host):
            return True
        return self.deny.matches(host) or not self.allow.matches(host)


def parse_server_acl(content: Mapping[str, Any]) -> ServerAcl:
    """Return the content of an `m.room.server_acl` event as an ACL; never raises.

    A missing or malformed `allow` allows nobody, a missing or malformed `deny` denies nobody, entries that are not
    strings are ignored, and IP literals are refused only where the content says exactly `false`.
    """
    return ServerAcl(
        allow=GlobSet(_strings(content.get("allow"))),
        deny=GlobSet(_strings(content.get("deny"))),
        allow_ip_literals=content.get("allow_ip_literals") is not False,
    )


def _strings(value: object) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list | tuple) else []


def _host_of(server: ServerName) -> str:
    """Return the server name in lower case without its port."""
    host, colon, port = server.lower().rpartition(":")
    return host if colon and port.isdecimal() else server.lower()


def _is_ip_literal(host: str) -> bool:
    if host.startswith("["):
        return True
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _set_bit(row: bytearray, bit: int) -> None:
    row[bit // 8] |= 1 << bit % 8

"""Typed Matrix identifiers, parsed once at the edge and trusted inside.

Each type is a `NewType` over `str`, so that it costs nothing at run time; the `parse_…` functions are the only
way in. Sources: Matrix specification v1.19, appendices, "Identifier Grammar"; room version 12 for room ids
without a domain.
"""

import ipaddress
import re
from functools import lru_cache
from typing import NewType

RoomId = NewType("RoomId", str)
EventId = NewType("EventId", str)
UserId = NewType("UserId", str)
ServerName = NewType("ServerName", str)

# Counters of the registry; both only ever grow.
Generation = NewType("Generation", int)
Revision = NewType("Revision", int)
# A record's place in the recovered-state log of one generation; the first record has position 1.
Position = NewType("Position", int)

MAX_ID_BYTES = 255
# Below this many characters a text cannot have too many bytes.
_SURELY_SHORT = MAX_ID_BYTES // 4
# The users of a room are of few servers: the name of each is parsed once.
_KNOWN_SERVERS = 4096

# The grammar allows dns names, IPv4 literals and bracketed IPv6 literals, each with an optional port.
_SERVER_NAME = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z.-]{1,255})(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535
# Opaque; but ids are shown to people, and nobody's software makes them of what steers a terminal (C0, DEL, C1).
_OPAQUE = r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
_ROOM_ID = re.compile("!" + _OPAQUE)
_EVENT_ID = re.compile(r"\$" + _OPAQUE)
# Users of old servers have localparts of any characters, or none ("Historical User IDs"): their events must be accepted.
_HISTORICAL_USER_ID = re.compile(r"@[^\x00\ud800-\udfff]+")


class InvalidIdError(ValueError):
    """A string is not the identifier that it should be; the text names the kind and the reason."""


def parse_server_name(text: str) -> ServerName:
    """Return *text* as a server name, or raise `InvalidIdError`."""
    match = _SERVER_NAME.fullmatch(text)
    if match is None or len(text) > MAX_ID_BYTES:
        raise InvalidIdError(f"not a server name: {_shown(text)}")
    if (port := match["port"]) is not None and int(port) > _MAX_PORT:
        raise InvalidIdError(f"server name with an impossible port: {_shown(text)}")
    host = match["host"]
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError as error:
            raise InvalidIdError(f"not an IPv6 literal: {_shown(text)}") from error
    return ServerName(text)


def parse_room_id(text: str) -> RoomId:
    """Return *text* as a room id. From room version 12 it has no domain, so nothing may look for one in it."""
    return RoomId(_parse_sigil_id(text, _ROOM_ID, "!", "room id"))


def parse_event_id(text: str) -> EventId:
    """Return *text* as an event id, of any room version."""
    return EventId(_parse_sigil_id(text, _EVENT_ID, "$", "event id"))


def parse_user_id(text: str) -> UserId:
    """Return *text* as a user id with a valid server name; historical localparts are accepted, white space too."""
    _parse_sigil_id(text, _HISTORICAL_USER_ID, "@", "user id")
    _, colon, server = text.partition(":")
    if not colon:
        raise InvalidIdError(f"user id without a server name: {_shown(text)}")
    _parse_known_server_name(server)
    return UserId(text)


_parse_known_server_name = lru_cache(_KNOWN_SERVERS)(parse_server_name)


def server_of(user: UserId) -> ServerName:
    """Return the server name of a parsed user id."""
    return ServerName(user.partition(":")[2])


def _parse_sigil_id(text: str, grammar: re.Pattern[str], sigil: str, kind: str) -> str:
    if len(text) > _SURELY_SHORT and len(text.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        raise InvalidIdError(f"{kind} longer than {MAX_ID_BYTES} bytes: {_shown(text)}")
    if grammar.fullmatch(text) is None:
        if not text.startswith(sigil) or len(text) < 2:  # noqa: PLR2004 - the sigil and one character
            raise InvalidIdError(f"not a valid {kind}: {_shown(text)} (it must start with {sigil!r})")
        raise InvalidIdError(f"{kind} with characters that are not allowed: {_shown(text)}")
    return text


def _shown(text: str) -> str:
    """Return *text* short and escaped enough for an error message or a log line."""
    return ascii(text if len(text) <= 64 else text[:64] + "…")  # noqa: PLR2004 - one line of a log

"""A generated world: a room of many members from many servers, with a linear history."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from partialstate_service.demo.signed_room import SignedRoom
from partialstate_service.demo.simulated_server import SimulatedServer, loopback_addresses, reserve_server
from partialstate_service.domain.ids import RoomId, ServerName
from partialstate_service.matrix.room_versions import room_version

BANNED_SERVER_PATTERN = "127.66.*"
"""What the room's server ACL denies: the addresses that tests and the demo use for the banned server."""


@dataclass(frozen=True, slots=True)
class WorldSize:
    """How big a world is."""

    members: int = 2_000
    servers: int = 40
    messages: int = 10
    """Messages at the end of the history, after all joins."""

    def __post_init__(self) -> None:
        """Refuse what makes no room."""
        if not 1 <= self.servers <= self.members:
            raise ValueError("a world needs at least one server, and a member on each")


@dataclass(slots=True, eq=False)
class World:
    """A room and the servers in it; the first one created the room. `now_ms` is the time its clock stands at."""

    room: SignedRoom
    servers: tuple[SimulatedServer, ...]
    now_ms: int

    @property
    def creator(self) -> SimulatedServer:
        """The server that created the room."""
        return self.servers[0]

    @property
    def by_name(self) -> Mapping[ServerName, SimulatedServer]:
        """The servers by name."""
        return {server.name: server for server in self.servers}

    def tick(self) -> int:
        """Let a second pass and return the time then, in milliseconds since 1970."""
        self.now_ms += 1000
        return self.now_ms

    def message(self, server: SimulatedServer, text: str) -> dict[str, Any]:
        """Let the first user of *server* say *text*; return the event as it goes to other servers."""
        content = {"msgtype": "m.text", "body": text}
        sender = server.user(_localpart(self.servers.index(server)))
        return self.room.say(server, sender, "m.room.message", content, now_ms=self.tick()).raw


@contextmanager
def generated_world(
    size: WorldSize, rng: random.Random, *, now_ms: int, version: str = "11", prefix: str = "127.10"
) -> Iterator[World]:
    """Make a world whose history ends at *now_ms*; its ports are given back at the end.

    The same *rng* gives the same keys, but not the same names, since ports are what the machine has free.
    """
    servers = []
    try:
        for address in islice(loopback_addresses(prefix), size.servers):
            servers.append(reserve_server(address, rng))  # noqa: PERF401 - each one made so far must be closed
        yield populated_world(tuple(servers), size, rng, now_ms=now_ms, version=version)
    finally:
        for server in servers:
            server.reserved.close()


def populated_world(
    servers: tuple[SimulatedServer, ...], size: WorldSize, rng: random.Random, *, now_ms: int, version: str
) -> World:
    """Make a room on *servers*, which may have others too; its history ends at *now_ms*."""
    # One second for each event (the creator is a member too), so that the history ends now.
    founding = _founding_content(servers[0], version)
    length = len(founding) + size.members - 1 + size.messages
    room = SignedRoom(room_version(version), RoomId(f"!{rng.randbytes(9).hex()}:{servers[0].name}"))
    world = World(room, servers, now_ms - length * 1000)
    creator = servers[0].user(_localpart(0))
    for event_type, state_key, content in founding:
        room.say(servers[0], creator, event_type, content, state_key, now_ms=world.tick())
    for number in range(1, size.members):
        server = servers[number % len(servers)]
        member = server.user(_localpart(number))
        joined = {"membership": "join", "displayname": f"Member {number}"}
        room.say(server, member, "m.room.member", joined, member, now_ms=world.tick())
    for number in range(size.messages):
        world.message(servers[number % len(servers)], f"Message {number}")
    return world


def _founding_content(creator: SimulatedServer, version: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the state events of a new room: type, state key, content."""
    user = creator.user(_localpart(0))
    capabilities = room_version(version)
    create: dict[str, Any] = {"room_version": version}
    if not capabilities.implicit_room_creator:
        create["creator"] = user
    # From room version 12 creators stand above all power levels and must not be named in them.
    users = {} if capabilities.privileged_creators else {user: 100}
    return [
        ("m.room.create", "", create),
        ("m.room.member", user, {"membership": "join", "displayname": "The creator"}),
        ("m.room.power_levels", "", {"users": users, "users_default": 0, "state_default": 50, "ban": 50}),
        ("m.room.join_rules", "", {"join_rule": "public"}),
        ("m.room.history_visibility", "", {"history_visibility": "shared"}),
        (
            "m.room.server_acl",
            "",
            {"allow": ["*"], "deny": [BANNED_SERVER_PATTERN], "allow_ip_literals": True},
        ),
        ("m.room.name", "", {"name": "A big room"}),
        ("m.room.topic", "", {"topic": "What happens while we do not know who is here"}),
    ]


def _localpart(number: int) -> str:
    return f"u{number}"

"""Rooms by the thousand that a homeserver has joined partially: their servers run in a process of their own.

async with joined_rooms(directory, [RoomGroup("honest", rooms=100)]) as joined:
    await client.register_partial_join(joined.joins[0].partial_join(), joined.joins[0].response)
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.processes import measured_process
from bench.service_process import write_key
from partialstate import PartialJoin, ResyncPriority
from partialstate_service.matrix.ed25519 import signing_key_from_seed

TESTS = Path(__file__).parent.parent
HOMESERVER = "us.example"
SEED = bytes(range(32))


@dataclass(frozen=True, slots=True)
class RoomGroup:
    """Rooms whose servers all behave alike when they are asked for events or states."""

    name: str
    rooms: int
    behaviour: str = "honest"
    """Or `slow` (half a second), `hanging`, `hanging_up`."""
    joins_per_room: int = 1
    """How often each room can be joined: by another user each time."""
    servers: int = 12
    servers_per_room: int = 3
    members: int = 4


@dataclass(frozen=True, slots=True)
class MadeJoin:
    """A join that a room's server has taken, not registered yet."""

    group: str
    room_id: str
    via: str
    join: bytes
    response: bytes
    state: frozenset[str]
    """The ids of all events of the state after the join: what is to be recovered."""

    def partial_join(self, priority: ResyncPriority = ResyncPriority.NORMAL) -> PartialJoin:
        """Return what is registered, with `response`."""
        return PartialJoin(self.room_id, "11", self.join, self.via, priority=priority)


@dataclass(frozen=True, slots=True)
class JoinedRooms:
    """All joins, group by group; within a group all rooms once, then all again."""

    joins: Sequence[MadeJoin]
    settings: dict[str, str]
    """What a service needs to be the homeserver's, in the names of settings in lower case."""

    def of(self, group: str) -> list[MadeJoin]:
        """Return the joins of one group."""
        return [join for join in self.joins if join.group == group]


@asynccontextmanager
async def joined_rooms(directory: Path, groups: Sequence[RoomGroup]) -> AsyncIterator[JoinedRooms]:
    """Run the servers of all rooms of *groups* until the end of the block."""
    config, joins_file, ca_file = (directory / name for name in ("rooms.json", "joins.jsonl", "ca.pem"))
    given = {
        "ca_file": str(ca_file),
        "joins_file": str(joins_file),
        "homeserver": HOMESERVER,
        "homeserver_seed": SEED.hex(),
        "seed": 1,
        "groups": [asdict(group) for group in groups],
    }
    config.write_text(json.dumps(given))
    key_file = directory / "homeserver.key"
    write_key(key_file, signing_key_from_seed("sim", SEED))
    command = ["-m", "support.joined_rooms_process", str(config)]
    async with measured_process(command, {"PYTHONPATH": str(TESTS)}) as process:
        assert await process.output.readline() == b"ready\n"
        joins = []
        with joins_file.open() as lines:
            for line in lines:
                made = json.loads(line)
                made |= {name: made[name].encode() for name in ("join", "response")}
                joins.append(MadeJoin(**made | {"state": frozenset(made["state"])}))
        settings = {
            "server_name": HOMESERVER,
            "signing_key_path": str(key_file),
            "federation_ca_file": str(ca_file),
            "federation_allowed_networks": "127.0.0.0/8",
            "resync_processes": "1",
        }
        yield JoinedRooms(joins, settings)

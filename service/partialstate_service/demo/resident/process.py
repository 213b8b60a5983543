"""What the process of simulated resident servers does."""

import asyncio
import json
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from unpaddedbase64 import decode_base64

from partialstate_service.demo.certificates import CertificateAuthority
from partialstate_service.demo.resident.behaviour import Behaviour, forbidden, unable
from partialstate_service.demo.resident.breaking import HangingUp, Truncating
from partialstate_service.demo.resident.listener import residents_listening
from partialstate_service.demo.world import WorldSize, generated_world
from partialstate_service.demo.x_matrix import KeyLookup
from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.ed25519 import KeyId

BEHAVIOURS: Final[Mapping[str, Callable[[], Behaviour]]] = {
    "unable": unable,
    "forbidden": forbidden,
    "hanging_up": HangingUp,
    "truncating": Truncating,
}
"""How the servers of the process can treat requests for the state, by name; `dead` ones do not listen at all."""


@dataclass(frozen=True, slots=True)
class ResidentsConfig:
    """What the process is to simulate; the JSON object of its config has these keys."""

    ca_file: Path
    """Where the certificate authority's certificate is written."""
    keys: Mapping[ServerName, Mapping[KeyId, bytes]]
    """The public keys of the homeservers that will ask; in JSON as unpadded base64."""
    size: WorldSize = field(default_factory=WorldSize)
    """`members`, `servers`, `messages`."""
    version: str = "11"
    seed: int = 0
    behaviours: Mapping[int, str] = field(default_factory=dict)
    """By the server's place in the world, from 0: a name of `BEHAVIOURS`, or `dead`."""
    address_prefix: str = "127.10"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "ResidentsConfig":
        """Return the config in a JSON object; unknown keys and behaviours are errors."""
        values = dict(given)
        sizes = {name: values.pop(name) for name in ("members", "servers", "messages") if name in values}
        behaviours = {int(place): name for place, name in values.pop("behaviours", {}).items()}
        for name in behaviours.values():
            if name != "dead" and name not in BEHAVIOURS:
                raise ValueError(f"unknown behaviour {name!a}: there are dead, {', '.join(BEHAVIOURS)}")
        keys = {
            ServerName(server): {KeyId(key_id): decode_base64(key) for key_id, key in by_id.items()}
            for server, by_id in values.pop("keys").items()
        }
        ca_file = Path(values.pop("ca_file"))
        return cls(ca_file=ca_file, keys=keys, size=WorldSize(**sizes), behaviours=behaviours, **values)


async def run_residents(config: ResidentsConfig, rng: random.Random, *, now_ms: int, output: TextIO) -> None:
    """Run the world of *config* until standard input ends; see `__main__` for what is printed."""
    with generated_world(
        config.size, rng, now_ms=now_ms, version=config.version, prefix=config.address_prefix
    ) as world:
        authority = CertificateAuthority()
        authority.write_pem(config.ca_file)
        names = [server.name for server in world.servers]
        dead = frozenset(names[place] for place, name in config.behaviours.items() if name == "dead")
        async with residents_listening(world, authority, _fixed(config.keys), dead=dead) as residents:
            for place, behaviour in config.behaviours.items():
                if behaviour in BEHAVIOURS:
                    residents.behave(names[place], BEHAVIOURS[behaviour]())
            _print(output, {"room_id": world.room.room_id, "version": config.version, "servers": names})
            await asyncio.to_thread(sys.stdin.read)
            _print(output, {"requests": residents.log.by_endpoint()})


def _fixed(keys: Mapping[ServerName, Mapping[KeyId, bytes]]) -> KeyLookup:
    async def lookup(server: ServerName, key_id: KeyId) -> bytes | None:
        return keys.get(server, {}).get(key_id)

    return lookup


def _print(output: TextIO, line: Mapping[str, Any]) -> None:
    output.write(json.dumps(line) + "\n")
    output.flush()

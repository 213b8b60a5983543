"""The service as a process for figures: its embedded store, and a gRPC channel to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from partialstate_service.matrix.ed25519 import (
    SEED_BYTES,
    SigningKey,
    signing_key_from_seed,
    signing_key_text,
)

from bench.processes import Measured, measured_process

SERVER_NAME = "bench.example"


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that answers."""

    process: Measured
    channel: grpc.aio.Channel
    target: str


@asynccontextmanager
async def running_service(directory: Path, **settings: str) -> AsyncIterator[RunningService]:
    """Run the service with its data in *directory*; *settings* are those of the environment, in lower case."""
    key_file = directory / "signing.key"
    if not key_file.exists():
        write_key(key_file, signing_key_from_seed("bench", bytes(SEED_BYTES)))
    target = f"unix:{directory}/service.sock"
    given = {
        "server_name": SERVER_NAME,
        "signing_key_path": str(key_file),
        "listen": target,
        "data_dir": str(directory / "store"),
        "log_level": "warning",
        # Counted as always, but never reached: the load comes as one client.
        "max_calls_per_second_per_client": "1e9",
        "max_call_burst_per_client": "1000000000",
        **settings,
    }
    environment = {f"PARTIALSTATE_{name.upper()}": value for name, value in given.items()}
    command = ["-m", "partialstate_service", "serve"]
    async with (
        measured_process(command, environment) as process,
        grpc.aio.insecure_channel(target) as channel,
    ):
        await channel.channel_ready()
        yield RunningService(process, channel, target)


def write_key(path: Path, key: SigningKey) -> None:
    """Write *key* in the format of Synapse's key files."""
    path.write_text(signing_key_text(key), encoding="ascii")
    path.chmod(0o600)

"""The service as a process, in the settings of a test; what is read of it is its log."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIGNING_KEY = "ed25519 a_test " + "A" * 43 + "\n"
_START_S = 60
_END_S = 60


@dataclass
class ServiceProcess:
    """A running service: where it listens, and what it has logged so far."""

    process: asyncio.subprocess.Process
    address: str = ""
    log: list[str] = field(default_factory=list)

    async def end(self, number: int) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Return the exit status of a service that ends by itself."""
        return await asyncio.wait_for(self.process.wait(), _END_S)


def service_environment(directory: Path, **settings: str) -> dict[str, str]:
    """Return the environment of a service with everything in *directory*; *settings* without their prefix."""
    key = directory / "signing.key"
    key.write_text(SIGNING_KEY)
    chosen = {
        "SERVER_NAME": "us.example",
        "SIGNING_KEY_PATH": str(key),
        "DATA_DIR": str(directory / "data"),
        "LISTEN": "127.0.0.1:0",
        "RESYNC_PROCESSES": "1",
        **settings,
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PARTIALSTATE_")}
    return clean | {f"PARTIALSTATE_{name}": value for name, value in chosen.items()}


@asynccontextmanager
async def service_process(
    environment: Mapping[str, str], module: str = "partialstate_service"
) -> AsyncIterator[ServiceProcess]:
    """Run `serve` of *module* until the block ends, whatever happens in it; yields once it answers."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, "serve"),
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    running = ServiceProcess(process)
    serving: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read(stream: asyncio.StreamReader) -> None:
        while line := (await stream.readline()).decode():
            running.log.append(line)
            entry = _entry(line)
            if entry.get("event") == "serving" and not serving.done():
                serving.set_result(entry["address"])
        if not serving.done():
            serving.set_exception(AssertionError(f"the service ended:\n{''.join(running.log)}"))

    reading = asyncio.create_task(read(process.stderr))
    try:
        running.address = await asyncio.wait_for(serving, _START_S)
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


def _entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}

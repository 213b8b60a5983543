"""The service as a child process: as an operator starts it, on its embedded store."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.ed25519 import SigningKey, signing_key_text

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 15.0
_LOOK_AGAIN_S: Final = 0.02
# RFC 9113, section 3.4: what a client begins with, its settings left as they are.
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


class ServiceFailedError(Exception):
    """The service did not start; the text ends with the last of what it logged."""


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """A running service: where it listens, and its process."""

    target: str
    process: asyncio.subprocess.Process


@asynccontextmanager
async def running_service(
    name: ServerName, key: SigningKey, directory: Path, settings: Mapping[str, str]
) -> AsyncIterator[str]:
    """Run `service_process`; yield where it listens."""
    async with service_process(name, key, directory, settings) as service:
        yield service.target


@asynccontextmanager
async def service_process(
    name: ServerName, key: SigningKey, directory: Path, settings: Mapping[str, str]
) -> AsyncIterator[ServiceProcess]:
    """Run `python -m partialstate_service serve` for the homeserver *name*, until the block ends.

    *settings* are more of its settings, named as in the environment but without the prefix. What it needs on disk, and
    its log, is in *directory*, whose path has to be short: there is a socket in it. A later run goes on with its store.
    """
    key_file = directory / "signing.key"
    key_file.write_text(signing_key_text(key), encoding="ascii")
    # A socket in the file system needs no free port, and nobody else can take it.
    socket = directory / "service.sock"
    target = f"unix:{socket}"
    chosen = {"SERVER_NAME": name, "SIGNING_KEY_PATH": str(key_file), "LISTEN": target}
    chosen |= {"DATA_DIR": str(directory / "store"), **settings}
    others = {
        variable: value for variable, value in os.environ.items() if not variable.startswith("PARTIALSTATE_")
    }
    environment = others | {f"PARTIALSTATE_{setting}": value for setting, value in chosen.items()}
    log = directory / "service.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "partialstate_service", "serve"),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        await _wait_until_ready(process, socket, log)
        yield ServiceProcess(target, process)
    finally:
        await _stop(process)


async def _wait_until_ready(process: asyncio.subprocess.Process, socket: Path, log: Path) -> None:
    """Return once the service answers; it listens before."""
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await _answers(socket):
                if process.returncode is not None:
                    raise ServiceFailedError(f"the service did not start:\n{_tail(log)}")
                await asyncio.sleep(_LOOK_AGAIN_S)
    except TimeoutError:
        raise ServiceFailedError(f"the service takes too long to start:\n{_tail(log)}") from None


async def _answers(socket: Path) -> bool:
    """Whether the service has begun to speak HTTP/2."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    try:
        writer.write(_PREFACE)
        return bool(await reader.read(1))
    except OSError:
        return False
    finally:
        writer.close()


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()

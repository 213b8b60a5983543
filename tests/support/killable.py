"""Services and their store as processes that are killed without a warning, and started again.

The store is a process of the test's own, so that the test can read it whatever happens to the service.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from partialstate_service.demo.service_process import ServiceFailedError, ServiceProcess, service_process
from partialstate_service.demo.simulated_server import SimulatedServer
from support.store_server import ask, running_server, servers_here

_START_ATTEMPTS = 5


@dataclass
class Killable:
    """A service on a store; each part can be killed at any time, and is running again after that."""

    homeserver: SimulatedServer
    directory: Path
    store_socket: str
    _service: ServiceProcess | None = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def store_url(self) -> str:
        return f"unix://{self.store_socket}"

    async def start_service(self) -> None:
        settings = {
            "STORE_URL": self.store_url,
            "FEDERATION_ALLOWED_NETWORKS": "127.0.0.0/8",
            "FEDERATION_CA_FILE": str(self.directory / "ca.pem"),
            "RESYNC_PROCESSES": "1",
        }
        for attempt in range(_START_ATTEMPTS):
            process = service_process(self.homeserver.name, self.homeserver.key, self.directory, settings)
            try:
                self._service = await self._stack.enter_async_context(process)
            except ServiceFailedError:
                # The store may be starting at the same time; an operator's supervisor would try again too.
                if attempt == _START_ATTEMPTS - 1:
                    raise
            else:
                return

    async def kill_service(self) -> None:
        """Kill the service with its workers and API, and start it again."""
        assert self._service is not None
        self._service.process.kill()
        await self._service.process.wait()
        await self._stack.aclose()
        await self.start_service()

    async def kill_verifier(self) -> None:
        """Kill a process that verifies events; the service replaces it."""
        assert self._service is not None
        for pid in _children(self._service.process.pid):
            if b"spawn_main" in _command(pid):
                _kill(pid)
                return

    async def kill_store(self) -> None:
        """Kill the store's server; its supervisor starts it again on the same data."""
        answer = ask(self.store_socket, "INFO", "server").decode()
        pid = int(answer.partition("process_id:")[2].split()[0])
        _kill(pid)
        async with asyncio.timeout(20):
            while not self._store_answers():  # noqa: ASYNC110 - another process, which tells nobody
                await asyncio.sleep(0.02)

    def _store_answers(self) -> bool:
        with suppress(OSError):
            return ask(self.store_socket, "PING") == b"+PONG\r\n"
        return False

    async def stop(self) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def killable_services(
    homeserver: SimulatedServer, directory: Path, count: int
) -> AsyncIterator[list[Killable]]:
    """Run one store and *count* services on it; *directory* has a short path, and a certificate authority, `ca.pem`."""
    with running_server(servers_here()[0], directory / "store") as store_socket:
        services = []
        for number in range(count):
            own = directory / str(number)
            own.mkdir()
            shutil.copy(directory / "ca.pem", own)
            services.append(Killable(homeserver, own, store_socket))
        try:
            for service in services:
                await service.start_service()
            yield services
        finally:
            for service in services:
                await service.stop()


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has just ended
            children += map(int, task.read_text().split())
    return children


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

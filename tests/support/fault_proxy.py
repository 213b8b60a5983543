"""A proxy for connections that makes the network's troubles: latency, cuts, half-open connections, partitions.

async with fault_proxy(upstream, listener) as proxy:
    proxy.latency_s = 0.05     # each way
    proxy.cut()                # every connection breaks; new ones are possible
    proxy.silence()            # nothing passes any more, and nobody is told; new connections are accepted and silent
    proxy.heal()
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class FaultProxy:
    """Passes bytes between its clients and the upstream, as well as it is allowed to."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.latency_s = 0.0
        self.connections = 0

    def cut(self) -> None:
        """Break all connections at once."""
        for writer in self._writers:
            writer.transport.abort()

    def silence(self) -> None:
        """Let nothing pass any more, on old connections and new ones: half-open, to both ends."""
        self._flows.clear()

    def heal(self) -> None:
        """Let everything pass again; what was held back is lost with its connection."""
        self._flows.set()
        self.cut()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self.connections += 1
        self._writers.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            await self._flows.wait()
            back, upstream = await self._connect()
            self._writers.add(upstream)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, upstream))
                group.create_task(self._pass(back, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            ends = [each for each in (writer, upstream) if each is not None]
            for end in ends:
                self._writers.discard(end)
                end.transport.abort()
            for end in ends:
                with suppress(OSError):
                    await end.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(64 * 1024):
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            await self._flows.wait()
            writer.write(block)
            await writer.drain()
        raise ConnectionResetError


@asynccontextmanager
async def fault_proxy(connect: Connect, listener: socket.socket) -> AsyncIterator[FaultProxy]:
    """Run a proxy on *listener*, which is bound; it is closed at the end, with all connections."""
    proxy = FaultProxy(connect)
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            with suppress(asyncio.CancelledError):
                await proxy.serve(reader, writer)
        finally:
            running.discard(task)

    if listener.family is socket.AF_UNIX:
        server = await asyncio.start_unix_server(serve, sock=listener)
    else:
        server = await asyncio.start_server(serve, sock=listener)
    try:
        yield proxy
    finally:
        server.close()
        await asyncio.sleep(0)  # what was accepted just now begins, so that it can be ended in order
        while running:
            for task in running:
                task.cancel()
            await asyncio.wait(running)


@asynccontextmanager
async def unix_fault_proxy(upstream: str, path: str) -> AsyncIterator[FaultProxy]:
    """Run a proxy on the socket *path* before the server on the socket *upstream*."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    async with fault_proxy(lambda: asyncio.open_unix_connection(upstream), listener) as proxy:
        yield proxy

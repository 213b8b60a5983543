"""A server on loopback that says what a test wants, in place of a store's server."""

import asyncio
from contextlib import asynccontextmanager

from partialstate_service.store.urls import Address


class Scripted:
    """A server that answers each command by a test's function; `None` leaves it without an answer."""

    def __init__(self):
        self.commands = []
        self.connections = 0
        self.ended = 0
        self.changed = asyncio.Event()
        self.writers = []
        self.answer = lambda command: b"+OK\r\n"
        self.address = None

    async def serve(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        try:
            while header := await reader.readline():
                words = [await self.word(reader) for _ in range(int(header[1:]))]
                self.commands.append(words)
                if (answer := self.answer(words)) is not None:
                    writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended += 1
            self.changed.set()
            writer.transport.abort()

    async def word(self, reader):
        size = int((await reader.readline())[1:])
        return (await reader.readexactly(size + 2))[:-2].decode()

    async def all_ended(self):
        async with asyncio.timeout(10):
            while self.ended < self.connections:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def scripted(tls=None):
    server = Scripted()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls) as listening:
        server.address = Address(*listening.sockets[0].getsockname())
        yield server
        for writer in server.writers:
            writer.transport.abort()
        await server.all_ended()

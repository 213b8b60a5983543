"""The connections to one server, kept for reuse.

Not by redis-py's `BlockingConnectionPool`, which does not see that an idle connection was reset, and loses a place for
ever when a caller is cancelled while it gives one back.
"""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from partialstate_service.store.exchange import Argument, Connection, NotConnectedError, open_connection
from partialstate_service.store.urls import Address, Login


@dataclass(frozen=True, slots=True)
class Terms:
    """How servers are spoken to."""

    login: Login
    tls: ssl.SSLContext | None
    connect_timeout_s: float
    command_timeout_s: float
    max_connections: int


class Node:
    """One server; exchanges beyond `max_connections` wait for each other."""

    def __init__(self, address: Address, terms: Terms) -> None:
        self.address = address
        self._terms = terms
        self._free = asyncio.Semaphore(terms.max_connections)
        self._idle: list[Connection] = []
        self._closed = False

    async def exchange(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        """Send commands together, in order, on one connection, and return their replies; failures are among them.

        The caller limits the time; cancelled, it does not know what was executed. Raises NotConnectedError (nothing was
        sent) and ConnectionLostError (unknown what was executed).
        """
        async with self._free:
            while self._idle:
                with suppress(NotConnectedError):  # it ended while nobody used it
                    return await self._over(self._idle.pop(), commands)
            terms = self._terms
            connection = await open_connection(self.address, terms.login, terms.tls, terms.connect_timeout_s)
            return await self._over(connection, commands)

    async def ask(self, *commands: tuple[Argument, ...]) -> list[Any]:
        """Do the same for questions about the server itself, within `command_timeout_s`. Raises TimeoutError besides."""
        async with asyncio.timeout(self._terms.command_timeout_s):
            return await self.exchange(commands)

    async def _over(self, connection: Connection, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        try:
            return await connection.exchange(commands)
        finally:
            if self._closed:
                connection.close()
            elif connection.is_connected:
                self._idle.append(connection)

    def close(self) -> None:
        """Close what is idle now, and the rest when it is done."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

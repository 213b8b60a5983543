"""One connection to a server, in the Redis protocol (RESP 2): commands out, their replies in.

Small on purpose: it is on the way of every check. Nothing is ever repeated here, for a command whose reply was lost may
have been executed.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from partialstate_service.store.urls import Address, Login

Argument = str | bytes | int
ReplyError = hiredis.ReplyError

_MORE = object()
# Its stubs know commands of one word only.
_packed: Callable[[tuple[Argument, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]


class NotConnectedError(Exception):
    """There is no connection: nothing was sent."""


class ConnectionLostError(Exception):
    """The connection ended before the reply: what was sent may have been executed."""


class Connection(asyncio.Protocol):
    """An open connection, used for one exchange at a time."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._transport: asyncio.Transport | None = None
        self._replies: list[Any] = []
        self._expected = 0
        self._done: asyncio.Future[list[Any]] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def is_open(self) -> bool:
        """Whether the connection can be used, as far as known."""
        return self._transport is not None

    async def exchange(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        """Send commands together and return their replies; a command's failure is a `ReplyError` among them.

        If the caller is cancelled, the connection is closed. Raises NotConnectedError, ConnectionLostError.
        """
        if self._transport is None:
            raise NotConnectedError
        self._replies, self._expected = [], len(commands)
        done: asyncio.Future[list[Any]] = self._loop.create_future()
        self._done = done
        self._transport.write(b"".join([_packed(command) for command in commands]))
        try:
            return await done
        finally:
            self._done = None
            if done.cancelled():  # the reply is still to come, and would be taken for the next command's
                self.close()

    def close(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                self._replies.append(reply)
        except hiredis.ProtocolError:
            self.close()
            self.connection_lost(None)
            return
        if self._done is not None and len(self._replies) >= self._expected and not self._done.done():
            self._done.set_result(self._replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._transport = None
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionLostError(str(exc or "closed by the server")))


async def open_connection(
    address: Address, login: Login, tls: ssl.SSLContext | None, timeout_s: float
) -> Connection:
    """Connect and log in. Raises NotConnectedError, whose text is for the log."""
    connection: Connection | None = None
    greetings = _greetings(login)
    try:
        async with asyncio.timeout(timeout_s):
            connection = await _connect(address, tls)
            replies = await connection.exchange(greetings)
        _require_accepted(address, greetings, replies)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, OSError | TimeoutError | ConnectionLostError):
            raise NotConnectedError(f"{address}: {error or type(error).__name__}") from error
        raise
    return connection


async def _connect(address: Address, tls: ssl.SSLContext | None) -> Connection:
    loop = asyncio.get_running_loop()
    if not address.port:
        return (await loop.create_unix_connection(Connection, address.host))[1]
    server_hostname = address.host if tls is not None else None
    _, connection = await loop.create_connection(
        Connection, address.host, address.port, ssl=tls, server_hostname=server_hostname
    )
    return connection


def _greetings(login: Login) -> list[tuple[Argument, ...]]:
    greetings: list[tuple[Argument, ...]] = []
    if login.password:
        user = (login.username,) if login.username else ()
        greetings.append(("AUTH", *user, login.password))
    if login.db:
        greetings.append(("SELECT", login.db))
    greetings.append(("CLIENT", "SETNAME", "partialstate"))
    return greetings


def _require_accepted(
    address: Address, greetings: Sequence[tuple[Argument, ...]], replies: Sequence[Any]
) -> None:
    for (command, *_), reply in zip(greetings, replies, strict=True):
        # Some managed servers forbid CLIENT, and nothing hangs on a name.
        if isinstance(reply, ReplyError) and command != "CLIENT":
            raise NotConnectedError(f"{address} refuses {command!s}: {reply}")

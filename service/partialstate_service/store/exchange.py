"""One connection to a server: redis-py's, which connects, logs in, packs and parses (RESP 2, by hiredis).

Not its clients: `Redis` and `RedisCluster` send a command again whose reply was lost (it may have been executed), and
told not to, they have one error for that and for where nothing was sent. Nor its time limits: with a `socket_timeout` it
sends by `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that arrives together with the result.
Callers set limits with `asyncio.timeout`.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import (
    AbstractConnection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.connection import Connection as TCPConnection
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError

from partialstate_service.store.urls import Address, Login

Argument = str | bytes | int


class NotConnectedError(Exception):
    """There is no connection: nothing was sent."""


class ConnectionLostError(Exception):
    """The connection ended before the reply: what was sent may have been executed."""


class ReplyError(Exception):
    """A server's refusal of one command: its text, whose first word is a code."""


class Connection(AbstractConnection):
    """An open connection, used for one exchange at a time."""

    async def is_usable(self) -> bool:
        """Return whether an exchange can begin, as far as known."""
        # can_read() tells of an end of the stream and of bytes that nobody asked for, but not of a reset.
        return (
            self._writer is not None and not self._writer.transport.is_closing() and not await self.can_read()
        )

    async def exchange(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        """Send commands together and return their replies; a command's failure is a `ReplyError` among them.

        If the caller is cancelled, the connection is closed, and so it is before NotConnectedError and ConnectionLostError.
        """
        if not await self.is_usable():
            self.close()
            raise NotConnectedError  # redis-py would connect anew
        # redis-py's own way to pack is all Python, but for its synchronous clients.
        packed = [pack_command(words) for words in commands]  # type: ignore[arg-type]  # a tuple of any length
        replies: list[Any] = []
        try:
            await self.send_packed_command(packed, check_health=False)
            while len(replies) < len(commands):
                replies.append(await self._reply())
        except RedisError as error:
            raise ConnectionLostError(str(error)) from error
        finally:
            if len(replies) < len(commands):  # those to come would be taken for the next commands'
                self.close()
        return replies

    async def _reply(self) -> Any:
        try:
            return await self.read_response(disconnect_on_error=False)
        # The last two are no ends of the connection, though redis-py derives them from that.
        except (ResponseError, BusyLoadingError, AuthenticationError) as error:
            # Codes that redis-py knows are no longer in the text.
            return ReplyError(f"{error.status_code} {error}" if error.status_code else str(error))

    async def disconnect(self, *_args: object, **_kwargs: object) -> None:
        """End the connection as `close` does: redis-py calls this after failures, and its own keeps on sending."""
        self.close()

    def close(self) -> None:
        """End the connection at once; what is still to be sent is not."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = self._reader = None


class _OverTCP(Connection, TCPConnection):
    pass


class _OverTLS(Connection, SSLConnection):
    pass


class _OverUnixSocket(Connection, UnixDomainSocketConnection):
    pass


async def open_connection(
    address: Address, login: Login, tls: ssl.SSLContext | None, timeout_s: float
) -> Connection:
    """Connect and log in. Raises NotConnectedError, whose text is for the log."""
    connection = _closed_connection(address, login, tls)
    try:
        async with asyncio.timeout(timeout_s):
            await connection.connect()  # type: ignore[no-untyped-call]
            # Not by redis-py, which insists: some managed servers forbid CLIENT, and nothing hangs on a name.
            await connection.exchange([("CLIENT", "SETNAME", "partialstate")])
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError | RedisError | ConnectionLostError | NotConnectedError):
            raise NotConnectedError(f"{address}: {error or type(error).__name__}") from error
        raise
    return connection


def _closed_connection(address: Address, login: Login, tls: ssl.SSLContext | None) -> Connection:
    terms: dict[str, Any] = {
        "username": login.username or None,
        "password": login.password or None,
        "db": login.db,
        "protocol": 2,
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "driver_info": None,  # no CLIENT SETINFO
    }
    if not address.port:
        return _OverUnixSocket(path=address.host, **terms)
    if tls is None:
        return _OverTCP(host=address.host, port=address.port, **terms)
    connection = _OverTLS(host=address.host, port=address.port, **terms)
    # One that redis-py makes from files trusts all public authorities besides the one that the operator names.
    connection.ssl_context.context = tls
    return connection

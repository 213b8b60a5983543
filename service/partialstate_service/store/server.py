"""Speaking to the server: plain commands, batches of them, and scripts; the one place that sees the driver's errors."""

import logging
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.store.scripts import script

_log = logging.getLogger(__name__)

Argument = str | bytes | int


class Server:
    """The server, as the rest of the store sees it. Every call raises StoreUnavailableError."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client  # its commands are typed for str and bytes alike

    async def command(self, *words: Argument) -> Any:
        """Return the reply to one command."""
        try:
            return await self._client.execute_command(*words)
        except RedisError as error:
            raise _unavailable(str(words[0]), error) from error

    async def batch(self, *commands: Sequence[Argument]) -> list[Any]:
        """Return the replies to commands that are sent together; others may come between them."""
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for words in commands:
                    pipeline.execute_command(*words)
                replies: list[Any] = await pipeline.execute()
        except RedisError as error:
            raise _unavailable(str(commands[0][0]), error) from error
        return replies

    async def run(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Return the reply of the script `scripts/<name>.lua`."""
        called = script(name)
        try:
            try:
                return await self._client.execute_command(
                    "EVALSHA", called.digest, len(keys), *keys, *arguments
                )
            except NoScriptError:
                return await self._client.execute_command("EVAL", called.source, len(keys), *keys, *arguments)
        except RedisError as error:
            raise _unavailable(name, error) from error


def _unavailable(what: str, error: Exception) -> StoreUnavailableError:
    """Log the driver's text and return the error for the caller, which is without it."""
    _log.warning("the store failed in %s: %s: %s", what, type(error).__name__, error)
    return StoreUnavailableError(f"the store did not answer, or refused ({what})")

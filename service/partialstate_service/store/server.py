"""Speaking to the server: plain commands, batches of them, and scripts; the one place that sees the driver's errors."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
        with _driver(str(words[0])):
            return await self._client.execute_command(*words)

    async def batch(self, *commands: Sequence[Argument]) -> list[Any]:
        """Return the replies to commands that are sent together; others may come between them."""
        replies: list[Any] = []
        with _driver(str(commands[0][0])):
            async with self._client.pipeline(transaction=False) as pipeline:
                for words in commands:
                    pipeline.execute_command(*words)
                replies = await pipeline.execute()
        return replies

    async def run(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Return the reply of the script `scripts/<name>.lua`."""
        called = script(name)
        words = (len(keys), *keys, *arguments)
        with _driver(name):
            try:
                return await self._client.execute_command("EVALSHA", called.digest, *words)
            except NoScriptError:
                return await self._client.execute_command("EVAL", called.source, *words)


@contextmanager
def _driver(what: str) -> Iterator[None]:
    """Turn the driver's errors into ours, and keep a cancellation that it swallows.

    It awaits with `asyncio.wait_for`, which before Python 3.12 returns normally when the result and a cancellation come at
    the same time: a task that is being stopped would go on for ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        yield
    except RedisError as error:
        _log.warning("the store failed in %s: %s: %s", what, type(error).__name__, error)
        raise StoreUnavailableError(f"the store did not answer, or refused ({what})") from error
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError

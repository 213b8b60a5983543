"""The messages of a stream, read ahead of what is done with them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

_M = TypeVar("_M")


class Arrivals(Generic[_M]):
    """Reads a stream until *limit* messages wait; further ones are left on the connection until these are taken.

    In place of an `asyncio.Queue`, which gives them out one by one, and costs as much as half a decision each.
    """

    def __init__(self, stream: AsyncIterator[_M], limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._waiting: list[_M] = []
        self._ended = False
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._taken = asyncio.Event()

    async def read(self) -> None:
        """Read the stream to its end; what it raises, `take` raises."""
        try:
            async for message in self._stream:
                self._waiting.append(message)
                self._news.set()
                if len(self._waiting) >= self._limit:
                    self._taken.clear()
                    await self._taken.wait()
        except Exception as error:  # noqa: BLE001 - raised where it belongs, after what came before it
            self._error = error
        self._ended = True
        self._news.set()

    async def take(self) -> list[_M]:
        """Return all that wait, at least one; none once the stream has ended. Raises what ended it."""
        while not self._waiting and not self._ended:
            self._news.clear()
            await self._news.wait()
        if not self._waiting and self._error is not None:
            raise self._error
        taken, self._waiting = self._waiting, []
        self._taken.set()
        return taken

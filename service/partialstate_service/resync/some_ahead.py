"""Pieces of work in the background while their maker prepares the next; what they yield is taken in their order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

_T = TypeVar("_T")


class SomeAhead(Generic[_T]):
    """Runs up to *at_most* coroutines at a time, and hands each result to *take*. Use `some_ahead`."""

    def __init__(self, at_most: int, take: Callable[[_T], Awaitable[None]]) -> None:
        self._at_most = at_most
        self._take = take
        self._tasks: deque[asyncio.Task[_T]] = deque()

    async def begin(self, work: Coroutine[None, None, _T]) -> None:
        """Begin *work*; where as many are begun already, take the first one's result before, or raise its exception."""
        try:
            while len(self._tasks) >= self._at_most:
                await self._finish_first()
        except BaseException:
            work.close()
            raise
        self._tasks.append(asyncio.create_task(work))

    async def finish(self) -> None:
        """Take all results."""
        while self._tasks:
            await self._finish_first()

    async def give_up(self) -> None:
        """Cancel what is not finished, and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _finish_first(self) -> None:
        result = await self._tasks[0]
        self._tasks.popleft()
        await self._take(result)


@asynccontextmanager
async def some_ahead(at_most: int, take: Callable[[_T], Awaitable[None]]) -> AsyncIterator[SomeAhead[_T]]:
    """At the end of the block all results are taken; where it is left by an exception, what is left is given up."""
    background = SomeAhead(at_most, take)
    try:
        yield background
        await background.finish()
    finally:
        await background.give_up()

"""One piece of work in the background while its maker prepares the next."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager


class OneAhead:
    """Runs one coroutine at a time. Use `one_ahead`."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def begin(self, work: Coroutine[None, None, None]) -> None:
        """Wait until what was begun before is done, raise what it raised, and begin *work*."""
        try:
            await self.finish()
        except BaseException:
            work.close()
            raise
        self._task = asyncio.create_task(work)

    async def finish(self) -> None:
        """Wait until what was begun is done, and raise what it raised."""
        if self._task is not None:
            await self._task
            self._task = None

    async def give_up(self) -> None:
        """Cancel what was begun, and wait for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def one_ahead() -> AsyncIterator[OneAhead]:
    """At the end of the block all that was begun is done; where the block is left by an exception, given up."""
    background = OneAhead()
    try:
        yield background
        await background.finish()
    finally:
        await background.give_up()

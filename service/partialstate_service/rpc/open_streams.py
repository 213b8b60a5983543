"""The streams of answers that are open, which else would last as long as their clients like."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

_AT_A_TIME = 100
"""How many are looked at before other work gets its turn."""


@dataclass(slots=True, eq=False)
class _Stream:
    scope: asyncio.Timeout
    objection: Callable[[], Exception | None]
    why: Exception | None = None

    def end(self, why: Exception) -> None:
        if self.why is None:
            self.why = why
            self.scope.reschedule(asyncio.get_running_loop().time())


class OpenStreams:
    """The open streams, each of which can be ended with an error."""

    def __init__(self) -> None:
        self._open: set[_Stream] = set()

    @asynccontextmanager
    async def endable(self, objection: Callable[[], Exception | None]) -> AsyncIterator[None]:
        """Run a stream, which ends with what *objection* returns when it is asked; None: it may go on."""
        stream = None
        try:
            async with asyncio.timeout(None) as scope:
                stream = _Stream(scope, objection)
                self._open.add(stream)
                try:
                    yield
                finally:
                    self._open.discard(stream)
        except TimeoutError:
            if stream is not None and stream.why is not None:
                raise stream.why from None
            raise

    def end_all(self, why: Callable[[], Exception]) -> None:
        """End every stream."""
        for stream in self._open:
            stream.end(why())

    async def ask_all(self) -> None:
        """End the streams to which there is an objection now."""
        for number, stream in enumerate(tuple(self._open), 1):
            if (why := stream.objection()) is not None:
                stream.end(why)
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)

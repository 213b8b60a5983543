"""Those who watch the changes of the registry on one replica."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from partialstate_service.domain.errors import PartialStateError, ReaderTooSlowError
from partialstate_service.domain.ids import RoomId
from partialstate_service.store.protocol import Change


class Watcher:
    """One reader of the changes, with its queue."""

    def __init__(self, queue_limit: int) -> None:
        self._limit = queue_limit
        self._queue: deque[Change] = deque()
        self._error: PartialStateError | None = None
        self._woken = asyncio.Event()

    def offer(self, change: Change) -> None:
        """Queue a change, or end a reader that lags too far."""
        if len(self._queue) >= self._limit:
            self.end(ReaderTooSlowError(f"the reader lags more than {self._limit} changes"))
        elif self._error is None:
            self._queue.append(change)
            self._woken.set()

    def end(self, error: PartialStateError) -> None:
        """End the reader with an error; what is queued is not shown to it any more."""
        self._error = error
        self._queue.clear()
        self._woken.set()

    async def next(self, timeout_s: float) -> Change | None:
        """Return the next change, None after *timeout_s*, or raise the error that ended the reader.

        None means that the reader has been given all changes that anybody was told by now.
        """
        if not self._queue and self._error is None:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._woken.wait()
            except TimeoutError:
                # A change may have come since the time was over.
                if not self._queue and self._error is None:
                    return None
        self._woken.clear()
        if self._error is not None:
            raise self._error
        change = self._queue.popleft()
        if self._queue:
            self._woken.set()
        return change


class Signal:
    """Tells that something about a room has changed."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def set(self) -> None:
        """Say that the room has changed."""
        self._changed.set()

    async def wait(self, timeout_s: float) -> bool:
        """Return True once the room changed since the last wait, False after *timeout_s*."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True


class Watchers:
    """All readers of the changes, and all signals of rooms."""

    def __init__(self) -> None:
        self._watchers: dict[RoomId | None, set[Watcher]] = {}
        self._signals: dict[RoomId | None, set[Signal]] = {}

    def tell(self, change: Change) -> None:
        """Show a change to everybody whom it concerns."""
        if change.room_id is None:
            for watchers in self._watchers.values():
                for watcher in watchers:
                    watcher.offer(change)
            return
        for key in (change.room_id, None):
            for watcher in self._watchers.get(key, ()):
                watcher.offer(change)
            for signal in self._signals.get(key, ()):
                signal.set()

    def restart(self, error: PartialStateError) -> None:
        """End all readers: changes were missed. Whatever room one waits for may have changed."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.end(error)
        for signals in self._signals.values():
            for signal in signals:
                signal.set()

    @contextmanager
    def watching(self, room_id: RoomId | None, queue_limit: int) -> Iterator[Watcher]:
        """Yield a reader of all changes from now on, or of those that concern one room."""
        watcher = Watcher(queue_limit)
        self._watchers.setdefault(room_id, set()).add(watcher)
        try:
            yield watcher
        finally:
            watchers = self._watchers[room_id]
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[room_id]

    @contextmanager
    def waking(self, room_id: RoomId | None) -> Iterator[Signal]:
        """Yield a signal of one room, or, with None, of all."""
        signal = Signal()
        self._signals.setdefault(room_id, set()).add(signal)
        try:
            yield signal
        finally:
            signals = self._signals[room_id]
            signals.discard(signal)
            if not signals:
                del self._signals[room_id]

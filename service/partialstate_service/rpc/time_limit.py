"""A time limit that calls share: `asyncio.timeout` with one timer for all of them.

Most calls end long before, and a timer for each would cost a check as much as its decision.
"""

import asyncio
from types import TracebackType


class _Call:
    """One call, as a block; `asyncio.Timeout` does the same to its task."""

    __slots__ = ("_calls", "_cancelling", "_task", "due_s", "is_cut")

    def __init__(self, calls: "dict[_Call, None]", task: "asyncio.Task[object]", due_s: float) -> None:
        self._calls = calls
        self._task = task
        self._cancelling = task.cancelling()
        self.due_s = due_s
        self.is_cut = False

    def cut(self) -> None:
        self.is_cut = True
        self._task.cancel()

    def __enter__(self) -> None:
        self._calls[self] = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.pop(self, None)
        # Others may have cancelled the task as well: that must not be lost.
        if self.is_cut and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error


class TimeLimit:
    """Cuts what takes longer than the limit; what begins first is due first."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._calls: dict[_Call, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begun(self) -> _Call:
        """Return a block for this task to enter now; it raises TimeoutError if it is not left in time."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        call = _Call(self._calls, task, loop.time() + self._limit_s)
        if self._timer is None:
            self._timer = loop.call_at(call.due_s, self._cut)
        return call

    def _cut(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        while (first := next(iter(self._calls), None)) is not None and first.due_s <= now_s:
            del self._calls[first]
            first.cut()
        self._timer = None if first is None else loop.call_at(first.due_s, self._cut)

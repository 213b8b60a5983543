"""StreamCheck: many checks over one call."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from partialstate._calls.statuses import error_of
from partialstate._calls.true_status import TrueStatus, is_of_write
from partialstate._wire import checks as wire
from partialstate.checks import CheckRequest, Decision
from partialstate.errors import DeadlineExceededError, PartialStateError, ServiceDefectError, UnavailableError
from partialstate.v1 import check_service_pb2 as pb

if TYPE_CHECKING:  # generic in its stubs but not at run time
    _Call: TypeAlias = grpc.aio.StreamStreamCall[Any, Any]

_Waiting: TypeAlias = "asyncio.Future[Decision | PartialStateError]"


class CheckStream:
    """A stream of checks, for any number of tasks at once.

    A call that breaks fails the checks that wait on it; the next check begins a new one.
    """

    def __init__(self, start: "Callable[[], _Call]", deadline_s: float) -> None:
        """*start* begins a call; *deadline_s* is how long each check may take."""
        self._start = start
        self._deadline_s = deadline_s
        self._current: _Exchange | None = None
        self._closed = False

    async def check(self, request: CheckRequest) -> Decision:
        """Decide one request. Any `PartialStateError` means: no decision."""
        if self._closed:
            raise RuntimeError("the stream of checks is closed")
        message = pb.StreamCheckRequest(request=wire.request_message(request))
        if self._current is None or self._current.broken:
            self._current = _Exchange(self._start())
        try:
            async with asyncio.timeout(self._deadline_s):
                result = await self._current.ask(message)
        except TimeoutError:
            raise DeadlineExceededError(
                f"no decision within {self._deadline_s} s", status="DEADLINE_EXCEEDED"
            ) from None
        if isinstance(result, PartialStateError):
            raise result
        return result

    async def close(self) -> None:
        """End the stream; checks that wait fail."""
        self._closed = True
        if self._current is not None:
            await self._current.end()


class _Exchange:
    """One call: requests go out in order, and their answers come back in the same order."""

    def __init__(self, call: "_Call") -> None:
        self._call = call
        self._status = TrueStatus(call)
        self._waiting: deque[_Waiting] = deque()
        self._writing = asyncio.Lock()
        self._reader = asyncio.create_task(self._read())
        self.broken = False

    async def ask(self, message: pb.StreamCheckRequest) -> Decision | PartialStateError:
        """Send a request and wait for its answer."""
        waiting: _Waiting = asyncio.get_running_loop().create_future()
        async with self._writing:
            # Enqueued with the write and never taken back: an answer belongs to the request of its rank.
            self._waiting.append(waiting)
            try:
                await self._call.write(message)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._reader  # which has the status, and fails all that wait
            except asyncio.CancelledError:
                # Perhaps written, perhaps not: the ranks can no longer be trusted.
                self.broken = True
                self._call.cancel()
                raise
        return await waiting

    async def end(self) -> None:
        """End the call."""
        self.broken = True
        self._call.cancel()
        await self._reader

    async def _read(self) -> None:
        error: PartialStateError = UnavailableError("the stream of checks has ended", status="UNAVAILABLE")
        try:
            async for answer in self._call:
                if not self._waiting:
                    error = ServiceDefectError("the service answered a check that was not asked")
                    break
                waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_result(wire.result(answer.result))
        except grpc.aio.AioRpcError as failure:
            said = self._status.of(failure)
            if not is_of_write(said):
                error = error_of(said)
        except asyncio.CancelledError:
            pass  # the call was ended on our side
        finally:
            self.broken = True
            self._call.cancel()
            while self._waiting:
                waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_result(error)

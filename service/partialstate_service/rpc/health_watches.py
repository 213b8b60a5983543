"""How many streams of health there may be: whoever opens one is not asked who it is, so they have a limit of their own."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from partialstate_service.rpc.admission import host_of
from partialstate_service.rpc.grpc_types import Context
from partialstate_service.rpc.status import TooManyCallsError, failure_of


class HealthWatches:
    """The streams of one server, which leave room for its other calls."""

    def __init__(self, at_a_time: int, at_a_time_per_host: int) -> None:
        self._at_a_time = at_a_time
        self._at_a_time_per_host = at_a_time_per_host
        self._by_host: Counter[str] = Counter()

    @asynccontextmanager
    async def place(self, context: Context) -> AsyncIterator[None]:
        """Keep a place for a stream; without one, end the call."""
        host = host_of(context)
        if self._by_host[host] >= self._at_a_time_per_host:
            await _refuse(TooManyCallsError(self._at_a_time_per_host, "client"), context)
        if self._by_host.total() >= self._at_a_time:
            await _refuse(TooManyCallsError(self._at_a_time, "service"), context)
        self._by_host[host] += 1
        try:
            yield
        finally:
            self._by_host[host] -= 1
            if not self._by_host[host]:
                del self._by_host[host]


async def _refuse(error: TooManyCallsError, context: Context) -> None:
    failure = failure_of(error)
    assert failure is not None
    status = failure.rich_status()
    await context.abort(status.code, status.details, status.trailing_metadata)

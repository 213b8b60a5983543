"""The client: one object with all calls of the service."""

from partialstate._calls.checks import CheckCalls
from partialstate._calls.recovered_state import RecoveredStateCalls
from partialstate._calls.rooms import RoomsCalls
from partialstate._calls.watch import WatchCalls

DEFAULT_TARGET = "127.0.0.1:7790"
"""Where a service listens that was told nothing else."""


class PartialStateClient(RoomsCalls, CheckCalls, RecoveredStateCalls, WatchCalls):
    """A client of the partial-state service, for asyncio; one per process and event loop suffices.

        async with PartialStateClient("127.0.0.1:7790") as client:
            decision = await client.decide(CheckRequest(Endpoint.STATE_IDS, origin, room_id, (event_id,)))

    Every call has a deadline (`Deadlines`), is repeated while the service is unavailable (`RetryPolicy`; all calls are
    idempotent) and raises a `PartialStateError`.
    """

"""The read index: one read of the primary serves all who asked for it before it was issued."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from partialstate_service.domain.errors import (
    NotReconciledError,
    PartialStateError,
    StoreUnavailableError,
)
from partialstate_service.domain.ids import EventId, Revision, RoomId
from partialstate_service.domain.rooms import StateToken
from partialstate_service.store.keys import Keys
from partialstate_service.store.server import Server

# What one read may carry; Lua unpacks some thousands of values at most.
_ENTRIES = 1_000
_EVENT_IDS = 4_000
# A read costs as much as a third of a check, whoever shares it. So while several checks come at a time, a read waits
# until enough wait for it; or, so long after the last one, as many as for that one; but never longer than the most. The
# second is left out in a busy process, which has better things to do, and whose checks wait for the processor anyway. A
# lone check never waits.
_ENOUGH_READERS = 16
_BETWEEN_READS_S = 0.001
_MOST_BETWEEN_READS_S = 0.005
_BUSY = 0.3
"""How much of a processor a busy process uses at least."""
_CROWDED_READS = 8
"""For how many reads checks that came at the same time let others be expected to."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a read of the primary said: where the registry stands, and the entries from the replica's own on."""

    token: StateToken
    reconciled: bool
    schema: int
    """The format of the newest that the store holds; 0 for one that holds nothing."""
    entries: Sequence[tuple[bytes, list[bytes]]]
    rooms: Sequence[bytes | None]


class _Moment:
    """A moment of this process."""

    __slots__ = ("_cpu_s", "at_s")

    def __init__(self) -> None:
        self.at_s = asyncio.get_running_loop().time()
        self._cpu_s = time.process_time()

    def busy_since(self) -> bool:
        """Return whether the process has been busy since then."""
        passed_s = asyncio.get_running_loop().time() - self.at_s
        return time.process_time() - self._cpu_s > _BUSY * passed_s


@dataclass(slots=True)
class _Batch:
    """Those who wait for the same read, each for *timeout_s* at most: the first of them begins it."""

    timeout_s: float
    readers: "list[asyncio.Future[Mapping[EventId, RoomId]]]" = field(default_factory=list)
    event_ids: list[EventId] = field(default_factory=list)
    _goal: int = 0
    _reached: "asyncio.Future[None] | None" = None
    _limit: asyncio.TimerHandle | None = None

    def add(self, reader: "asyncio.Future[Mapping[EventId, RoomId]]") -> None:
        """Let one more wait."""
        self.readers.append(reader)
        if self._limit is None:
            # One timer for all: whoever comes later to a store that is silent need not wait as long.
            self._limit = asyncio.get_running_loop().call_later(self.timeout_s, self._give_up)
        self._look()

    async def gathered(self, expected: int, last: _Moment) -> None:
        """Return once as many wait as the *last* read, which *expected* ones had waited for, lets be waited for."""
        loop = asyncio.get_running_loop()
        self._goal, self._reached = _ENOUGH_READERS, loop.create_future()
        self._look()
        timers = (
            loop.call_at(last.at_s + _BETWEEN_READS_S, self._expect_unless_busy, expected, last),
            loop.call_at(last.at_s + _MOST_BETWEEN_READS_S, self._expect, 0),
        )
        try:
            await self._reached
        finally:
            for timer in timers:
                timer.cancel()

    def _expect_unless_busy(self, count: int, since: _Moment) -> None:
        if not since.busy_since():
            self._expect(count)

    def _expect(self, count: int) -> None:
        self._goal = count
        self._look()

    def _look(self) -> None:
        if self._reached is not None and not self._reached.done() and len(self.readers) >= self._goal:
            self._reached.set_result(None)

    def _give_up(self) -> None:
        """Let those who wait fail; a read that is under way goes on, since it may be long work that others need too."""
        self.fail(StoreUnavailableError("the store did not answer in time"))
        self.readers.clear()

    def _end_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def succeed(self, rooms: Mapping[EventId, RoomId]) -> None:
        """Hand the rooms of events to all who still wait."""
        self._end_limit()
        for reader in self.readers:
            if not reader.done():
                reader.set_result(rooms)

    def fail(self, error: Exception) -> None:
        """Let all who still wait fail."""
        self._end_limit()
        for reader in self.readers:
            if not reader.done():
                reader.set_exception(error)

    def cancel(self) -> None:
        """Cancel all who still wait."""
        self._end_limit()
        for reader in self.readers:
            reader.cancel()


class ReadIndex:
    """Reads where the registry stands: at most one read in flight, and one batch that waits for the next.

    A caller never joins a read in flight: that one may have been answered before the caller's predecessor committed.
    """

    def __init__(
        self,
        server: Server,
        keys: Keys,
        follow: Callable[[Reading], Awaitable[bool]],
        position: Callable[[], Revision],
        timeout_s: float,
    ) -> None:
        """*follow* brings the replica to a reading, or returns False if it needs another one.

        *timeout_s* limits how long a caller waits, for reads before its own as well.
        """
        self._server = server
        self._keys = [keys.of("meta"), keys.of("log"), keys.of("event_rooms")]
        self._follow = follow
        self._position = position
        self._timeout_s = timeout_s
        self._waiting: _Batch | None = None
        self._wanted = asyncio.Event()
        self._issued: _Moment | None = None
        """When the last read was issued."""
        self.current_as_of_s = float("-inf")
        """The monotonic time at which the replica was known to be current."""

    async def read(self, event_ids: Sequence[EventId]) -> Mapping[EventId, RoomId]:
        """Return once the replica holds all that was committed before the call, with the known rooms of events.

        Raises NotReconciledError and StoreUnavailableError.
        """
        if self._waiting is None:
            self._waiting = _Batch(self._timeout_s)
            self._wanted.set()
        reader: asyncio.Future[Mapping[EventId, RoomId]] = asyncio.get_running_loop().create_future()
        self._waiting.add(reader)
        if not event_ids:
            await reader
            return {}
        self._waiting.event_ids.extend(event_ids)
        rooms = await reader
        return {event_id: rooms[event_id] for event_id in event_ids if event_id in rooms} if rooms else {}

    async def run(self) -> None:
        """Serve the readers, until cancelled."""
        batch = _Batch(self._timeout_s)
        crowded = 0
        try:
            while True:
                await self._wanted.wait()
                assert self._waiting is not None
                crowded = _CROWDED_READS if len(batch.readers) > 1 else crowded - 1
                if crowded > 0 and self._issued is not None:
                    await self._waiting.gathered(len(batch.readers), self._issued)
                self._wanted.clear()
                batch, self._waiting = self._waiting, None
                try:
                    batch.succeed(await self._read(batch.event_ids))
                except PartialStateError as error:
                    batch.fail(error)
        finally:
            batch.cancel()
            if self._waiting is not None:
                self._waiting.cancel()

    async def _read(self, event_ids: Sequence[EventId]) -> Mapping[EventId, RoomId]:
        issued_s, self._issued = time.monotonic(), _Moment()
        rooms: dict[EventId, RoomId] = {}
        reading = await self._issue(event_ids[:_EVENT_IDS])
        for first in range(0, len(event_ids), _EVENT_IDS):
            asked = event_ids[first : first + _EVENT_IDS]
            if first:
                reading = await self._issue(asked)
            rooms |= {
                event_id: RoomId(room.decode())
                for event_id, room in zip(asked, reading.rooms, strict=True)
                if room is not None
            }
        while not await self._follow(reading):
            reading = await self._issue(())
        self.current_as_of_s = issued_s
        if not reading.reconciled:
            raise NotReconciledError("the store is fresh or has lost writes: call ReconcileRooms first")
        return rooms

    async def _issue(self, event_ids: Sequence[EventId]) -> Reading:
        store_id, revision, chain, reconciled, schema, entries, rooms = await self._server.run(
            "read_index", self._keys, [self._position(), _ENTRIES, *event_ids]
        )
        token = StateToken(store_id.decode(), Revision(int(revision)), chain.decode())
        return Reading(token, reconciled == b"1", int(schema), entries, rooms)

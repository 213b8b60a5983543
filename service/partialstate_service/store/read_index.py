"""The read index: one read of the primary serves all who asked for it before it was issued."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from partialstate_service.domain.errors import NotReconciledError, PartialStateError
from partialstate_service.domain.ids import EventId, Revision, RoomId
from partialstate_service.domain.rooms import StateToken
from partialstate_service.store.keys import Keys
from partialstate_service.store.server import Server

# What one read may carry; Lua unpacks some thousands of values at most.
_ENTRIES = 1_000
_EVENT_IDS = 4_000
# A read costs about as much CPU as two checks.
_INTERVAL_S = 0.0005


@dataclass(frozen=True, slots=True)
class Reading:
    """What a read of the primary said: where the registry stands, and the entries from the replica's own on."""

    token: StateToken
    reconciled: bool
    entries: Sequence[tuple[bytes, list[bytes]]]
    rooms: Sequence[bytes | None]


@dataclass(slots=True)
class _Batch:
    """Those who wait for the same read."""

    done: "asyncio.Future[Mapping[EventId, RoomId]]"
    event_ids: list[EventId] = field(default_factory=list)


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
    ) -> None:
        """*follow* brings the replica to a reading, or returns False if it needs another one."""
        self._server = server
        self._keys = [keys.of("meta"), keys.of("log"), keys.of("event_rooms")]
        self._follow = follow
        self._position = position
        self._waiting: _Batch | None = None
        self._wanted = asyncio.Event()
        self.current_as_of_s = float("-inf")
        """The monotonic time at which the replica was known to be current."""

    async def read(self, event_ids: Sequence[EventId]) -> Mapping[EventId, RoomId]:
        """Return once the replica holds all that was committed before the call, with the known rooms of events.

        Raises NotReconciledError and StoreUnavailableError.
        """
        if self._waiting is None:
            self._waiting = _Batch(asyncio.get_running_loop().create_future())
            self._wanted.set()
        batch = self._waiting
        batch.event_ids.extend(event_ids)
        rooms = await asyncio.shield(batch.done)
        return {event_id: rooms[event_id] for event_id in event_ids if event_id in rooms}

    async def run(self) -> None:
        """Serve the readers, until cancelled."""
        issued_s = float("-inf")
        while True:
            await self._wanted.wait()
            # Under load, reads that are a moment apart serve many callers each; a lone caller never waits.
            if (rest_s := issued_s + _INTERVAL_S - time.monotonic()) > 0:
                await asyncio.sleep(rest_s)
            issued_s = time.monotonic()
            self._wanted.clear()
            batch, self._waiting = self._waiting, None
            assert batch is not None
            try:
                batch.done.set_result(await self._read(batch.event_ids))
            except PartialStateError as error:
                batch.done.set_exception(error)
                batch.done.exception()  # those who waited may all be gone
            except asyncio.CancelledError:
                batch.done.cancel()
                raise

    async def _read(self, event_ids: Sequence[EventId]) -> Mapping[EventId, RoomId]:
        issued_s = time.monotonic()
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
        store_id, revision, chain, reconciled, entries, rooms = await self._server.run(
            "read_index", self._keys, [self._position(), _ENTRIES, *event_ids]
        )
        token = StateToken(store_id.decode(), Revision(int(revision)), chain.decode())
        return Reading(token, reconciled == b"1", entries, rooms)

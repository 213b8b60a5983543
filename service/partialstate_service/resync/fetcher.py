"""Fetches the events of a state from the room's servers, verifies them, and holds them.

Little missing: `/event`, spread over the servers that answer. Much missing: one streamed `/state` (Synapse's
threshold: a tenth). What is held already is never fetched.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.federation.protocol import ResidentServers, StateIds
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.resync.held import HeldEvents
from partialstate_service.resync.sources import Sources
from partialstate_service.resync.verifier import Verification, Verifier

_BATCH_EVENTS = 500
_BATCH_BYTES = 4 * 1024 * 1024
_CONCURRENT_EVENT_REQUESTS = 5
_SERVERS_PER_EVENT = 3
_NOTARIES = 3
"""How many of the room's servers are asked for keys that nobody else has."""


@dataclass(slots=True)
class Unverifiable:
    """Events that were fetched and could not be verified."""

    key_unknown: dict[EventId, Event] = field(default_factory=dict)
    badly_signed: dict[EventId, Event] = field(default_factory=dict)

    def ids(self) -> set[EventId]:
        """Return the ids of all of them."""
        return {*self.key_unknown, *self.badly_signed}

    def note(self, result: Verification, asked_for: set[EventId]) -> None:
        """Note what of *result* was asked for: the latest copy of an event counts."""
        for event in result.valid:
            self.key_unknown.pop(event.event_id, None)
            self.badly_signed.pop(event.event_id, None)
        for found, noted in (
            (result.key_unknown, self.key_unknown),
            (result.badly_signed, self.badly_signed),
        ):
            for event_id, event in found.items():
                if event_id in asked_for:
                    noted[event_id] = event


class Fetcher:
    """Fetches for one room. *on_progress* is told (fetched, verified) as the numbers grow."""

    def __init__(
        self,
        *,
        room_id: RoomId,
        version: RoomVersion,
        servers: ResidentServers,
        sources: Sources,
        verifier: Verifier,
        held: HeldEvents,
        on_progress: Callable[[int, int], object],
    ) -> None:
        self._room_id = room_id
        self._version = version
        self._servers = servers
        self._sources = sources
        self._verifier = verifier
        self._held = held
        self._on_progress = on_progress
        self.unverifiable = Unverifiable()
        self.fetched = 0
        self.verified = 0

    async def state_ids(self, server: ServerName, event_id: EventId) -> StateIds:
        """Return what *server* says the state before *event_id* is."""
        return await self._servers.state_ids(server, self._room_id, event_id)

    async def fetch_missing(self, server: ServerName, ids: StateIds, after: EventId) -> set[EventId]:
        """Fetch what is not held of *ids* and of *after*; return what could not be had.

        Raises `FederationError` of *server* if it fails at what it alone can give.
        """
        everything = {*ids.pdu_ids, *ids.auth_chain_ids, after}
        self.unverifiable = Unverifiable()
        missing = self._missing(everything)
        if len(missing) * 10 >= len(everything):
            await self._fetch_state(server, after, missing)
            missing = self._missing(everything)
        await self.fetch_events(missing, self._servers_for_event(server))
        # Anybody can spoil the signatures of a good event: what does not verify counts only once others sent it too.
        doubtful = self.unverifiable.ids() & everything
        await self.fetch_events(doubtful, self._servers_for_event(None, without=server))
        return self._missing(everything)

    async def fetch_events(
        self, wanted: Iterable[EventId], servers: Sequence[ServerName] | None = None
    ) -> None:
        """Fetch single events, each from the first of *servers* that gives it (the best three, unless given).

        Those that nobody gives stay missing.
        """
        asked = self._servers_for_event(None) if servers is None else servers
        gate = asyncio.Semaphore(_CONCURRENT_EVENT_REQUESTS)
        batch: list[bytes] = []

        async def fetch(event_id: EventId) -> None:
            async with gate:
                body = await self._event(event_id, asked)
            if body is not None:
                batch.append(body)
                if len(batch) >= _BATCH_EVENTS:
                    await self._verify_batch(batch, asked_for)

        asked_for = set(wanted)
        pending = sorted(asked_for)
        for start in range(0, len(pending), _BATCH_EVENTS):
            async with asyncio.TaskGroup() as group:
                for event_id in pending[start : start + _BATCH_EVENTS]:
                    group.create_task(fetch(event_id))
            await self._verify_batch(batch, asked_for)
        await self._held.flush()

    def _missing(self, wanted: Iterable[EventId]) -> set[EventId]:
        unverifiable = self.unverifiable.ids()
        return {
            event_id for event_id in wanted if event_id not in self._held and event_id not in unverifiable
        }

    async def _event(self, event_id: EventId, servers: Sequence[ServerName]) -> bytes | None:
        for server in servers:
            try:
                body = await self._servers.event(server, event_id)
            except FederationError as error:
                # One event that a server lacks says nothing about its snapshots.
                if error.outcome is not Outcome.NOT_FOUND:
                    self._sources.failed(error)
                continue
            return body
        return None

    def _servers_for_event(
        self, preferred: ServerName | None, without: ServerName | None = None
    ) -> Sequence[ServerName]:
        first = [] if preferred is None else [preferred]
        excluded = [server for server in (preferred, without) if server is not None]
        return [*first, *self._sources.available(without=excluded)][:_SERVERS_PER_EVENT]

    async def _fetch_state(self, server: ServerName, after: EventId, missing: set[EventId]) -> None:
        """Stream `/state` of *server* and hold those of *missing* that it brings and that verify."""
        batch: list[bytes] = []
        size = 0
        async with aclosing(self._servers.state(server, self._room_id, after)) as elements:
            async for element in elements:
                batch.append(element.body)
                size += len(element.body)
                if len(batch) >= _BATCH_EVENTS or size >= _BATCH_BYTES:
                    await self._verify_batch(batch, missing)
                    size = 0
        await self._verify_batch(batch, missing)
        await self._held.flush()

    async def _verify_batch(self, batch: list[bytes], asked_for: set[EventId]) -> None:
        """Verify and hold *batch*, and empty it. Events that nobody asked for are not held."""
        bodies = batch[:]
        batch.clear()
        if not bodies:
            return
        self.fetched += len(bodies)
        notaries = self._sources.available()[:_NOTARIES]
        result = await self._verifier.verify(bodies, self._version, self._room_id, notaries)
        valid = [event for event in result.valid if event.event_id in asked_for]
        self.verified += len(valid)
        self.unverifiable.note(result, asked_for)
        await self._held.add_verified(valid)
        self._on_progress(self.fetched, self.verified)

"""Fetches the events of a state from the room's servers, verifies them, and holds them.

Little missing: `/event`, spread over the servers that answer. Much missing: one streamed `/state` (from a tenth on, as
Synapse does). What is held already is never fetched.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.federation.outcomes import FederationError, Outcome
from partialstate_service.federation.protocol import ResidentServers, StateElement, StateIds
from partialstate_service.matrix.event_format import MAX_AUTH_EVENTS
from partialstate_service.matrix.room_versions import EventIdFormat, RoomVersion
from partialstate_service.resync.doubtful import Doubtful
from partialstate_service.resync.event_requests import EventRequests
from partialstate_service.resync.held import HeldEvents
from partialstate_service.resync.keyless_copies import KeylessCopies
from partialstate_service.resync.some_ahead import some_ahead
from partialstate_service.resync.sources import Sources
from partialstate_service.resync.verifier import CHUNK_EVENTS, Verification, Verifier
from partialstate_service.resync.wanted_keys import WantedKeys

_REQUESTED_EVENTS = 500
"""How many single events are asked for before any is verified."""
_CHUNK_BYTES = 1024 * 1024
"""How much of a `/state` is verified at a time; or `CHUNK_EVENTS`."""
_SERVERS_PER_EVENT = 5
"""Over how many servers single events are spread."""
_ANSWERS_IN_DOUBT = 5
_SERVERS_IN_DOUBT = 20
"""How many other servers must have answered, and at most are asked, for what one sent in bad form."""
_STATE_PAYS_FROM_ONE_IN = 10
"""A `/state` is fetched when at least this share of it is missing.

Measured (`resync.route` of `make bench`): by `/event` an event costs us 0.4 ms of CPU, within a `/state` 5 µs, and 0.1 ms to
verify on either route, held or not. So `/state` would cost us less from one in four or five on; it also takes one round trip
and not thousands, and against it speaks only what it costs the server.
"""
_NOTARIES = 12
"""How many of the room's servers are asked for keys that nobody else has."""


class Fetcher:
    """Fetches for one room. *on_progress* is told (fetched here, verified and held) as the numbers grow."""

    def __init__(
        self,
        *,
        room_id: RoomId,
        version: RoomVersion,
        servers: ResidentServers,
        sources: Sources,
        verifier: Verifier,
        held: HeldEvents,
        keyless: KeylessCopies,
        on_progress: Callable[[int, int], object],
    ) -> None:
        self._room_id = room_id
        self._version = version
        self._servers = servers
        self._sources = sources
        self._verifier = verifier
        self._held = held
        self._keyless = keyless
        # Of what copies are used that were fetched for an earlier state or attempt.
        self._reused: AbstractSet[EventId] = frozenset()
        self._on_progress = on_progress
        self.doubtful = Doubtful(room_id, version, held.__contains__)
        self.unknown: AbstractSet[EventId] = frozenset()
        """Of what was missing last: events of which everybody who was asked said to know nothing."""
        self._fetched = 0

    async def state_ids(self, server: ServerName, event_id: EventId) -> StateIds:
        """Return what *server* says the state before *event_id* is."""
        return await self._servers.state_ids(server, self._room_id, event_id, self._held.events.own_id)

    async def fetch_missing(self, server: ServerName, ids: StateIds, after: EventId) -> AbstractSet[EventId]:
        """Fetch what is not held of *ids* and of *after*; return what could not be had and is not doubtful either.

        Raises `FederationError` of *server* if it fails at what it alone can give.
        """
        everything = {*ids.pdu_ids, *ids.auth_chain_ids, after}
        self.doubtful = Doubtful(self._room_id, self._version, self._held.__contains__)
        await self._reuse(await asyncio.to_thread(self._missing, everything))
        missing = await asyncio.to_thread(self._missing, everything)
        if _is_much(missing, everything):
            await self._fetch_state(server, after, missing, named=len(everything))
            missing = await asyncio.to_thread(self._missing, everything)
            if _is_much(missing, everything):
                text = f"/state lacks {len(missing)} of the {len(everything)} events that /state_ids names"
                raise FederationError(Outcome.INVALID, server, text=text)
        self.unknown = await self._fetch_events(missing, self._servers_for_event(server))
        await self._dispel_doubts(server, after, everything)
        return (await asyncio.to_thread(self._missing, everything)).keys()

    async def _reuse(self, missing: Mapping[EventId, EventId]) -> None:
        """Look whether there are keys by now for copies that were fetched before."""
        copies = self._keyless.of(self._room_id, missing)
        bodies = list(copies.values())
        for start in range(0, len(bodies), _REQUESTED_EVENTS):
            result = await self._verified(bodies[start : start + _REQUESTED_EVENTS], missing)
            # What proves to be spoilt was sent by nobody knows whom, and is fetched anew.
            await self._hold(result, missing, lambda _: None)
        await self._held.flush()
        self._reused = copies.keys() & self.doubtful.key_unknown.keys()

    async def fetch_events(
        self, wanted: Iterable[EventId], *, at_most: int = _SERVERS_PER_EVENT
    ) -> AbstractSet[EventId]:
        """Fetch single events, each from the first of *at_most* servers that gives it.

        Those that nobody gives stay missing; those are returned of which every server that was asked knows nothing.
        """
        wanted = set(wanted)
        unknown = await self._fetch_events(wanted, self._servers_for_event(None, at_most=at_most))
        await self.settle_altered(wanted)
        return unknown

    async def _dispel_doubts(self, server: ServerName, after: EventId, wanted: set[EventId]) -> None:
        """Ask others for what *server* sent in a form that anybody can make of a good event.

        Signatures can be broken and content can be changed without changing an event's id, and events can be made up in
        the name of servers that never were; what does not verify counts only once others have sent it too.
        """
        doubtful = _same((self.doubtful.ids() & wanted) - self._reused)
        answers = 0
        for other in self._servers_for_event(None, without=server, at_most=_SERVERS_IN_DOUBT):
            if not doubtful or answers == _ANSWERS_IN_DOUBT:
                break
            if _is_much(doubtful, wanted):
                try:
                    await self._fetch_state(other, after, doubtful, named=len(wanted))
                except FederationError as error:
                    self._sources.failed(error)
            else:
                await self._fetch_events(doubtful, [other])
            answers += self._has_answered(other, doubtful)
            doubtful = _same((self.doubtful.spoilt() | self.doubtful.lone()) & wanted)
        lone = self.doubtful.lone()
        self._keyless.forget(self._room_id, lone)
        await self.settle_altered(wanted - lone)

    def _has_answered(self, server: ServerName, doubtful: Iterable[EventId]) -> bool:
        return any(e in self._held or self.doubtful.is_sent_by(e, server) for e in doubtful)

    async def settle_altered(self, wanted: AbstractSet[EventId]) -> None:
        """Hold the redacted copies of *wanted* events, which nobody has unaltered."""
        await self._held.add_verified(self.doubtful.take_altered(wanted))
        await self._held.flush()

    async def _fetch_events(
        self, wanted: Iterable[EventId], servers: Sequence[ServerName]
    ) -> AbstractSet[EventId]:
        """Ask *servers* for *wanted* until each event is held or doubtful, or all were asked for it.

        Returns those that nobody who was asked knows.
        """
        wanted = _same(wanted)
        requests = EventRequests(self._servers, self._sources, wanted.keys(), servers)
        left = requests.askable(wanted)
        while left:
            batch = left[:_REQUESTED_EVENTS]
            bodies = await requests.bodies(batch)
            self._fetched += len(bodies)
            await self._hold(await self._verified(bodies, wanted), wanted, requests.sent_by)
            # Another server may have in good form what came in bad form or not at all; a key is seldom what differs.
            again = (e for e in batch if e not in self._held and e not in self.doubtful.key_unknown)
            left = requests.askable(again) + left[_REQUESTED_EVENTS:]
        await self._held.flush()
        return requests.unknown()

    def _missing(self, wanted: Iterable[EventId]) -> dict[EventId, EventId]:
        doubtful = self.doubtful.ids()
        return _same(
            event_id for event_id in wanted if event_id not in self._held and event_id not in doubtful
        )

    def _servers_for_event(
        self,
        preferred: ServerName | None,
        without: ServerName | None = None,
        at_most: int = _SERVERS_PER_EVENT,
    ) -> Sequence[ServerName]:
        first = [] if preferred is None else [preferred]
        excluded = [server for server in (preferred, without) if server is not None]
        return [*first, *self._sources.available(without=excluded, at_most=at_most)][:at_most]

    async def _fetch_state(
        self, server: ServerName, after: EventId, missing: Mapping[EventId, EventId], *, named: int
    ) -> None:
        """Stream `/state` of *server* and hold those of *missing* that it brings and that verify.

        An answer of many more events than the *named* ones is given up: it might never end.
        """
        count = 0
        piece = self._new_piece()

        async def hold(result: Verification) -> None:
            await self._hold(result, missing, lambda _: server)

        async with (
            aclosing(self._servers.state(server, self._room_id, after)) as arrivals,
            some_ahead(self._verifier.at_once, hold) as verifying,
        ):
            async for elements in arrivals:
                count += len(elements)
                self._fetched += len(elements)
                if count > 2 * named + _REQUESTED_EVENTS:
                    text = f"/state has many more events than the {named} that are needed"
                    raise FederationError(Outcome.INVALID, server, text=text)
                for element in elements:
                    piece.add(element)
                    if len(piece.bodies) >= CHUNK_EVENTS or piece.size >= _CHUNK_BYTES:
                        await verifying.begin(self._verified_piece(piece, missing))
                        piece = self._new_piece()
            await verifying.begin(self._verified_piece(piece, missing))
        await self._held.flush()

    async def _verified(self, bodies: Sequence[bytes], asked_for: Mapping[EventId, EventId]) -> Verification:
        """Verify *bodies*; each event that was asked for is known by that id."""
        notaries = self._sources.available(at_most=_NOTARIES)
        return await self._verifier.verify(
            bodies, self._version, self._room_id, notaries, asked_for=asked_for
        )

    def _new_piece(self) -> "_Piece":
        return _Piece(WantedKeys(ids_have_servers=self._version.event_ids is EventIdFormat.GIVEN))

    async def _verified_piece(self, piece: "_Piece", asked_for: Mapping[EventId, EventId]) -> Verification:
        """As `_verified`, with what was noted of the events while they arrived."""
        notaries = self._sources.available(at_most=_NOTARIES)
        return await self._verifier.verify(
            piece.bodies,
            self._version,
            self._room_id,
            notaries,
            asked_for=asked_for,
            wanted=piece.wanted,
            auth_events=self._held.packed(piece.cited),
        )

    async def _hold(
        self,
        result: Verification,
        asked_for: Mapping[EventId, EventId],
        sent_by: Callable[[EventId], ServerName | None],
    ) -> None:
        """Hold what is beyond doubt. Events that nobody asked for are not held."""
        intact = self.doubtful.note(result, asked_for, sent_by)
        await self._held.add_verified(intact)
        for event in result.key_unknown:
            if event.event_id in self.doubtful.key_unknown:
                self._keyless.keep(self._room_id, event.event_id, event.json)
        self._on_progress(self._fetched, self._held.verified)


@dataclass(slots=True)
class _Piece:
    """The part of a `/state` that is to be verified next."""

    wanted: WantedKeys
    bodies: list[bytes] = field(default_factory=list)
    size: int = 0
    cited: set[EventId] = field(default_factory=set)
    """What its events claim as auth events, read without care: anything that a dict can be asked for."""

    def add(self, element: StateElement) -> None:
        """Take a further event."""
        self.bodies.append(element.body)
        self.size += len(element.body)
        self.wanted.note(element.fields)
        auth_event_ids = element.fields.get("auth_events")
        if type(auth_event_ids) is list and len(auth_event_ids) <= MAX_AUTH_EVENTS:
            # In versions 1 and 2 they are lists; such events are authorised later.
            with suppress(TypeError):
                self.cited.update(auth_event_ids)


def _same(event_ids: Iterable[EventId]) -> dict[EventId, EventId]:
    """Return a dict by which an id's equal is replaced by the id, so that there need not be two in memory."""
    return {event_id: event_id for event_id in event_ids}


def _is_much(part: Collection[EventId], whole: Collection[EventId]) -> bool:
    """Say whether one large answer costs less than an answer for each."""
    return len(part) * _STATE_PAYS_FROM_ONE_IN >= len(whole)

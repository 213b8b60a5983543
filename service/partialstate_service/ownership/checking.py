"""Check: gathers the facts that a decision needs, as fresh as asked for, and decides."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeAlias

from partialstate_service.domain.checks import (
    CheckRequest,
    Decision,
    Facts,
    InvalidCheckError,
    RoomView,
    UnableSpelling,
)
from partialstate_service.domain.decisions import Needs, decide_valid, needs, validate
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.domain.rooms import StateToken
from partialstate_service.ownership.refusals import require_at_most
from partialstate_service.ownership.room_views import RoomViews
from partialstate_service.store.protocol import Ledger, Mirror, Registry

MAX_BATCH = 1000
_LEDGER_READS_IN_FLIGHT = 16


@dataclass(frozen=True, slots=True)
class FullyConsistent:
    """Decide on all that was committed before the check arrived."""


@dataclass(frozen=True, slots=True)
class AtLeastAsFresh:
    """Decide on this point of history or a later one."""

    token: StateToken


@dataclass(frozen=True, slots=True)
class BoundedStaleness:
    """Decide on a registry that was known to be current at most this long ago."""

    max_age_s: float


Freshness: TypeAlias = FullyConsistent | AtLeastAsFresh | BoundedStaleness
_SentKey: TypeAlias = tuple[RoomId, ServerName]


class Checking:
    """Decides requests on the mirror and the ledger; reads only what `domain.decisions.needs` names."""

    def __init__(
        self,
        *,
        registry: Registry,
        mirror: Mirror,
        ledger: Ledger,
        spelling: UnableSpelling,
        freshness_timeout_s: float,
    ) -> None:
        self._registry = registry
        self._mirror = mirror
        self._ledger = ledger
        self._spelling = spelling
        self._freshness_timeout_s = freshness_timeout_s
        self._views = RoomViews()

    async def check(self, request: CheckRequest, freshness: Freshness) -> tuple[Decision, StateToken]:
        """Decide one request; raises `InvalidCheckError`, and the store's errors: then there is no decision."""
        validate(request)
        need = needs(request)
        event_rooms = await self._be_fresh((need,), freshness)
        # From here to the token nothing is awaited: rooms and token are of one point in time.
        rooms = self._views_of(need.rooms)
        token = self._mirror.token
        sent: AbstractSet[EventId] = frozenset()
        if need.sent and request.room_id in rooms:
            sent = await self._ledger.sent_to(request.room_id, need.sent, request.origin)
        return decide_valid(
            request, Facts(rooms=rooms, event_rooms=event_rooms, sent=sent), self._spelling
        ), token

    async def check_all(
        self, requests: Sequence[CheckRequest], freshness: Freshness
    ) -> tuple[Sequence[Decision | InvalidCheckError], StateToken]:
        """Decide many requests on one registry; an invalid one gets its error and spoils no other."""
        require_at_most(MAX_BATCH, len(requests), "requests")
        invalid = [_flaw(request) for request in requests]
        wanted = [
            needs(request) if flaw is None else _NOTHING
            for request, flaw in zip(requests, invalid, strict=True)
        ]
        event_rooms = await self._be_fresh(wanted, freshness)
        # From here to the token nothing is awaited: rooms and token are of one point in time.
        views = [self._views_of(need.rooms) for need in wanted]
        token = self._mirror.token
        sent = await self._sent(requests, wanted, views)
        return [
            flaw
            or decide_valid(
                request,
                Facts(
                    rooms=rooms,
                    event_rooms=event_rooms,
                    sent=sent.get((request.room_id, request.origin), frozenset())
                    if request.room_id is not None
                    else frozenset(),
                ),
                self._spelling,
            )
            for request, flaw, rooms in zip(requests, invalid, views, strict=True)
        ], token

    async def _be_fresh(self, wanted: Sequence[Needs], freshness: Freshness) -> Mapping[EventId, RoomId]:
        """Return once the mirror is as fresh as asked for, with the known rooms of the events that matter."""
        if not any(need.rooms for need in wanted):
            return {}
        events = tuple(dict.fromkeys(event for need in wanted for event in need.event_rooms))
        match freshness:
            case FullyConsistent():
                return await self._mirror.fully_consistent(events)
            case AtLeastAsFresh(token):
                await self._mirror.at_least(token, self._freshness_timeout_s)
            case BoundedStaleness(max_age_s):
                await self._mirror.at_most_stale(max_age_s)
        return await self._registry.known_event_rooms(events) if events else {}

    def _views_of(self, rooms: Sequence[RoomId]) -> dict[RoomId, RoomView]:
        held = self._mirror.rooms
        return {room_id: self._views.view(room) for room_id in rooms if (room := held.get(room_id))}

    async def _sent(
        self,
        requests: Sequence[CheckRequest],
        wanted: Sequence[Needs],
        views: Sequence[Mapping[RoomId, RoomView]],
    ) -> Mapping[_SentKey, AbstractSet[EventId]]:
        """Return what the ledger says was sent, per room and origin; read only for rooms that are partial."""
        events: defaultdict[_SentKey, set[EventId]] = defaultdict(set)
        for request, need, rooms in zip(requests, wanted, views, strict=True):
            if request.room_id is not None and need.sent and request.room_id in rooms:
                events[request.room_id, request.origin].update(need.sent)
        if not events:
            return {}
        if len(events) == 1:  # nearly every check: no task is worth its while
            [((room, origin), ids)] = events.items()
            return {(room, origin): await self._ledger.sent_to(room, tuple(ids), origin)}
        return await self._sent_many(events)

    async def _sent_many(
        self, events: Mapping[_SentKey, AbstractSet[EventId]]
    ) -> Mapping[_SentKey, AbstractSet[EventId]]:
        slots = asyncio.Semaphore(_LEDGER_READS_IN_FLIGHT)

        async def read(key: _SentKey, ids: AbstractSet[EventId]) -> AbstractSet[EventId]:
            async with slots:
                return await self._ledger.sent_to(key[0], tuple(ids), key[1])

        try:
            async with asyncio.TaskGroup() as group:
                reads = {key: group.create_task(read(key, ids)) for key, ids in events.items()}
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return {key: task.result() for key, task in reads.items()}


_NOTHING = Needs(rooms=(), event_rooms=(), sent=())


def _flaw(request: CheckRequest) -> InvalidCheckError | None:
    try:
        validate(request)
    except InvalidCheckError as error:
        return error
    return None

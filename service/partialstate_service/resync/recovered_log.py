"""Writes the recovered-state log of one generation: first the events, then states, verdicts and the current state."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.matrix.event import StateMap
from partialstate_service.matrix.replay import Replay, Replayed
from partialstate_service.matrix.shared_state import differing_keys
from partialstate_service.resync.event_ids import EventIds
from partialstate_service.resync.held import HeldEvents
from partialstate_service.resync.joined_servers import JoinedServers
from partialstate_service.resync.log_records import (
    current_state_records,
    servers_records,
    state_before_records,
    verdict_record,
)
from partialstate_service.resync.seeds import summarise
from partialstate_service.store.protocol import (
    Bulk,
    ChunkKind,
    Lease,
    Ledger,
    LogSegment,
    NewSegment,
    RecordedEvent,
    Registry,
)

_CHUNK_BYTES = 1024 * 1024
"""After how much a chunk of records is full, before compression."""


class RecoveredLog:
    """The log of the leased room, from where another worker may have left it."""

    def __init__(
        self,
        registry: Registry,
        bulk: Bulk,
        ledger: Ledger,
        lease: Lease,
        held: HeldEvents,
        segments: Sequence[LogSegment],
    ) -> None:
        self._registry = registry
        self._bulk = bulk
        self._ledger = ledger
        self._lease = lease
        self._held = held
        by_key = {chunk.key: ids for chunk, ids in held.chunks}
        self._logged = EventIds(held.events)
        for segment in segments:
            if segment.kind is ChunkKind.VERIFIED:
                for event_id in by_key.get(segment.chunk.key, ()):
                    if event_id in held.events and event_id not in segment.omitted:
                        self._logged.add(event_id)
        # What the log says so far of the current state and the servers; unknown after another worker's records.
        self._current: StateMap | None = None
        self._joined = JoinedServers(held.events)
        self._servers: tuple[list[ServerName], list[ServerName]] | None = None

    async def append(
        self,
        replayed: Sequence[tuple[Replayed, RecordedEvent]],
        replay: Replay,
        *,
        relevant: EventIds,
        recorded: AbstractSet[EventId],
        rejected: AbstractSet[EventId],
        has_join: bool,
        known_servers: Collection[ServerName],
        own_name: ServerName,
        device_list_position: int | None,
    ) -> None:
        """Append what was replayed, with the events that it needs and the current state after it; in one commit.

        Of the *relevant* events those that the homeserver *recorded* are left out: it has them. Once the replay *has the join*,
        checks go by its current state; whoever may speak can name older states of the room before.
        """
        current = await asyncio.to_thread(replay.current_state)
        in_room = await asyncio.to_thread(self._joined.in_state, current, own_name)
        missed = await self._missed({*known_servers, *in_room})
        servers = (sorted(in_room), sorted(missed))
        records = chain(
            *(_outcome_records(outcome, event) for outcome, event in replayed),
            self._current_state(current, replay, replayed),
            servers_records(*servers, device_list_position) if servers != self._servers else (),
        )
        new = relevant.without(self._logged)
        new.take(recorded)
        segments = await asyncio.to_thread(self._event_segments, new, rejected)
        segments += await self._record_segments(records)
        summary = summarise(current, self._held.events) if has_join else None
        await self._registry.append_log(
            self._lease, segments, [outcome.event_id for outcome, _ in replayed], servers[0], summary
        )
        self._current = current
        self._servers = servers
        self._logged.update(new)

    def _current_state(
        self, current: StateMap, replay: Replay, replayed: Sequence[tuple[Replayed, RecordedEvent]]
    ) -> Iterator[bytes]:
        base: EventId | None = None
        before = self._current
        if before is None:
            base = replayed[-1][0].event_id
            before = replay.state_before(base)
        changed = differing_keys(before, current)
        added = {key: current[key] for key in changed if key in current}
        return current_state_records(base, added, frozenset(changed - added.keys()))

    def _event_segments(self, new: EventIds, rejected: AbstractSet[EventId]) -> list[NewSegment]:
        """Return segments for the chunks that hold *new* events, each event once."""
        segments = []
        left = EventIds(self._held.events, new.flags)
        for chunk, event_ids in self._held.chunks:
            if ids := left.take(event_ids):
                omitted = frozenset(event_ids).difference(ids) if len(ids) < len(event_ids) else frozenset()
                bad = frozenset(i for i in ids if i in rejected) if rejected else frozenset()
                segments.append(NewSegment(ChunkKind.VERIFIED, chunk, rejected=bad, omitted=omitted))
        return segments

    async def _record_segments(self, records: Iterator[bytes]) -> list[NewSegment]:
        segments = []
        # The state before the first event is the whole one: the event loop has no time for encoding that.
        while piece := await asyncio.to_thread(_next_piece, records):
            segments.append(await self._record_segment(piece))
        return segments

    async def _record_segment(self, records: Sequence[bytes]) -> NewSegment:
        owner = f"{self._lease.generation}.{self._lease.fencing}"
        return NewSegment(
            ChunkKind.LOG, await self._bulk.put(self._lease.room_id, ChunkKind.LOG, owner, records)
        )

    async def _missed(self, servers: AbstractSet[ServerName]) -> set[ServerName]:
        """Return which of *servers* some event of ours was not sent to."""
        missed: set[ServerName] = set()
        async for _, destinations in self._ledger.destinations(self._lease.room_id):
            missed |= servers - destinations
        return missed


def _next_piece(records: Iterator[bytes]) -> list[bytes]:
    """Return the next records, about as many as make a chunk."""
    piece: list[bytes] = []
    size = 0
    while size < _CHUNK_BYTES and (record := next(records, None)) is not None:
        piece.append(record)
        size += len(record)
    return piece


def _outcome_records(outcome: Replayed, recorded: RecordedEvent) -> Iterator[bytes]:
    yield from state_before_records(outcome)
    yield verdict_record(outcome, provisionally_accepted=recorded.accepted)

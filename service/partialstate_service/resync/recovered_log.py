"""Writes the recovered-state log of one generation: first the events, then states, verdicts and the current state."""

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.matrix.event import StateMap
from partialstate_service.matrix.replay import Replay, Replayed
from partialstate_service.matrix.shared_state import differing_keys
from partialstate_service.resync.held import HeldEvents
from partialstate_service.resync.joined_servers import JoinedServers
from partialstate_service.resync.log_records import (
    current_state_records,
    servers_records,
    state_before_records,
    verdict_record,
)
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

_RECORDS_PER_CHUNK = 100
"""Records of up to a thousand entries each: a chunk of a megabyte at most, before compression."""


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
        self._logged: set[EventId] = set()
        for segment in segments:
            if segment.kind is ChunkKind.VERIFIED:
                self._logged |= {*by_key.get(segment.chunk.key, ())} - segment.omitted
        # What the log says so far of the current state and the servers; unknown after another worker's records.
        self._current: StateMap | None = None
        self._joined = JoinedServers(held.events)
        self._servers: tuple[list[ServerName], list[ServerName]] | None = None

    async def append(
        self,
        replayed: Sequence[tuple[Replayed, RecordedEvent]],
        replay: Replay,
        *,
        relevant: AbstractSet[EventId],
        rejected: AbstractSet[EventId],
        known_servers: Collection[ServerName],
        own_name: ServerName,
        device_list_position: int | None,
    ) -> None:
        """Append what was replayed, with the events that it needs and the current state after it; in one commit."""
        records: list[bytes] = []
        for outcome, recorded in replayed:
            records += state_before_records(outcome)
            records.append(verdict_record(outcome, provisionally_accepted=recorded.accepted))
        current = replay.current_state()
        records += self._current_state(current, replay, replayed)
        in_room = self._joined.in_state(current, own_name)
        missed = await self._missed({*known_servers, *in_room})
        servers = (sorted(in_room), sorted(missed))
        if servers != self._servers:
            records += servers_records(*servers, device_list_position)
        segments = [*self._event_segments(relevant, rejected), *await self._record_segments(records)]
        await self._registry.append_log(
            self._lease, segments, [outcome.event_id for outcome, _ in replayed], servers[0]
        )
        self._current = current
        self._servers = servers
        self._logged |= relevant

    def _current_state(
        self, current: StateMap, replay: Replay, replayed: Sequence[tuple[Replayed, RecordedEvent]]
    ) -> list[bytes]:
        base: EventId | None = None
        before = self._current
        if before is None:
            base = replayed[-1][0].event_id
            before = replay.state_before(base)
        changed = differing_keys(before, current)
        added = {key: current[key] for key in changed if key in current}
        return list(current_state_records(base, added, frozenset(changed - added.keys())))

    def _event_segments(
        self, relevant: AbstractSet[EventId], rejected: AbstractSet[EventId]
    ) -> list[NewSegment]:
        """Return segments for the chunks that hold events not yet in the log."""
        segments = []
        to_log = set(relevant - self._logged)
        for chunk, ids in self._held.chunks:
            new = frozenset(to_log.intersection(ids))
            if new:
                segments.append(
                    NewSegment(
                        ChunkKind.VERIFIED, chunk, rejected=new & rejected, omitted=frozenset(ids) - new
                    )
                )
                to_log -= new
        return segments

    async def _record_segments(self, records: Sequence[bytes]) -> list[NewSegment]:
        owner = f"{self._lease.generation}.{self._lease.fencing}"
        segments = []
        for start in range(0, len(records), _RECORDS_PER_CHUNK):
            chunk = await self._bulk.put(
                self._lease.room_id, ChunkKind.LOG, owner, records[start : start + _RECORDS_PER_CHUNK]
            )
            segments.append(NewSegment(ChunkKind.LOG, chunk))
        return segments

    async def _missed(self, servers: AbstractSet[ServerName]) -> set[ServerName]:
        """Return which of *servers* some event of ours was not sent to."""
        missed: set[ServerName] = set()
        async for _, destinations in self._ledger.destinations(self._lease.room_id):
            missed |= servers - destinations
        return missed

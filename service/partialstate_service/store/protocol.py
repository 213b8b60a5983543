"""What the service asks of its store.

Three small protocols over one server: the `Registry` (who owns which room, and how far it is; one call is one
atomic change, one revision and one entry of the change log), the `Bulk` (large immutable data of a room) and the
`Ledger` (which event was sent to whom). `Mirror` is a replica's copy of the registry.

Every call raises `StoreUnavailableError` when the store does not answer in time. Times are Unix milliseconds and are
always given by the caller. Writes are idempotent as their docstrings say.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from partialstate_service.domain.ids import EventId, Generation, Position, RoomId, ServerName
from partialstate_service.domain.rooms import (
    Ending,
    PartialRoom,
    Priority,
    Progress,
    ReleaseReason,
    RoomStatus,
    StateSummary,
    StateToken,
    Tombstone,
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One immutable piece of bulk, as a manifest names it. `size` is in stored bytes, compressed."""

    key: str
    digest: str
    size: int
    count: int
    """How many items it holds."""
    core_size: int = 0
    """Of verified events: how many bytes of memory their cores take for as long as the room is worked on."""


class ChunkKind(StrEnum):
    """What a chunk holds; part of its key and of the manifest that it is committed to."""

    SEED = "seed"
    """State and auth chain of a send_join response, unverified, as PDU items."""
    VERIFIED = "verified"
    """Events whose format, id, hash and signatures are verified, as PDU items."""
    SNAPSHOT = "snapshot"
    """The verified full state after one event: one JSON item."""
    LOG = "log"
    """Records of the recovered-state log, one JSON item each."""


@dataclass(frozen=True, slots=True)
class PduItem:
    """One event in a chunk. `json` is the canonical or received JSON, without `unsigned`."""

    event_id: EventId
    json: bytes


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """A partial event as the homeserver recorded it; the partial joins are recorded events too."""

    event_id: EventId
    json: bytes
    accepted: bool
    """The homeserver's provisional verdict."""
    prev_event_ids: tuple[EventId, ...]
    resolved: bool = False
    """Whether its full state is in the log already. Set by the store."""
    sequence: int = 0
    """Its place in the order of recording, from 1; gaps are possible. Set by the store."""
    summary: StateSummary | None = None
    """The room's non-member state after it as the homeserver has it, where that changed. Not given back by the store."""


class RecordOutcome(StrEnum):
    """What became of one recorded event."""

    RECORDED = "RECORDED"
    ROOM_NOT_PARTIAL = "ROOM_NOT_PARTIAL"
    EVENT_NOT_PARTIAL = "EVENT_NOT_PARTIAL"


class RegistrationOutcome(StrEnum):
    """What a registration came to."""

    REGISTERED = "REGISTERED"
    ALREADY_REGISTERED = "ALREADY_REGISTERED"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True)
class PartialJoin:
    """A partial join that is to be registered: structure, ids, hashes and version are checked, signatures not."""

    room_id: RoomId
    room_version: str
    join: RecordedEvent
    joined_via: ServerName | None
    servers: tuple[ServerName, ...]
    """Candidate servers, without ourselves."""
    summary: StateSummary
    priority: Priority
    device_list_position: int | None
    confirmed: bool = False
    """True for a room that the homeserver reconciles: it holds the join already."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The result of a registration. `generation` is that of the join, also when it has ended."""

    generation: Generation
    outcome: RegistrationOutcome
    ending: Ending | None
    token: StateToken


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one room. `fencing` grows with every claim of any room."""

    room_id: RoomId
    generation: Generation
    fencing: int


@dataclass(frozen=True, slots=True)
class LogSegment:
    """A stretch of the recovered-state log: `chunk.count` records from `first` on.

    `kind` VERIFIED: each item of the chunk is an `event` record, rejected if its id is in `rejected` and left out of the
    log if its id is in `omitted` (the position is used up all the same). `kind` LOG: each item is a record as JSON.
    """

    first: Position
    kind: ChunkKind
    chunk: Chunk
    rejected: frozenset[EventId] = frozenset()
    omitted: frozenset[EventId] = frozenset()


@dataclass(frozen=True, slots=True)
class NewSegment:
    """A segment to append; the registry gives it its position."""

    kind: ChunkKind
    chunk: Chunk
    rejected: frozenset[EventId] = frozenset()
    omitted: frozenset[EventId] = frozenset()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a worker needs to go on with a room where another one stopped."""

    room: PartialRoom
    seeds: tuple[Chunk, ...]
    verified: tuple[Chunk, ...]
    snapshots: Mapping[EventId, Chunk]
    """The full state after an event, by the event's id."""
    segments: tuple[LogSegment, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change log: `room` as it is after the change, or the `tombstone` if it has ended.

    To a watcher that resumes further back than its replica remembers, `room` has its large fields (servers, summary,
    progress) as they were set last before the change or, where that was before the watcher's token, as they are now.
    """

    token: StateToken
    kind: str
    room_id: RoomId | None
    room: PartialRoom | None
    tombstone: Tombstone | None


class Registry(Protocol):
    """The owner of the partial rooms."""

    async def register(self, join: PartialJoin, seeds: Sequence[Chunk], now_ms: int) -> Registered:
        """Make the room partial; status RESYNCING, due now.

        Identified by (room, join event id): repeated, it gives the same generation with ALREADY_REGISTERED, or ENDED after
        the end (tombstones); then the *seeds* are not committed. Another join of a room that is partial (or ABANDONED) raises the generation: recorded events, seeds, verified
        chunks and snapshots are kept, servers are united, the log begins anew at position 0 with nothing acknowledged, every recorded event is
        pending again, and a lease held is lost. Known only by the worker: `state_verified` becomes False.
        Raises OtherRoomVersion if that room has another version: its events cannot be read as two.
        """

    async def confirm_join(self, room_id: RoomId, generation: Generation) -> StateToken:
        """Mark the join as persisted. Idempotent, also after the end. Raises RoomNotPartial, StaleGeneration (never given out)."""

    async def hold_join(self, room_id: RoomId, join_event_id: EventId) -> Generation | Tombstone | None:
        """Mark a join that the homeserver holds as persisted, and return what is known of it, in one step.

        The room's present generation if it is partial by that join, be there later ones or not; the join's tombstone if its
        partial state has ended within the last 30 days at least; None for a join that is not known.
        """

    async def record_partial_events(
        self,
        room_id: RoomId,
        events: Sequence[RecordedEvent],
        now_ms: int,
        servers_joined: Sequence[ServerName] = (),
    ) -> tuple[Sequence[RecordOutcome], Generation, StateToken]:
        """Record events, in order, all or none; the `summary` of one that is new replaces the room's.

        Per event: ROOM_NOT_PARTIAL for all if the room is not partial (generation 0); RECORDED also if it is recorded already;
        EVENT_NOT_PARTIAL if it has prevs and all of them are acknowledged (recorded events at or below the acknowledged
        position, or events that got this answer before, in the same call too). A newly recorded event makes the room pending:
        AWAITING_IMPORT and STALLED-with-nothing-pending become RESYNCING, due now. ABANDONED rooms record and stay ABANDONED.
        *servers_joined* are added to the room's servers. The events' JSON is stored before the registry's change is made.
        """

    async def get(self, room_id: RoomId) -> PartialRoom:
        """Return the room, or raise RoomNotPartial (with the last tombstone if there is one)."""

    async def find(self, room_id: RoomId) -> tuple[PartialRoom | None, StateToken]:
        """Return the room, None if this store does not have it, and the token of the read; also before a reconciliation."""

    async def page(
        self, after: RoomId | None, limit: int, statuses: AbstractSet[RoomStatus]
    ) -> tuple[Sequence[PartialRoom], RoomId | None, StateToken]:
        """Return rooms ordered by id after *after*, where to go on (None: the end), and the token before the read."""

    async def release(
        self, room_id: RoomId, generation: Generation, reason: ReleaseReason, now_ms: int
    ) -> StateToken:
        """Release a room at once, whatever its status. Idempotent, also after the end.

        LEFT: ABANDONED, no longer due, a lease held is lost. PURGED: removed, tombstone. JOIN_FAILED: as PURGED with its own
        ending; raises JoinConfirmed if that join is confirmed; if the room was partial by an earlier join before, only this join's event
        is removed and the room stays partial (or ABANDONED) by that join, with a new generation and a log that begins anew.
        Raises StaleGeneration if the room has a later generation, RoomNotPartial if it is unknown.
        """

    async def retry(self, room_id: RoomId, additional: Sequence[ServerName], now_ms: int) -> PartialRoom:
        """Make the room due now (RESYNCING), clear its servers' cooldowns and add servers. Raises RoomNotPartial, RoomAbandoned."""

    async def acknowledge(
        self, room_id: RoomId, generation: Generation, position: Position
    ) -> tuple[StateToken, Position]:
        """Raise the acknowledged position (never lower it); events whose verdict lies at or below it are imported.

        Raises RoomNotPartial (not after IMPORTED with this generation: then it is a repetition), StaleGeneration, PositionOutOfRange.
        """

    async def confirm_import(
        self, room_id: RoomId, generation: Generation, position: Position, now_ms: int
    ) -> StateToken:
        """End the partial state: atomic compare-and-clear. Idempotent after the end.

        Requires AWAITING_IMPORT (nothing pending) and *position* = the log's last, else raises ImportIncomplete (RoomAbandoned
        for an abandoned room, RoomNotPartial, StaleGeneration). An unconfirmed join is
        confirmed by it. Leaves a tombstone IMPORTED; bulk and ledger of the room are dropped.
        """

    async def known_event_rooms(self, event_ids: Sequence[EventId]) -> Mapping[EventId, RoomId]:
        """Return the rooms of those events that are recorded (or a join) in some partial room."""

    async def recorded_events(self, room_id: RoomId, after: int = 0) -> Sequence[RecordedEvent]:
        """Return the recorded events with a sequence above *after*, with their JSON, in the order of recording."""

    async def recorded_among(
        self, room_id: RoomId, event_ids: Collection[EventId]
    ) -> Sequence[RecordedEvent]:
        """Return those of the events that are recorded, with their JSON. Raises RoomNotPartial."""

    async def held_chunks(self, room_id: RoomId) -> Sequence[Chunk]:
        """Return the chunks of events that are held for the room, of the kinds SEED and VERIFIED; SEED ones first.

        Raises RoomNotPartial. A chunk may be gone by the time it is read, if the room ends meanwhile.
        """

    async def log_segments(
        self, room_id: RoomId, generation: Generation, after: Position
    ) -> tuple[PartialRoom, Sequence[LogSegment]]:
        """Return the room and the segments of its log that reach beyond *after*, as of one point in time, in order.

        Raises RoomNotPartial, StaleGeneration, PositionOutOfRange (*after* lies beyond the log's end).
        """

    # --- reconciliation

    async def mark_reconciled(self, seen: StateToken | None = None) -> StateToken:
        """Let this store decide from now on. Raises ForeignToken if it has not, or no longer, the change *seen*."""

    async def read_token(self) -> StateToken:
        """Return the registry's present state token, from the primary."""

    # --- what a worker does; all but claim raise LeaseLost when *lease* is not the room's lease any more

    async def claim_due(self, owner: str, now_ms: int, lease_ttl_ms: int) -> Lease | None:
        """Lease the most urgent room that is due (USER_WAITING first, then the longest due), or return None.

        A leased room is due again when its lease runs out, so that a dead worker's room is taken over.
        """

    async def next_due_ms(self) -> int | None:
        """Return when the next room is due (leased ones included: when their lease ends), None if there is none."""

    async def renew(self, lease: Lease, now_ms: int, lease_ttl_ms: int) -> None:
        """Hold the lease for *lease_ttl_ms* from now."""

    async def checkpoint(self, lease: Lease) -> Checkpoint:
        """Return all that is committed for the room."""

    async def commit_verified(self, lease: Lease, chunk: Chunk) -> None:
        """Add a chunk of verified events to the room's manifest."""

    async def drop_verified(self, lease: Lease, chunks: Sequence[Chunk]) -> None:
        """Take chunks of verified events out of the room's manifest; no snapshot and no segment may need them."""

    async def commit_snapshot(self, lease: Lease, after: EventId, chunk: Chunk) -> None:
        """Record the verified full state after an event. Repeating it for the same event replaces it."""

    async def mark_state_verified(self, lease: Lease) -> None:
        """Say that the room's summary is that of verified events."""

    async def append_log(
        self,
        lease: Lease,
        segments: Sequence[NewSegment],
        resolved: Sequence[EventId],
        servers_joined: Sequence[ServerName],
        summary: StateSummary | None = None,
    ) -> Position:
        """Append segments and mark *resolved* events as having full state at the last position of the appended segments.

        A repetition of the last call appends nothing.

        When nothing is pending after it, the status is AWAITING_IMPORT. *servers_joined* are added to the room's servers. *summary*, if given, is that of the
        recovered current state: it replaces the room's, unless that was recorded with an event that is pending still, or with one that is in
        no log (EVENT_NOT_PARTIAL). Returns the log's last position.
        """

    async def report_progress(self, lease: Lease, progress: Progress, status: RoomStatus | None) -> None:
        """Replace the room's progress; *status*, if given, becomes RESYNCING or STALLED (never leaves AWAITING_IMPORT or ABANDONED)."""

    async def hand_back(self, lease: Lease, due_ms: int | None) -> None:
        """Give the lease back; the room is due at *due_ms*, or, with None, not before something changes.

        If events became pending after nothing was, or a retry was asked for meanwhile, it is due now. With None and events still
        pending it is due when the lease would have ended: nothing is given up. Handing back a lost lease does nothing.
        """


class Bulk(Protocol):
    """Large immutable data, in the slot of its room, compressed and capped."""

    async def put(
        self, room_id: RoomId, kind: ChunkKind, owner: str, items: Sequence[PduItem] | Sequence[bytes]
    ) -> Chunk:
        """Store items as one chunk under a new key named by room, kind and *owner* (generation and fencing token, or a request's id).

        It counts for nothing until a registry call commits it; uncommitted chunks expire by age.
        """

    async def pdus(self, chunk: Chunk) -> Sequence[PduItem]:
        """Return the items of a SEED or VERIFIED chunk. Raises StoreUnavailable if it is gone or does not match its digest."""

    async def records(self, chunk: Chunk) -> Sequence[bytes]:
        """Return the items of a SNAPSHOT or LOG chunk."""


class Ledger(Protocol):
    """Which event was sent to which servers, per room."""

    async def record(self, room_id: RoomId, sent: Sequence[tuple[EventId, Sequence[ServerName]]]) -> bool:
        """Add destinations to events; destination sets are interned. Returns False, recording nothing, if the room is not partial."""

    async def sent_to(
        self, room_id: RoomId, event_ids: Sequence[EventId], destination: ServerName
    ) -> AbstractSet[EventId]:
        """Return those of the events that were sent to *destination*. Read from the primary."""

    def destinations(self, room_id: RoomId) -> AsyncIterator[tuple[EventId, AbstractSet[ServerName]]]:
        """Yield every recorded event of the room with its destinations."""


class Mirror(Protocol):
    """A replica's copy of the registry, fed by the change log."""

    @property
    def rooms(self) -> Mapping[RoomId, PartialRoom]:
        """The partial rooms as of `token`."""

    @property
    def token(self) -> StateToken:
        """The last change that the mirror has seen."""

    @property
    def staleness_s(self) -> float:
        """How long ago the mirror was last known to be current; infinite before the first time."""

    @property
    def understands_store(self) -> bool:
        """Whether this release can read all that the store holds; if not, nothing is decided."""

    async def fully_consistent(self, event_ids: Sequence[EventId]) -> Mapping[EventId, RoomId]:
        """Return once the mirror holds all that was committed before the call, with the known rooms of *event_ids*.

        Uses a read of the primary that was issued after the call: at most one in flight and one batch waiting for the next.
        Raises NotReconciled for a store that is fresh or has lost writes, and StoreUnavailable.
        """

    async def at_least(self, token: StateToken, timeout_s: float) -> None:
        """Return once the mirror has seen *token*. Raises ForeignToken, NotReconciled, StoreUnavailable (in time)."""

    async def at_most_stale(self, max_age_s: float) -> None:
        """Return once the mirror was known to be current at most *max_age_s* ago."""

    def watch(
        self, after: StateToken | None, queue_limit: int, room_id: RoomId | None = None
    ) -> AsyncGenerator[Change, None]:
        """Yield every change after *after* (None: after now), in order, each once. Close it when done.

        *room_id* restricts them to those that concern one room; other rooms' changes then cost this reader nothing.

        Raises TokenTooOld, ForeignToken; a reader that lags more than *queue_limit* changes is ended with an error.
        A periodic Change with room_id None is a bookmark.
        """

    def waking(self, room_id: RoomId | None) -> AbstractContextManager["RoomSignal"]:
        """Return a signal that is set whenever a change of the room (None: of any room) is seen."""


class RoomSignal(Protocol):
    """Tells that something about a room has changed."""

    async def wait(self, timeout_s: float) -> bool:
        """Return True once the room changed since the last wait, False after *timeout_s*."""

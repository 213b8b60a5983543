"""One attempt at one room: from what is committed to a log in which every recorded event has its full state."""

import asyncio
from collections import ChainMap
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.domain.rooms import PartialRoom, ResyncStage, RoomStatus
from partialstate_service.federation.protocol import ResidentServers
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.parsing import parse_event_bytes
from partialstate_service.matrix.replay import Replay, Replayed
from partialstate_service.matrix.room_versions import room_version
from partialstate_service.resync.authorisation import auth_closure
from partialstate_service.resync.cooldown import CooldownPolicy, Jitter
from partialstate_service.resync.event_ids import EventIds
from partialstate_service.resync.fetcher import Fetcher
from partialstate_service.resync.held import HeldEvents
from partialstate_service.resync.progress import ProgressBoard
from partialstate_service.resync.recovered_log import RecoveredLog
from partialstate_service.resync.recovery import (
    KeysAwaitedError,
    NoServerLeftError,
    Recovery,
    RecoveryPolicy,
)
from partialstate_service.resync.renunciations import (
    decode_renunciation,
    encode_renunciation,
    renounced_among,
    renunciation_name,
)
from partialstate_service.resync.seeds import create_event_of, summarise, summary_is_verified
from partialstate_service.resync.snapshot import Snapshot, decode_snapshot, encode_snapshot
from partialstate_service.resync.sources import Sources
from partialstate_service.resync.verifier import Verifier
from partialstate_service.store.protocol import (
    Bulk,
    Checkpoint,
    ChunkKind,
    Lease,
    Ledger,
    RecordedEvent,
    Registry,
)


@dataclass(frozen=True, slots=True)
class ResyncPolicy:
    """What an operator may decide about resyncs."""

    recovery: RecoveryPolicy = field(default_factory=RecoveryPolicy)
    cooldown: CooldownPolicy = field(default_factory=CooldownPolicy)


@dataclass(frozen=True, slots=True)
class ResyncServices:
    """What a resync works with; one for all rooms."""

    own_name: ServerName
    registry: Registry
    bulk: Bulk
    ledger: Ledger
    servers: ResidentServers
    verifier: Verifier
    policy: ResyncPolicy
    now_ms: Callable[[], int]
    jitter: Jitter


class RoomResync:
    """The work on one leased room. `recover` may be called again when further events were recorded."""

    def __init__(self, services: ResyncServices, lease: Lease, checkpoint: Checkpoint) -> None:
        self._services = services
        self._lease = lease
        self._checkpoint = checkpoint
        self._room = checkpoint.room
        self._version = room_version(self._room.room_version)
        self.sources = _sources(services, self._room)
        self._reporting = asyncio.Lock()
        self.board = ProgressBoard(self._room.progress, self.sources)
        self._held = HeldEvents(services.registry, services.bulk, lease, self._version)
        self._recorded: dict[EventId, RecordedEvent] = {}
        self._sequence = 0
        self._rejected: set[EventId] = set()
        self._relevant = EventIds(self._held.events)
        self._replay = Replay(self._version, self._held.events, self._rejected)
        self._unlogged: list[Replayed] = []
        self._verifier = services.verifier.for_room()
        self._fetcher = Fetcher(
            room_id=lease.room_id,
            version=self._version,
            servers=services.servers,
            sources=self.sources,
            verifier=self._verifier,
            held=self._held,
            on_progress=self.board.count,
        )

    async def load(self) -> None:
        """Take up what is committed, and verify the send_join response if that is still to be done."""
        self.board.stage(ResyncStage.VERIFYING_JOIN)
        await self._held.load(self._checkpoint.verified)
        self.board.count(0, self._held.verified)
        self._log = RecoveredLog(
            self._services.registry,
            self._services.bulk,
            self._services.ledger,
            lease=self._lease,
            held=self._held,
            segments=self._checkpoint.segments,
        )
        await self._take_up_recorded()
        for prev in self._checkpoint.snapshots.keys() & self._recorded.keys():
            # What was forgone may have turned up since; those who name it have been judged without it.
            if (kept := await self._kept_snapshot(prev)) is not None and not kept.state:
                self._replay.forgo_prev(prev)
        for name, event_id in renounced_among(self._checkpoint.snapshots):
            items = await self._services.bulk.records(self._checkpoint.snapshots[name])
            self._replay.renounce_auth_chain(event_id, decode_renunciation(items))
        if not self._room.state_verified:
            await self._verify_seeds()
        self._recovery = self._new_recovery(await self._create_id())

    async def recover(self) -> None:
        """Bring every recorded event into the log.

        Raises `NoServerLeftError`, `KeysAwaitedError`, `LeaseLostError` and `StoreUnavailableError`; what was done
        until then is kept.
        """
        await self._take_up_recorded()
        failures: dict[EventId, NoServerLeftError | KeysAwaitedError] = {}
        try:
            await self._supply_prevs(failures)
        finally:
            self._recovery.leave_alone_who_lacked()
        try:
            await self._complete_auth_chains()
        finally:
            await self._replay_and_log()
        for failure in failures.values():
            raise failure
        self.board.stage(ResyncStage.DONE)

    async def _supply_prevs(self, failures: dict[EventId, NoServerLeftError | KeysAwaitedError]) -> None:
        """Give the replay the states that it lacks; *failures* gets those that are not to be had, some at most."""
        while missing := self._replay.missing_prevs() - failures.keys():
            for prev in self._in_turn(missing):
                try:
                    await self._supply(prev)
                except (NoServerLeftError, KeysAwaitedError) as error:
                    # Whoever may speak in a room may name a prev event that never was; others go on.
                    failures[prev] = error
                    if len(failures) >= _FAILED_PREVS:
                        return
            # States may become ready one by one: those are handed over before the next is fetched.
            await self._replay_and_log()

    async def report(self, status: RoomStatus | None = None) -> None:
        """Report the progress if there is any news in it, and *status* if one is given."""
        # One at a time: an older report must not overtake a newer one.
        async with self._reporting:
            progress = self.board.unreported()
            if progress is not None or status is not None:
                progress = progress or self.board.current()
                await self._services.registry.report_progress(self._lease, progress, status)

    async def _take_up_recorded(self) -> None:
        recorded = await self._services.registry.recorded_events(self._lease.room_id, self._sequence)
        for item in recorded:
            event = parse_event_bytes(item.json, self._version, room_id=self._lease.room_id)
            self._recorded[item.event_id] = item
            self._held.add_recorded(event)
            self._replay.add(event)
            self._sequence = max(self._sequence, item.sequence)

    async def _verify_seeds(self) -> None:
        for chunk in self._checkpoint.seeds:
            items = [
                item for item in await self._services.bulk.pdus(chunk) if item.event_id not in self._held
            ]
            for start in range(0, len(items), _SEED_BATCH):
                bodies = [item.json for item in items[start : start + _SEED_BATCH]]
                result = await self._verifier.verify(bodies, self._version, self._lease.room_id)
                # What was altered on its way to us, others have as it was: that is fetched with the state.
                await self._held.add_verified([event for event in result.valid if event.hash_matches])
        await self._held.flush()
        if await asyncio.to_thread(summary_is_verified, self._room.summary, self._held.events):
            await self._services.registry.mark_state_verified(self._lease, None)

    async def _create_id(self) -> EventId:
        """Return the create event's id; its own signature is not needed for that, since the join names it."""
        seeds: dict[EventId, Event] = {}
        for chunk in self._checkpoint.seeds:
            for item in await self._services.bulk.pdus(chunk):
                if item.event_id not in self._held:
                    seeds[item.event_id] = parse_event_bytes(item.json, self._version)
        candidates = ChainMap(seeds, self._held.events)
        for event_id in self._recorded:
            if (create_id := create_event_of(self._held.events[event_id], candidates)) is not None:
                return create_id
        raise NoServerLeftError("no recorded event names a create event that is held")

    def _new_recovery(self, create_id: EventId) -> Recovery:
        policy = self._services.policy.recovery

        def patience_is_over() -> bool:
            now_ms = self._services.now_ms()
            return now_ms - self.board.keys_missing(now_ms) >= policy.key_patience_s * 1000

        return Recovery(
            fetcher=self._fetcher,
            sources=self.sources,
            held=self._held,
            create_id=create_id,
            policy=policy,
            waited_s=self._waited_s,
            patience_is_over=patience_is_over,
            on_expected=self.board.expect,
        )

    def _in_turn(self, prevs: AbstractSet[EventId]) -> list[EventId]:
        """Return *prevs* with those of the join first, then in any order, so that none waits behind the same others."""
        first = self._prevs_of_join()
        return sorted(prevs, key=lambda prev: (prev not in first, self._services.jitter()))

    def _prevs_of_join(self) -> Sequence[EventId]:
        join = self._recorded.get(self._room.join_event_id)
        return () if join is None else join.prev_event_ids

    async def _supply(self, prev: EventId) -> None:
        """Give the replay the verified state after *prev*, fetched unless it was before."""
        snapshot = await self._kept_snapshot(prev)
        if snapshot is None:
            self.board.stage(ResyncStage.FETCHING_EVENTS)
            snapshot = await self._recovery.state_after_if_known(prev, needed=prev in self._prevs_of_join())
            await self._held.flush()
            owner = f"{self._lease.generation}.{self._lease.fencing}"
            items = await asyncio.to_thread(encode_snapshot, snapshot, self._held.chunks)
            chunk = await self._services.bulk.put(self._lease.room_id, ChunkKind.SNAPSHOT, owner, items)
            await self._services.registry.commit_snapshot(self._lease, prev, chunk)
        self.board.left_out(snapshot.left_out, snapshot.unverified, snapshot.note)
        if not snapshot.state:
            self._replay.forgo_prev(prev)
            return
        self._rejected |= snapshot.rejected
        self._relevant.update(snapshot.closure)
        await asyncio.to_thread(self._replay.supply_state_after, prev, snapshot.state)
        if not self._room.state_verified:
            summary = summarise(snapshot.state, self._held.events)
            await self._services.registry.mark_state_verified(self._lease, summary)

    async def _kept_snapshot(self, prev: EventId) -> Snapshot | None:
        """Return what an earlier attempt found, if all that it found is held."""
        chunk = self._checkpoint.snapshots.get(prev)
        if chunk is None:
            return None
        items = await self._services.bulk.records(chunk)
        return await asyncio.to_thread(decode_snapshot, items, self._held.events, self._held.chunks)

    async def _complete_auth_chains(self) -> None:
        """Fetch the auth events of recorded events that are not held; without them there is no verdict.

        What no server knows is sought for as long as a prev event; then what rests on it is rejected.
        """
        policy = self._services.policy.recovery
        is_over = self._waited_s() >= policy.prev_patience_s
        sought: set[EventId] = set()
        while missing := self._replay.missing_auth_events() - sought:
            sought |= missing
            if len(sought) > policy.max_unnamed_events:
                break
            self.board.stage(ResyncStage.FETCHING_EVENTS)
            unknown = await self._fetcher.fetch_events(
                missing, at_most=_SERVERS_BEFORE_RENOUNCING if is_over else _SERVERS_PER_AUTH_EVENT
            )
            if is_over:
                await self._renounce(unknown)
        if still_missing := self._replay.missing_auth_events():
            raise NoServerLeftError(
                f"{len(still_missing)} auth events of recorded events cannot be had, such as {min(still_missing)!a}"
            )

    async def _renounce(self, unknown: AbstractSet[EventId]) -> None:
        """Reject what needs one of *unknown*, and keep that: it holds for every later worker, whatever turns up."""
        for event_id, gaps in self._replay.auth_gaps().items():
            if not (lacking := gaps & unknown):
                continue
            owner = f"{self._lease.generation}.{self._lease.fencing}"
            items = encode_renunciation(min(lacking))
            chunk = await self._services.bulk.put(self._lease.room_id, ChunkKind.SNAPSHOT, owner, items)
            await self._services.registry.commit_snapshot(self._lease, renunciation_name(event_id), chunk)
            self._replay.renounce_auth_chain(event_id, min(lacking))
            note = f"no server knows {min(lacking)!a}: what needs it for its auth is rejected"
            self.board.left_out(frozenset(), frozenset(), note)

    def _waited_s(self) -> float:
        return (self._services.now_ms() - self._room.registered_at_ms) / 1000

    async def _replay_and_log(self) -> None:
        """Replay what is ready and hand it over; what another worker has handed over is not repeated."""
        self.board.stage(ResyncStage.REPLAYING)
        self._unlogged += [
            replayed
            for replayed in await asyncio.to_thread(lambda: list(self._replay.advance()))
            if not self._recorded[replayed.event_id].resolved
        ]
        if not self._unlogged:
            return
        # Whoever sees the room recovered shall see also how: which servers were asked, and what was left out.
        await self.report()
        replayed_ids = [replayed.event_id for replayed in self._unlogged]
        self._relevant.update(auth_closure(replayed_ids, self._held.events).held)
        await self._log.append(
            [(replayed, self._recorded[replayed.event_id]) for replayed in self._unlogged],
            self._replay,
            relevant=self._relevant,
            recorded=self._recorded.keys(),
            rejected=self._rejected,
            known_servers=self._known_servers(),
            own_name=self._services.own_name,
            device_list_position=self._room.device_list_position,
        )
        self._unlogged.clear()

    def _known_servers(self) -> Sequence[ServerName]:
        return [server for server in self._room.servers if server != self._services.own_name]


_SEED_BATCH = 500
_SERVERS_PER_AUTH_EVENT = 5
_SERVERS_BEFORE_RENOUNCING = 50
"""How many servers must know nothing of an auth event, if there are so many, before what needs it is rejected."""
_FAILED_PREVS = 10
"""After how many prev events whose state nobody gives an attempt ends: inventing them costs nothing, asking does."""


def _sources(services: ResyncServices, room: PartialRoom) -> Sources:
    return Sources(
        own_name=services.own_name,
        joined_via=room.joined_via,
        servers=room.servers,
        records=room.progress.servers,
        registered_at_ms=room.registered_at_ms,
        policy=services.policy.cooldown,
        now_ms=services.now_ms,
        jitter=services.jitter,
    )

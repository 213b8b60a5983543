"""One attempt at one room: from what is committed to a log in which every recorded event has its full state."""

import asyncio
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.domain.rooms import ResyncStage, RoomStatus
from partialstate_service.federation.protocol import ResidentServers
from partialstate_service.matrix.parsing import parse_event_bytes
from partialstate_service.matrix.replay import Replay, Replayed
from partialstate_service.matrix.room_versions import room_version
from partialstate_service.resync.authorisation import auth_closure
from partialstate_service.resync.cooldown import CooldownPolicy, Jitter
from partialstate_service.resync.decisions import Decisions
from partialstate_service.resync.event_ids import EventIds
from partialstate_service.resync.fetcher import Fetcher
from partialstate_service.resync.held import HeldEvents
from partialstate_service.resync.join_response import JoinResponse
from partialstate_service.resync.keyless_copies import KeylessCopies
from partialstate_service.resync.progress import ProgressBoard
from partialstate_service.resync.recorded_auth import RecordedAuth
from partialstate_service.resync.recovered_log import RecoveredLog
from partialstate_service.resync.recovery import Recovery
from partialstate_service.resync.recovery_errors import EvidenceAwaitedError, NoServerLeftError
from partialstate_service.resync.recovery_policy import RecoveryPolicy
from partialstate_service.resync.sources import sources_of
from partialstate_service.resync.spare_events import SpareEvents
from partialstate_service.resync.state_verification import StateVerification
from partialstate_service.resync.verifier import Verifier
from partialstate_service.store.protocol import (
    Bulk,
    Checkpoint,
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
    """What a resync works with; for each room, its own servers and verifier take the place of those for all."""

    own_name: ServerName
    registry: Registry
    bulk: Bulk
    ledger: Ledger
    servers: ResidentServers
    verifier: Verifier
    policy: ResyncPolicy
    now_ms: Callable[[], int]
    jitter: Jitter
    keyless: KeylessCopies = field(default_factory=KeylessCopies)


class RoomResync:
    """The work on one leased room. `recover` may be called again when further events were recorded."""

    def __init__(self, services: ResyncServices, lease: Lease, checkpoint: Checkpoint) -> None:
        self._services = services
        self._lease = lease
        self._checkpoint = checkpoint
        self._room = checkpoint.room
        self._version = room_version(self._room.room_version)
        self.sources = sources_of(
            self._room,
            own_name=services.own_name,
            policy=services.policy.cooldown,
            now_ms=services.now_ms,
            jitter=services.jitter,
        )
        self._reporting = asyncio.Lock()
        self.board = ProgressBoard(self._room.progress, self.sources)
        self._held = HeldEvents(services.registry, services.bulk, lease, self._version)
        self._recorded: dict[EventId, RecordedEvent] = {}
        self._sequence = 0
        self._rejected: set[EventId] = set()
        self._relevant = EventIds(self._held.events)
        self._replay = Replay(self._version, self._held.events, self._rejected)
        self._unlogged: list[Replayed] = []
        self._join_is_replayed = False
        self._verifier = services.verifier
        self._fetcher = Fetcher(
            room_id=lease.room_id,
            version=self._version,
            servers=services.servers,
            sources=self.sources,
            verifier=self._verifier,
            held=self._held,
            keyless=services.keyless,
            on_progress=self.board.count,
        )
        self._decisions = Decisions(services.registry, services.bulk, lease, checkpoint, self._held)
        self._spare = SpareEvents(
            services.registry,
            lease,
            checkpoint,
            self._decisions,
            max_bytes=services.policy.recovery.max_spare_bytes,
        )
        self._recorded_auth = RecordedAuth(
            self._replay,
            self._fetcher,
            self._decisions,
            policy=services.policy.recovery,
            waited_s=self._waited_s,
            holds_too_much=self._holds_too_much,
            on_finding=self.board.found,
        )

    async def load(self) -> None:
        """Take up what is committed, and verify the send_join response if that is still to be done."""
        self.board.stage(ResyncStage.VERIFYING_JOIN)
        await self._held.load(await self._spare.drop())
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
        # What was forgone may have turned up since; those who name it have been judged without it.
        async for prev in self._decisions.forgone(self._recorded.keys()):
            self._replay.forgo_prev(prev)
        async for event_id, lacking in self._decisions.renunciations():
            self._replay.renounce_auth_chain(event_id, lacking)
        response = JoinResponse(self._services.bulk, self._checkpoint.seeds, self._held, self._version)
        if not self._room.state_verified:
            room_id, summary = self._lease.room_id, self._room.summary
            if await response.verify(self._verifier, room_id, summary):
                await self._services.registry.mark_state_verified(self._lease)
        create_id = await response.create_id(self._recorded)
        if create_id is None:
            raise NoServerLeftError("no recorded event names a create event that is held")
        self._recovery = self._new_recovery(create_id)

    async def recover(self) -> None:
        """Bring every recorded event into the log.

        Raises `NoServerLeftError`, `EvidenceAwaitedError`, `LeaseLostError` and `StoreUnavailableError`; what was done
        until then is kept.
        """
        await self._take_up_recorded()
        failures: dict[EventId, NoServerLeftError | EvidenceAwaitedError] = {}
        try:
            await self._supply_prevs(failures)
        finally:
            self._recovery.leave_alone_who_lacked()
        try:
            if self._replay.missing_auth_events():
                self.board.stage(ResyncStage.FETCHING_EVENTS)
                await self._recorded_auth.complete()
        finally:
            await self._replay_and_log()
        for failure in failures.values():
            raise failure
        self.board.succeeded()

    async def _supply_prevs(self, failures: dict[EventId, NoServerLeftError | EvidenceAwaitedError]) -> None:
        """Give the replay the states that it lacks; *failures* gets those that are not to be had, some at most."""
        while missing := self._replay.missing_prevs() - failures.keys():
            for prev in self._in_turn(missing):
                try:
                    await self._supply(prev)
                except (NoServerLeftError, EvidenceAwaitedError) as error:
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

    def _new_recovery(self, create_id: EventId) -> Recovery:
        policy = self._services.policy.recovery
        patience_ms = int(policy.key_patience_s * 1000)
        if policy.omit_unverifiable and self.board.has_lacked_keys_for(patience_ms, self._services.now_ms()):
            # What is left out now is judged by what servers send now.
            self._services.keyless.forget(self._lease.room_id)

        def patience_is_over() -> bool:
            now_ms = self._services.now_ms()
            return now_ms - self.board.keys_missing(now_ms) >= patience_ms

        states = StateVerification(
            fetcher=self._fetcher,
            held=self._held,
            create_id=create_id,
            policy=policy,
            patience_is_over=patience_is_over,
            on_expected=self.board.expect,
        )
        return Recovery(
            fetcher=self._fetcher,
            sources=self.sources,
            held=self._held,
            states=states,
            policy=policy,
            waited_s=self._waited_s,
            patience_is_over=patience_is_over,
            holds_too_much=self._holds_too_much,
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
        snapshot = await self._decisions.snapshot(prev)
        if snapshot is None:
            self.board.stage(ResyncStage.FETCHING_EVENTS)
            snapshot = await self._recovery.state_after_if_known(prev, needed=prev in self._prevs_of_join())
            await self._decisions.commit_snapshot(prev, snapshot)
            self.board.verified_state()
        self.board.left_out(snapshot.left_out, snapshot.unverified)
        self.board.found(snapshot.note)
        if not snapshot.state:
            self._replay.forgo_prev(prev)
            return
        self._rejected |= snapshot.rejected
        self._relevant.update(snapshot.closure)
        await asyncio.to_thread(self._replay.supply_state_after, prev, snapshot.state)

    async def _holds_too_much(self) -> bool:
        return await self._spare.are_too_many([held.chunk for held in self._held.chunks])

    def _waited_s(self) -> float:
        return (self._services.now_ms() - self._room.registered_at_ms) / 1000

    async def _replay_and_log(self) -> None:
        """Replay what is ready and hand it over; what another worker has handed over is not repeated."""
        self.board.stage(ResyncStage.REPLAYING)
        for replayed in await asyncio.to_thread(lambda: list(self._replay.advance())):
            self._join_is_replayed |= replayed.event_id == self._room.join_event_id
            if not self._recorded[replayed.event_id].resolved:
                self._unlogged.append(replayed)
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
            has_join=self._join_is_replayed,
            known_servers=self._known_servers(),
            own_name=self._services.own_name,
            device_list_position=self._room.device_list_position,
        )
        self._unlogged.clear()

    def _known_servers(self) -> Sequence[ServerName]:
        return [server for server in self._room.servers if server != self._services.own_name]


_FAILED_PREVS = 10
"""After how many prev events whose state nobody gives an attempt ends: inventing them costs nothing, asking does."""

"""The workers: take up the room that needs attention most, hold its lease, and never give a room up."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import structlog

from partialstate_service.domain.errors import (
    LeaseLostError,
    NotReconciledError,
    PartialStateError,
    RoomNotPartialError,
    StoreUnavailableError,
)
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.resync.awaited import AwaitedKeys, AwaitedServers, Waits
from partialstate_service.resync.recovery_errors import EvidenceAwaitedError, NoServerLeftError
from partialstate_service.resync.request_limits import LimitedServers, RequestLimits
from partialstate_service.resync.room_resync import ResyncServices, RoomResync
from partialstate_service.resync.silence import AnsweringServers
from partialstate_service.resync.slots import Slot, Slots
from partialstate_service.resync.token_bucket import TokenBucket
from partialstate_service.store.protocol import Lease, Mirror

_log = structlog.get_logger()
_MAX_REASON_CHARS = 300


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """How the workers of one process share their time."""

    concurrent_rooms: int = 8
    """Rooms worked on at the same time; as many again may take long, so that huge rooms do not hold up small ones."""
    waiting_rooms: int = 64
    """Rooms beside those that only wait for servers, so that silent servers do not hold up the rooms of others."""
    long_room_s: float = 5.0
    """From when on a room takes long, and from when on it only waits."""
    starts_per_s: float = 20.0
    """How many rooms are begun in a second, so that many due at once (after a restart) do not crowd the servers."""
    start_burst: int = 16
    """How many rooms may be begun at once after a quiet time."""
    requests: RequestLimits = field(default_factory=RequestLimits)
    """How much is asked of other servers at the same time."""
    lease_ttl_s: float = 15.0
    """After how long without a sign of life another worker takes a room over."""
    poll_s: float = 1.0
    """The longest wait before the queue is looked at again, whatever woke or did not wake us."""
    linger_s: float = 30.0
    """How long a recovered room is held for further events, so that a busy room's next event takes milliseconds."""
    lingering_rooms: int = 64
    """How many recovered rooms are held like that, beside those worked on."""
    report_s: float = 0.5
    """The shortest time between two reports of progress."""
    keys_retry_s: float = 15.0
    """When missing signing keys are sought again."""
    defect_retry_s: float = 60.0
    """When a room is tried again whose attempt ended in an unforeseen error."""


class Workers:
    """Works on rooms until cancelled; hands every lease back when it ends."""

    def __init__(self, services: ResyncServices, mirror: Mirror, limits: WorkerLimits, owner: str) -> None:
        self._now_s = lambda: services.now_ms() / 1000
        answering = AnsweringServers(
            services.servers, pause_s=services.policy.cooldown.first_s, now_s=self._now_s
        )
        self._services = replace(services, servers=LimitedServers(answering, limits.requests))
        self._mirror = mirror
        self._limits = limits
        self._owner = owner
        self._slots = Slots(
            working=limits.concurrent_rooms,
            long=limits.concurrent_rooms,
            waiting=limits.waiting_rooms,
            long_s=limits.long_room_s,
        )
        self._starts = TokenBucket(
            limits.starts_per_s,
            limits.start_burst,
            now_s=self._now_s,
            jitter=services.jitter,
        )
        self._lingering = 0

    async def run(self) -> None:
        """Claim rooms as they become due and work on each in a task of its own."""
        async with asyncio.TaskGroup() as rooms:
            while True:
                slot = await self._slots.take()
                try:
                    # Before the claim: what is most urgent is decided when the time has come.
                    await asyncio.sleep(self._starts.take_s())
                    lease = await self._next_lease()
                except BaseException:
                    slot.release()
                    raise
                rooms.create_task(self._work(lease, slot), name=f"resync {lease.room_id}")

    async def _next_lease(self) -> Lease:
        while True:
            try:
                lease = await self._services.registry.claim_due(
                    self._owner, self._services.now_ms(), self._lease_ttl_ms
                )
                if lease is not None:
                    return lease
                await self._wait_for_work()
            except StoreUnavailableError as error:
                _log.warning("store unavailable to workers", error=str(error))
                await asyncio.sleep(self._limits.poll_s)

    async def _wait_for_work(self) -> None:
        """Return when a room may be due: its time has come, or the registry changed."""
        due_ms = await self._services.registry.next_due_ms()
        wait_s = self._limits.poll_s
        if due_ms is not None:
            wait_s = min(wait_s, max((due_ms - self._services.now_ms()) / 1000, 0.005))
        with self._mirror.waking(None) as changed:
            await changed.wait(wait_s)

    @property
    def _lease_ttl_ms(self) -> int:
        return int(self._limits.lease_ttl_s * 1000)

    async def _work(self, lease: Lease, slot: Slot) -> None:
        """Work on one room; gives its slot back as soon as the room no longer needs it."""
        due_ms: int | None = self._services.now_ms() + int(self._limits.defect_retry_s * 1000)
        log = _log.bind(room_id=lease.room_id, generation=lease.generation)
        try:
            due_ms = await self._attempt(lease, slot)
        except (LeaseLostError, NotReconciledError, RoomNotPartialError):
            log.info("the room is no longer ours: it is full, was released, joined again or taken over")
            return
        except StoreUnavailableError as error:
            log.warning("store unavailable to a resync", error=str(error))
            due_ms = self._services.now_ms() + int(self._limits.poll_s * 1000)
            return
        except asyncio.CancelledError:
            due_ms = self._services.now_ms()
            raise
        except Exception:
            # The root of a room's task: a defect must neither stop the worker nor forget the room.
            log.exception("resync failed unexpectedly")
        finally:
            slot.release()
            with suppress(PartialStateError):
                await asyncio.shield(self._services.registry.hand_back(lease, due_ms))

    async def _attempt(self, lease: Lease, slot: Slot) -> int | None:
        """Work on the room as long as there is something to do; return when it is due again."""
        waits = Waits(self._now_s)
        services = replace(
            self._services,
            servers=AwaitedServers(self._services.servers, waits),
            verifier=self._services.verifier.for_room(lambda keys: AwaitedKeys(keys, waits)),
        )
        resync = RoomResync(services, lease, await self._services.registry.checkpoint(lease))
        log = _log.bind(room_id=lease.room_id, generation=lease.generation)
        async with self._attended(lease, resync, slot, waits):
            try:
                await resync.load()
                await resync.recover()
                log.info("room recovered", servers_asked=len(resync.sources.records()))
                await resync.report()
                slot.release()
                await self._linger(lease, resync)
            except EvidenceAwaitedError as error:
                due_ms = self._services.now_ms() + int(self._limits.keys_retry_s * 1000)
                resync.board.failed(str(error), due_ms)
                await resync.report(RoomStatus.RESYNCING)
            except NoServerLeftError as error:
                now_ms = self._services.now_ms()
                # At least a moment later: a candidate without cooldown has just been of no use.
                due_ms = max(resync.sources.next_available_ms() or 0, now_ms + 1000)
                resync.board.failed(str(error), due_ms)
                await resync.report(RoomStatus.STALLED)
                log.info(
                    "room stalled",
                    retry_in_s=round((due_ms - now_ms) / 1000, 1),
                    reason=str(error)[:_MAX_REASON_CHARS],
                )
            else:
                return None
        return due_ms

    async def _linger(self, lease: Lease, resync: RoomResync) -> None:
        """Hold a recovered room, with all that was loaded for it, for the events that a busy room brings."""
        if self._lingering >= self._limits.lingering_rooms:
            return
        self._lingering += 1
        try:
            with self._mirror.waking(lease.room_id) as changed:
                # Looked at before the first wait too: events may have come while the last of the state was fetched.
                while (room := self._mirror.rooms.get(lease.room_id)) and room.generation == lease.generation:
                    if room.pending_events:
                        await resync.recover()
                    if not await changed.wait(self._limits.linger_s):
                        return
        finally:
            self._lingering -= 1

    @asynccontextmanager
    async def _attended(
        self, lease: Lease, resync: RoomResync, slot: Slot, waits: Waits
    ) -> AsyncIterator[None]:
        """Hold the lease and report progress while the work goes on; a lost lease ends the work at once."""
        work = asyncio.current_task()
        lost: list[PartialStateError] = []

        async def end_with(attendance: Coroutine[None, None, None]) -> None:
            try:
                await attendance
            except PartialStateError as error:
                lost.append(error)
                if work is not None:
                    work.cancel()

        attendances = [self._hold(lease, resync, slot, waits), self._await_release(lease)]
        attendants = [asyncio.create_task(end_with(attendance)) for attendance in attendances]
        try:
            yield
        except asyncio.CancelledError:
            if lost:
                raise lost[0] from None
            raise
        finally:
            for attendant in attendants:
                attendant.cancel()
            await asyncio.gather(*attendants, return_exceptions=True)

    async def _hold(self, lease: Lease, resync: RoomResync, slot: Slot, waits: Waits) -> None:
        """Renew the lease and report progress, for ever; raise `LeaseLostError` where that fails.

        A store that does not answer for a moment ends nothing: the lease outlasts that.
        """
        begun_ms = renewed_ms = self._services.now_ms()
        while True:
            await asyncio.sleep(self._limits.report_s)
            now_ms = self._services.now_ms()
            await slot.suit((now_ms - begun_ms) / 1000, waits.waited_s)
            try:
                if now_ms - renewed_ms >= self._lease_ttl_ms / 3:
                    await self._services.registry.renew(lease, now_ms, self._lease_ttl_ms)
                    renewed_ms = now_ms
                await resync.report()
            except StoreUnavailableError:
                if self._services.now_ms() - renewed_ms >= self._lease_ttl_ms:
                    raise

    async def _await_release(self, lease: Lease) -> None:
        """Raise `LeaseLostError` once the room was left, joined again or is no longer partial.

        Nobody is asked on behalf of such a room any more, however long an answer is being waited for.
        """
        seen = False
        with self._mirror.waking(lease.room_id) as changed:
            while True:
                room = self._mirror.rooms.get(lease.room_id)
                # At first the mirror may lag behind the claim.
                seen = seen or (room is not None and room.generation >= lease.generation)
                is_ours = room is not None and room.generation == lease.generation
                if seen and (not is_ours or (room and room.status is RoomStatus.ABANDONED)):
                    raise LeaseLostError(lease.room_id)
                await changed.wait(self._limits.linger_s)

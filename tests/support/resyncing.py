"""A resync for tests: a world of resident servers, a real store, the real federation client and real workers.

async with resyncing(WorldSize(members=50, servers=5, messages=2), store) as resync:
    joined = await resync.join()
    room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
"""

import asyncio
import ipaddress
import random
import time
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.ids import EventId, Generation, Position, RoomId, parse_room_id
from partialstate_service.domain.rooms import PartialRoom, Priority, RoomStatus
from partialstate_service.federation.assembly import FederationConfig, open_federation
from partialstate_service.federation.protocol import FederationLimits
from partialstate_service.federation.signing import LocalSigner
from partialstate_service.matrix.event import StateKey
from partialstate_service.matrix.room_versions import room_version
from partialstate_service.ownership.log_records import (
    CurrentStateRecord,
    EventRecord,
    StateBeforeRecord,
    VerdictRecord,
)
from partialstate_service.ownership.recovered_log import RecoveredLog
from partialstate_service.ownership.registration import Registration
from partialstate_service.ownership.send_join import JoinHeader
from partialstate_service.resync.cooldown import CooldownPolicy
from partialstate_service.resync.recovery_policy import RecoveryPolicy
from partialstate_service.resync.room_resync import ResyncPolicy, ResyncServices
from partialstate_service.resync.verification_task import EventVerdict, verify_chunk
from partialstate_service.resync.verifier import Verifier
from partialstate_service.resync.worker import WorkerLimits, Workers
from partialstate_service.store.open import Store
from partialstate_service.store.protocol import RecordedEvent
from support.worlds import PartialJoin, RunningWorld, running_world

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
# Cooldowns of real life, a hundred times faster.
IMPATIENT = ResyncPolicy(
    recovery=RecoveryPolicy(key_patience_s=0.5),
    cooldown=CooldownPolicy(first_s=0.2, soft_cap_s=1.0, hard_cap_s=2.0, join_propagation_s=3600),
)
QUICK = WorkerLimits(poll_s=0.2, report_s=0.05, lease_ttl_s=3.0, keys_retry_s=0.3, defect_retry_s=1.0)


class _InThread:
    """Verifies in a thread: tests of many rooms need no processes of their own."""

    at_once = 2

    async def verify_chunk(self, *args: Any) -> list[EventVerdict]:
        return await asyncio.to_thread(verify_chunk, *args)


def now_ms() -> int:
    return int(time.time() * 1000)


@dataclass(frozen=True, slots=True)
class Joined:
    """A registered partial join."""

    room_id: RoomId
    generation: Generation
    join: PartialJoin


@dataclass
class RoomOnStore:
    """A running world, and the store that knows of its room."""

    running: RunningWorld
    store: Store

    async def join(self, join: PartialJoin | None = None) -> Joined:
        """Join the world's room and register it."""
        join = join or await self.running.join_partially()
        room_id = parse_room_id(self.running.world.room.room_id)
        header = JoinHeader(
            room_id=room_id,
            version=room_version(str(self.running.world.room.version)),
            join_event=orjson.dumps(join.event),
            joined_via=join.joined_via,
            omit_members_requested=True,
        )
        registration = Registration(
            self.store.registry, self.store.bulk, self.running.homeserver.name, now_ms
        )
        registered, _ = await registration.register(header, join.response, Priority.NORMAL, None)
        return Joined(room_id, registered.generation, join)

    async def record(self, joined: Joined, *event_ids: EventId) -> None:
        """Record events of the world's room as partial ones that the homeserver accepted."""
        room = self.running.world.room
        events = [room.event(event_id) for event_id in event_ids]
        recorded = [RecordedEvent(e.event_id, e.json, True, e.prev_event_ids) for e in events]
        await self.store.registry.record_partial_events(joined.room_id, recorded, now_ms())

    async def until(self, room_id: RoomId, *statuses: RoomStatus, timeout_s: float = 30) -> PartialRoom:
        """Return the room once it has one of *statuses*."""
        async with asyncio.timeout(timeout_s):
            with self.store.mirror.waking(room_id) as changed:
                while True:
                    room = await self.store.registry.get(room_id)
                    if room.status in statuses:
                        return room
                    await changed.wait(1.0)

    async def records(self, joined: Joined) -> list[Any]:
        """Return the records of the recovered-state log."""
        log = RecoveredLog(self.store.registry, self.store.bulk, self.store.mirror)
        stream = log.stream(joined.room_id, joined.generation, Position(0), follow=False)
        return [record async for _, record in stream]

    async def verdicts(self, joined: Joined) -> dict[EventId, bool]:
        """Return which recorded events the log says are accepted."""
        records = await self.records(joined)
        return {record.event_id: record.accepted for record in records if isinstance(record, VerdictRecord)}


@dataclass
class Resync(RoomOnStore):
    """A running world with a store and workers."""

    services: ResyncServices
    limits: WorkerLimits
    workers: list[asyncio.Task[None]] = field(default_factory=list)

    def start_worker(self, owner: str = "worker") -> asyncio.Task[None]:
        task = asyncio.create_task(Workers(self.services, self.store.mirror, self.limits, owner).run())
        self.workers.append(task)
        return task

    async def stop_workers(self) -> None:
        for task in self.workers:
            task.cancel()
        for task in self.workers:
            with suppress(asyncio.CancelledError):
                await task
        self.workers.clear()


@asynccontextmanager
async def resyncing(
    size: WorldSize,
    store: Store,
    tmp_path: Path,
    *,
    version: str = "11",
    dead: Collection[int] = (),
    policy: ResyncPolicy = IMPATIENT,
    limits: WorkerLimits = QUICK,
    federation_limits: FederationLimits | None = None,
) -> AsyncIterator[Resync]:
    """Run a world with a worker on *store*; the registry should be fresh."""
    async with (
        running_world(size, version=version, dead=dead) as running,
        working(
            running, store, tmp_path, policy=policy, limits=limits, federation_limits=federation_limits
        ) as resync,
    ):
        yield resync


@asynccontextmanager
async def working(
    running: RunningWorld,
    store: Store,
    tmp_path: Path,
    *,
    policy: ResyncPolicy = IMPATIENT,
    limits: WorkerLimits = QUICK,
    federation_limits: FederationLimits | None = None,
) -> AsyncIterator[Resync]:
    """Run a worker of the world's homeserver on *store*; it works on the homeserver's rooms in other worlds too."""
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(running.authority.pem)
    us = running.homeserver
    config = FederationConfig(ca_file=ca_file, allowed_networks=LOOPBACK)
    if federation_limits is not None:
        config = replace(config, limits=federation_limits)
    async with open_federation(LocalSigner(us.name, us.key), config) as federation:
        services = ResyncServices(
            own_name=us.name,
            registry=store.registry,
            bulk=store.bulk,
            ledger=store.ledger,
            servers=federation.client,
            verifier=Verifier(federation.keys, _InThread()),
            policy=policy,
            now_ms=now_ms,
            jitter=random.Random(1).random,
        )
        resync = Resync(running, store, services, limits)
        resync.start_worker()
        try:
            yield resync
        finally:
            await resync.stop_workers()


async def recovered_state(resync: RoomOnStore, joined: Joined) -> dict[StateKey, str]:
    """Return the current state that the log says, as a homeserver would build it from the records."""
    before: dict[str, dict[StateKey, str]] = {"": {}}
    current: dict[StateKey, str] = {}
    for record in await resync.records(joined):
        if isinstance(record, StateBeforeRecord):
            state = before.setdefault(record.event_id, dict(before[record.base or ""]))
            _apply(state, record.entries)
        elif isinstance(record, CurrentStateRecord):
            if record.base:
                current = dict(before[record.base])
            _apply(current, record.entries)
    return current


async def assert_exact(resync: RoomOnStore, joined: Joined) -> None:
    """Assert that the log holds exactly what the room's servers hold: the current state, and every event that it needs.

    An event is compared as the servers send it, so that a redacted or otherwise changed copy is noticed.
    """
    room = resync.running.world.room
    state = await recovered_state(resync, joined)
    assert state == dict(room.current_state())
    events = {r.event_id: r for r in await resync.records(joined) if isinstance(r, EventRecord)}
    for event_id, record in events.items():
        assert not record.rejected
        assert orjson.loads(record.json) == room.event(event_id).raw, event_id
    recorded = {item.event_id for item in await resync.store.registry.recorded_events(joined.room_id)}
    before_join = set(room.state_before(joined.join.event_id).values())
    assert before_join | room.auth_chain([*before_join, *recorded]) <= {*events, *recorded}


def _apply(state: dict[StateKey, str], entries: Iterable[tuple[StateKey, str]]) -> None:
    for key, event_id in entries:
        if event_id:
            state[key] = event_id
        else:
            state.pop(key, None)

"""Primaries that die, are cut off or lose writes: nothing acknowledged is lost, and nothing is decided by what was."""

import asyncio
import signal
from contextlib import suppress
from dataclasses import replace

import pytest
from partialstate_service.domain.errors import (
    LeaseLostError,
    NotReconciledError,
    PartialStateError,
    StoreUnavailableError,
)
from partialstate_service.domain.ids import RoomId
from partialstate_service.store.open import open_store
from partialstate_service.store.protocol import ChunkKind, NewSegment
from partialstate_service.store.settings import StoreSettings
from partialstate_service.store.topologies import slot_of
from support.patience import patiently
from support.store_rooms import JOIN, NOW, TTL, claim, join, log_chunk, register
from support.store_server import servers_here
from support.store_topologies import PRIMARIES, SLOTS, cluster_store, sentinel_store

EXECUTABLE = servers_here()[-1]
pytestmark = pytest.mark.xdist_group("failover")


@pytest.fixture(params=[sentinel_store, cluster_store], ids=["sentinel", "cluster"])
def deployment(request, tmp_path_factory):
    """A store of its own, for it does not come out whole."""
    with request.param(EXECUTABLE, tmp_path_factory.mktemp("f")) as found:
        yield found


@pytest.fixture
def settings(deployment, tmp_path):
    return StoreSettings(
        data_dir=tmp_path, url=deployment.url, follow_interval_s=0.2, command_timeout_s=1, connect_timeout_s=1
    )


@pytest.fixture
async def store(settings):
    async with open_store(settings) as store:
        await patiently(store.registry.mark_reconciled)
        await patiently(lambda: store.mirror.fully_consistent(()))
        yield store


async def endlessly(call):
    """Repeat a call until it fails."""
    while True:
        await call()
        await asyncio.sleep(0.1)


async def test_acknowledged_changes_survive_a_primary_that_is_killed_under_load(deployment, settings, store):
    acknowledged, busy, decided = [], asyncio.Event(), asyncio.Event()

    async def work(worker, writer):
        for i in range(60):
            room = f"!{worker}-{i}:here"
            await patiently(lambda room=room: register(writer, join(room, f"$join-{room[1:]}")))
            acknowledged.append(RoomId(room))
            if len(acknowledged) == 30:
                busy.set()

    async def check():
        while not decided.is_set():
            before = list(acknowledged)
            with suppress(StoreUnavailableError):
                await store.mirror.fully_consistent(())
                assert set(before) <= store.mirror.rooms.keys()
            await asyncio.sleep(0.01)

    async with open_store(settings) as other, asyncio.TaskGroup() as group:
        checking = group.create_task(check())
        works = [group.create_task(work(i, writer)) for i, writer in enumerate((store, other))]
        await busy.wait()
        deployment.nodes[0].signal(signal.SIGKILL)
        await asyncio.wait(works)
        decided.set()
        await checking
        for replica in (store, other):
            await patiently(lambda replica=replica: replica.mirror.fully_consistent(()))
        assert other.mirror.rooms.keys() == store.mirror.rooms.keys() == set(acknowledged)
        assert len(acknowledged) == 120


async def test_a_primary_without_its_replicas_decides_nothing(deployment, store):
    replicas = [node for node in deployment.nodes if node.role() == b"slave"]
    for node in replicas:
        node.signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(30):
            with pytest.raises(StoreUnavailableError):
                await endlessly(lambda: store.mirror.fully_consistent(()))
        with pytest.raises(StoreUnavailableError):
            await register(store)
    finally:
        for node in replicas:
            node.signal(signal.SIGCONT)
    await patiently(lambda: store.mirror.fully_consistent(()))


async def test_writes_that_a_fail_over_lost_are_noticed_by_every_replica(deployment, settings, store):
    await patiently(lambda: register(store, join("!kept:here", "$kept")))
    replicas = [node for node in deployment.nodes if node.role() == b"slave"]
    async with open_store(replace(settings, acknowledging_replicas=0)) as hasty:
        # What a primary takes before it notices that its replicas are gone, made certain.
        deployment.nodes[0].ask("CONFIG", "SET", "min-replicas-to-write", "0")
        for node in replicas:
            node.signal(signal.SIGSTOP)
        deployment.nodes[0].ask("CLIENT", "KILL", "TYPE", "replica")
        lost = await register(hasty, join("!lost:here", "$lost"))
        for replica in (store, hasty):
            await replica.mirror.fully_consistent(())
            assert "!lost:here" in replica.mirror.rooms
        deployment.nodes[0].signal(signal.SIGKILL)
        for node in replicas:
            node.signal(signal.SIGCONT)
        for replica in (store, hasty):
            with pytest.raises(NotReconciledError):
                await patiently(lambda replica=replica: replica.mirror.fully_consistent(()))
            assert set(replica.mirror.rooms) == {"!kept:here"}
            with pytest.raises(PartialStateError):
                await replica.mirror.at_least(lost.token, 5)
        await patiently(store.registry.mark_reconciled)
        await patiently(lambda: hasty.mirror.fully_consistent(()))


async def test_a_late_writer_touches_nothing_of_its_successor(store, settings):
    # In a cluster, its large data is on another primary than the registry.
    room = RoomId("!far:here")
    assert slot_of(f"{{{room}}}") > SLOTS // PRIMARIES > slot_of("{registry}")
    await register(store, join(room, JOIN))
    zombie = await claim(store)
    late = await log_chunk(store, b'{"by":"zombie"}', room=room)
    async with open_store(settings) as successor:
        lease = await successor.registry.claim_due("successor", NOW + TTL + 1, TTL)
        chunk = await log_chunk(successor, b'{"by":"successor"}', room=room)
        await successor.registry.append_log(lease, [NewSegment(ChunkKind.LOG, chunk)], [JOIN], [])
        later = await log_chunk(store, b'{"by":"zombie"}', room=room)
        for written in (late, later):
            with pytest.raises(LeaseLostError):
                await store.registry.append_log(zombie, [NewSegment(ChunkKind.LOG, written)], [], [])
        checkpoint = await successor.registry.checkpoint(lease)
        assert [segment.chunk for segment in checkpoint.segments] == [chunk]
        assert await successor.bulk.records(chunk) == [b'{"by":"successor"}']

"""The network between worker and store, and between us and the room's servers, misbehaves; rooms are recovered exactly."""

import asyncio
import random
import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from partialstate_service.demo.resident.behaviour import Held
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings
from support.change_log import assert_one_owner_at_a_time, read_change_log
from support.fault_proxy import unix_fault_proxy
from support.misbehaviours import IMPATIENT_LIMITS, STATE, STATE_IDS
from support.proxied_worlds import proxied_world, trouble
from support.resyncing import QUICK, RoomOnStore, assert_exact, working
from support.store_server import running_server, servers_here
from support.worlds import running_world

SIZE = WorldSize(members=700, servers=4, messages=2)
SMALL = WorldSize(members=60, servers=4, messages=2)
QUICK_LEASE = replace(QUICK, lease_ttl_s=1.0)


@asynccontextmanager
async def proxied_store():
    """Yield a store reached through a proxy, the proxy, the same store reached directly, and its URL."""
    with (
        tempfile.TemporaryDirectory(prefix="mps-") as name,
        running_server(servers_here()[0], Path(name) / "store") as upstream,
    ):
        async with unix_fault_proxy(upstream, f"{name}/proxy.sock") as proxy:
            direct = StoreSettings(data_dir=Path(name), url=f"unix://{upstream}")
            faulty = replace(
                direct, url=f"unix://{name}/proxy.sock", command_timeout_s=1.0, follow_interval_s=0.3
            )
            async with open_store(direct) as ours:
                await ours.registry.mark_reconciled()
                async with open_store(faulty) as theirs:
                    yield theirs, proxy, ours, f"unix://{upstream}"


async def becomes_full(view: RoomOnStore, joined) -> None:
    await view.until(joined.room_id, RoomStatus.AWAITING_IMPORT, timeout_s=60)
    await assert_exact(view, joined)


async def test_a_slow_way_to_the_store_costs_only_time(tmp_path):
    async with proxied_store() as (store, proxy, ours, url), running_world(SIZE) as running:
        proxy.latency_s = 0.02
        async with working(running, store, tmp_path):
            view = RoomOnStore(running, ours)
            await becomes_full(view, await view.join())
        assert_one_owner_at_a_time(read_change_log(url))


@pytest.mark.parametrize("seed", range(2))
async def test_cuts_and_silence_between_worker_and_store_lose_nothing(tmp_path, seed):
    rng = random.Random(seed)
    async with proxied_store() as (store, proxy, ours, url), running_world(SIZE) as running:
        async with working(running, store, tmp_path, limits=QUICK_LEASE):
            view = RoomOnStore(running, ours)
            joined = await view.join()
            await trouble([proxy], rng, duration_s=4)
            await becomes_full(view, joined)
        assert_one_owner_at_a_time(read_change_log(url))
        assert proxy.connections > 1


async def test_a_worker_behind_a_partition_is_replaced_and_its_late_writes_are_refused(tmp_path):
    async with proxied_store() as (store, proxy, ours, url), running_world(SMALL) as running:
        released = asyncio.Event()
        for server in running.world.servers:
            running.residents.behave(server.name, Held(released), STATE)
        async with working(running, store, tmp_path, limits=QUICK_LEASE):
            view = RoomOnStore(running, ours)
            joined = await view.join()
            async with asyncio.timeout(20):
                while not running.residents.log.count(STATE):  # noqa: ASYNC110 - the residents tell nobody
                    await asyncio.sleep(0.01)
            # It holds the room and waits for the state; now it can neither renew its lease nor see it go.
            proxy.silence()
            async with working(running, ours, tmp_path, limits=QUICK_LEASE):
                async with asyncio.timeout(20):
                    while running.residents.log.count(STATE) < 2:  # noqa: ASYNC110 - the residents tell nobody
                        await asyncio.sleep(0.01)
                released.set()
                await becomes_full(view, joined)
                proxy.heal()
                await becomes_full(view, joined)
        assert assert_one_owner_at_a_time(read_change_log(url)) >= 2


@pytest.mark.parametrize("seed", range(2))
async def test_cuts_and_silence_between_us_and_the_servers_only_delay(store, tmp_path, seed):
    rng = random.Random(seed)
    async with proxied_world(SIZE) as (running, proxies):
        view = RoomOnStore(running, store)
        joined = await view.join()
        async with working(running, store, tmp_path, federation_limits=IMPATIENT_LIMITS):
            await trouble(proxies, rng, duration_s=4)
            await becomes_full(view, joined)


async def test_a_partition_from_all_servers_stalls_the_room_until_it_heals(store, tmp_path):
    async with proxied_world(SMALL) as (running, proxies):
        released = asyncio.Event()
        for server in running.world.servers:
            running.residents.behave(server.name, Held(released), STATE_IDS)
        view = RoomOnStore(running, store)
        joined = await view.join()
        async with working(running, store, tmp_path, federation_limits=IMPATIENT_LIMITS):
            async with asyncio.timeout(20):
                while not running.residents.log.count(STATE_IDS):  # noqa: ASYNC110 - the residents tell nobody
                    await asyncio.sleep(0.01)
            for proxy in proxies:
                proxy.silence()
            room = await view.until(joined.room_id, RoomStatus.STALLED, timeout_s=60)
            assert {record.outcome for record in room.progress.servers} <= {"timeout", "unreachable"}
            released.set()
            for proxy in proxies:
                proxy.heal()
            await becomes_full(view, joined)

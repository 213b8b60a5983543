"""Services, their verifiers and their store are killed at random instants, again and again; nothing is lost or wrong."""

import asyncio
import random
import sys
import tempfile
from pathlib import Path

import pytest
from partialstate_service.demo.resident.breaking import Paced
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings
from support.change_log import assert_one_owner_at_a_time, deepest_fall_of_progress, read_change_log
from support.killable import killable_services
from support.many_rooms import running_rooms
from support.misbehaviours import STATE
from support.resyncing import RoomOnStore, assert_exact

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")

# On the same store, as replicas of a deployment are.
SERVICES = 2
# What a crash may lose: the events that do not fill a chunk yet.
CHUNK = 500
# A killed service's rooms wait for the end of their leases, 15 s; they may be killed in their last attempt too.
LONGEST_S = 150


async def run(rounds: int, seed: int, record_property) -> None:
    """Join a room every other round, kill something in every round, and look at what is left of it in the end."""
    rng = random.Random(seed)
    sizes = [WorldSize(1600 if number % 4 == 0 else 60, 4, 2) for number in range(rounds // 2)]
    async with running_rooms(sizes, rng) as rooms:
        for running in rooms:
            for server in running.world.servers:
                running.residents.behave(server.name, Paced(rng.uniform(0.2, 1.5)), STATE)
        with tempfile.TemporaryDirectory(prefix="mps-") as name:
            directory = Path(name)
            rooms[0].authority.write_pem(directory / "ca.pem")
            async with killable_services(rooms[0].homeserver, directory, SERVICES) as services:
                url = services[0].store_url
                settings = StoreSettings(data_dir=directory, url=url)
                views, joined = [], []
                for number in range(rounds):
                    if number % 2 == 0:
                        async with open_store(settings) as store:
                            await store.registry.mark_reconciled()
                            view = RoomOnStore(rooms[number // 2], store)
                            views.append(view)
                            joined.append(await view.join())
                    # A random instant is the point here, not a way to wait for something.
                    await asyncio.sleep(rng.uniform(0, 1.2))
                    service = rng.choice(services)
                    kill = rng.choice([service.kill_service, service.kill_verifier, service.kill_store])
                    await kill()
                async with open_store(settings) as store:
                    for view, join in zip(views, joined, strict=True):
                        view.store = store
                        await view.until(join.room_id, RoomStatus.AWAITING_IMPORT, timeout_s=LONGEST_S)
                        await assert_exact(view, join)
                entries = read_change_log(url)
    claims = assert_one_owner_at_a_time(entries)
    fall = deepest_fall_of_progress(entries)
    assert fall <= CHUNK
    record_property(
        "figures",
        f"{rounds} kills, {SERVICES} services, {len(rooms)} rooms, {claims} claims; progress fell back by {fall} events at the most",
    )


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1])
async def test_kills_at_random_instants_lose_no_room_and_make_no_event_wrong(seed, record_property):
    await run(24, seed, record_property)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10, 20))
async def test_hundreds_of_kills_at_random_instants(seed, record_property):
    await run(60, seed, record_property)

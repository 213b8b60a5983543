"""Many rooms, and servers that misbehave in all ways at once, mixed at random: the seed is the test's parameter.

Servers that leave members out or make them up are not in the mix: where they are the majority of those that answer,
nobody can tell (`tests/resync/test_cross_check.py` has them).
"""

import asyncio
import random

import pytest
from partialstate_service.demo.resident.behaviour import Honest
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.rooms import RoomStatus
from support.many_rooms import running_rooms
from support.misbehaviours import EVENT, IMPATIENT_LIMITS, MISBEHAVIOURS, STATE, STATE_IDS, rename
from support.resyncing import RoomOnStore, assert_exact, working

ROOMS = 5
UNDETECTABLE = {"leaves_members_out"}
CASES = [case for case in MISBEHAVIOURS if case.name not in UNDETECTABLE]
# One whose `/state` alone is bad is of use once the events are had from elsewhere.
USELESS = [
    case
    for case in CASES
    if "ok" not in case.outcomes
    and STATE_IDS in case.endpoints
    and case.name not in {"wrong_room", "changed_membership"}
]


async def run(seed: int, store, tmp_path) -> None:
    """Let each room have one honest server at a random place; in the last room it becomes honest only later."""
    rng = random.Random(seed)
    sizes = [WorldSize(rng.randint(20, 200), rng.randint(3, 8), rng.randint(0, 5)) for _ in range(ROOMS)]
    async with (
        running_rooms(sizes, rng) as rooms,
        working(rooms[0], store, tmp_path, federation_limits=IMPATIENT_LIMITS),
    ):
        cast = {}
        for number, running in enumerate(rooms):
            rename(running.world)
            servers = [server.name for server in running.world.servers]
            late = number == ROOMS - 1
            honest = rng.choice(servers)
            for server in servers:
                case = rng.choice(USELESS if late else CASES)
                if late or server != honest:
                    case.infect(running.residents, server)
                    cast[server] = case.name
        views = [RoomOnStore(running, store) for running in rooms]
        joined = [await view.join() for view in views]
        stalled = await views[-1].until(joined[-1].room_id, RoomStatus.STALLED, timeout_s=90)
        for record in stalled.progress.servers:
            assert record.outcome != "ok", (seed, record, cast)
        running = rooms[-1]
        running.residents.behave(rng.choice(running.world.servers).name, Honest(), STATE, STATE_IDS, EVENT)
        try:
            async with asyncio.TaskGroup() as group:
                for view, join in zip(views, joined, strict=True):
                    group.create_task(view.until(join.room_id, RoomStatus.AWAITING_IMPORT, timeout_s=90))
        except* TimeoutError:
            pytest.fail(f"seed {seed}: not every room is recovered; cast: {cast}")
        for view, join in zip(views, joined, strict=True):
            await assert_exact(view, join)


@pytest.mark.parametrize("seed", range(4))
async def test_every_room_with_an_honest_server_gets_its_exact_state(store, tmp_path, seed):
    await run(seed, store, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 200))
async def test_every_room_with_an_honest_server_gets_its_exact_state_a_hundred_times(store, tmp_path, seed):
    await run(seed, store, tmp_path)

"""Whatever a server does: the room ends with its exact state if an honest one is there, and honestly STALLED if not."""

import pytest
from partialstate_service.demo.resident.behaviour import AtFirst, Honest, Slow, forbidden
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.rooms import RoomStatus
from support.misbehaviours import EVENT, IMPATIENT_LIMITS, MISBEHAVIOURS, STATE, STATE_IDS, rename
from support.resyncing import assert_exact, resyncing

SMALL = WorldSize(members=40, servers=5, messages=3)
HARMFUL = [case for case in MISBEHAVIOURS if "ok" not in case.outcomes]


@pytest.mark.parametrize("case", MISBEHAVIOURS, ids=lambda case: case.name)
async def test_beside_honest_servers_the_state_is_exact_and_the_account_names_the_failure(
    store, tmp_path, case
):
    async with resyncing(SMALL, store, tmp_path, federation_limits=IMPATIENT_LIMITS) as resync:
        rename(resync.running.world)
        case.infect(resync.running.residents, resync.running.world.creator.name)
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)
        outcomes = {record.server: record.outcome for record in room.progress.servers}
        assert outcomes[resync.running.world.creator.name] in case.outcomes


@pytest.mark.parametrize("case", HARMFUL, ids=lambda case: case.name)
async def test_without_an_honest_server_the_room_stalls_says_why_and_recovers_when_one_appears(
    store, tmp_path, case
):
    async with resyncing(SMALL, store, tmp_path, federation_limits=IMPATIENT_LIMITS) as resync:
        running = resync.running
        rename(running.world)
        for server in running.world.servers:
            case.infect(running.residents, server.name)
            running.residents.behave(server.name, forbidden(), EVENT)
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.STALLED)
        assert {record.server for record in room.progress.servers} == {s.name for s in running.world.servers}
        assert all(record.failures >= 1 for record in room.progress.servers)
        assert room.progress.next_attempt_ms is not None
        assert room.progress.last_failure
        assert room.log_position == 0
        running.residents.behave(running.world.servers[-1].name, Honest(), STATE, STATE_IDS, EVENT)
        await resync.store.registry.retry(joined.room_id, [], room.registered_at_ms)
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)


async def test_a_stalled_room_recovers_by_itself_once_a_cooldown_is_over(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        servers = [server.name for server in resync.running.world.servers]
        for server in servers:
            resync.running.residents.behave(server, forbidden())
        joined = await resync.join()
        await resync.until(joined.room_id, RoomStatus.STALLED)
        resync.running.residents.behave(servers[2], Honest())
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)


async def test_a_server_that_timed_out_is_asked_again_before_others_because_its_cache_is_warm(
    store, tmp_path
):
    async with resyncing(SMALL, store, tmp_path, federation_limits=IMPATIENT_LIMITS) as resync:
        creator = resync.running.world.creator.name
        resync.running.residents.behave(creator, AtFirst(1, Slow(3600)), STATE_IDS)
        joined = await resync.join()
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        asked = [r.server for r in resync.running.residents.log.requests if r.endpoint is STATE_IDS]
        assert asked[:2] == [creator, creator]

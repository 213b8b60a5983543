"""A server that leaves members out or makes some up cannot be caught alone: others are asked, and the majority counts."""

from dataclasses import replace

import pytest
from partialstate_service.demo.resident.behaviour import AtFirst, Lying, Refusing, Slow, unable
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.resync.recovery_policy import RecoveryPolicy
from support.forked_rooms import Adds, LeavesOut
from support.resyncing import IMPATIENT, assert_exact, recovered_state, resyncing

SMALL = WorldSize(members=40, servers=6, messages=3)
TWO = WorldSize(members=40, servers=2, messages=3)


def forged_member(world):
    liar = world.creator
    return Adds(world, liar, "forged", "m.room.member", liar.user("forged"), membership="join")


@pytest.mark.parametrize("lie", [lambda world: LeavesOut(world, 5), forged_member], ids=["omitted", "forged"])
@pytest.mark.parametrize("liars", [1, 2])
async def test_servers_with_another_state_are_outvoted_and_reported(store, tmp_path, lie, liars):
    async with resyncing(SMALL, store, tmp_path) as resync:
        world = resync.running.world
        change = lie(world)
        for server in world.servers[:liars]:
            resync.running.residents.behave(server.name, Lying(change))
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)
        assert "tell another state" in str(room.progress.findings)
        assert world.creator.name in str(room.progress.findings)


async def test_where_only_two_differ_the_one_that_we_joined_through_counts_and_it_is_reported(
    store, tmp_path
):
    async with resyncing(TWO, store, tmp_path) as resync:
        world = resync.running.world
        resync.running.residents.behave(world.servers[1].name, Lying(LeavesOut(world, 5)))
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)
        assert "1 of 2 servers tell another state" in str(room.progress.findings)


async def test_the_one_that_we_joined_through_counts_also_when_it_answers_second(store, tmp_path):
    async with resyncing(TWO, store, tmp_path) as resync:
        world, residents = resync.running.world, resync.running.residents
        lie = Lying(LeavesOut(world, 5))
        residents.behave(world.creator.name, AtFirst(1, unable()), Endpoint.STATE_IDS)
        residents.behave(world.servers[1].name, lie, Endpoint.STATE_IDS)
        # By then the other's pause, of 0.2 s at most here, is over.
        residents.behave(world.servers[1].name, Slow(1.0, lie), Endpoint.STATE)
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)
        assert f"what {world.creator.name} tells counts" in str(room.progress.findings)


async def test_where_nobody_else_can_answer_the_one_state_counts(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        for server in resync.running.world.servers[1:]:
            resync.running.residents.behave(server.name, unable())
        joined = await resync.join()
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)


async def test_the_cross_check_can_be_turned_off(store, tmp_path):
    policy = replace(IMPATIENT, recovery=RecoveryPolicy(cross_check=False))
    async with resyncing(SMALL, store, tmp_path, policy=policy) as resync:
        world = resync.running.world
        resync.running.residents.behave(world.creator.name, Lying(LeavesOut(world, 5)))
        joined = await resync.join()
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        # What one liar says is verified, and yet not the room's state.
        assert (await recovered_state(resync, joined)).items() < dict(world.room.current_state()).items()


def pads(body):
    """Tell an auth chain that nobody can give."""
    if "auth_chain_ids" in body:
        body["auth_chain_ids"] = [*body["auth_chain_ids"], *(f"$pad{number}" for number in range(500))]


def fails_once(world, residents):
    for server in world.servers[1:]:
        residents.behave(server.name, AtFirst(1, Refusing(500, "M_UNKNOWN")), Endpoint.STATE)


def spoilt_by(place):
    return lambda world, residents: residents.behave(
        world.servers[place].name, Lying(pads), Endpoint.STATE_IDS
    )


@pytest.mark.parametrize("harm", [fails_once, *map(spoilt_by, range(1, 6))])
async def test_a_majority_that_cannot_be_verified_at_once_is_not_outvoted_by_a_liar(store, tmp_path, harm):
    async with resyncing(SMALL, store, tmp_path) as resync:
        world, residents = resync.running.world, resync.running.residents
        residents.behave(world.creator.name, Lying(LeavesOut(world, 20)))
        harm(world, residents)
        joined = await resync.join()
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)


async def test_a_majority_that_is_never_verified_does_not_keep_a_room_for_ever(store, tmp_path):
    policy = replace(IMPATIENT, recovery=RecoveryPolicy(prev_patience_s=0.0))
    async with resyncing(SMALL, store, tmp_path, policy=policy) as resync:
        world, residents = resync.running.world, resync.running.residents
        invented = Adds(world, world.servers[1], "x", "m.room.member", "@x:nobody.invalid", membership="join")
        for server in world.servers[1:]:
            residents.behave(server.name, Lying(invented), Endpoint.STATE_IDS)
            residents.behave(server.name, Refusing(500, "M_UNKNOWN"), Endpoint.STATE, Endpoint.EVENT)
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)
        assert "theirs cannot be verified" in str(room.progress.findings)

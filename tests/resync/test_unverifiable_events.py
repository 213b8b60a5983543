"""What nobody can verify, and what fails auth, is left out only where that lets nobody in; and it is reported."""

import asyncio
from dataclasses import replace

from partialstate_service.demo.resident.behaviour import Honest, Lying, Refusing
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import UserId, server_of
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.resync.recovery_policy import RecoveryPolicy
from support.forked_rooms import Adds
from support.resyncing import IMPATIENT, assert_exact, recovered_state, resyncing

SMALL = WorldSize(members=40, servers=5, messages=3)
KEYLESS = 3


def forget_keys(running):
    """Let no living server know anybody's keys but its own."""
    for server in running.world.servers:
        for endpoint in (Endpoint.KEY_QUERY, Endpoint.KEY_QUERY_SERVER):
            running.residents.behave(server.name, Refusing(404, "M_NOT_FOUND"), endpoint)


def remember_keys(running):
    for server in running.world.servers:
        for endpoint in (Endpoint.KEY_QUERY, Endpoint.KEY_QUERY_SERVER):
            running.residents.behave(server.name, Honest(), endpoint)


def members_of(world, server):
    return {
        event_id
        for (kind, state_key), event_id in world.room.current_state().items()
        if kind == "m.room.member" and server_of(UserId(state_key)) == server.name
    }


async def test_memberships_that_no_key_verifies_are_left_out_after_a_while_and_listed(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path, dead=[KEYLESS]) as resync:
        world = resync.running.world
        forget_keys(resync.running)
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        keyless = members_of(world, world.servers[KEYLESS])
        assert set(room.progress.unverified) == keyless
        assert set((await recovered_state(resync, joined)).values()) == (
            set(world.room.current_state().values()) - keyless
        )


async def test_a_room_can_be_told_to_wait_for_keys_and_completes_once_they_are_there(store, tmp_path):
    policy = replace(IMPATIENT, recovery=RecoveryPolicy(key_patience_s=0.1, omit_unverifiable=False))
    async with resyncing(SMALL, store, tmp_path, dead=[KEYLESS], policy=policy) as resync:
        running = resync.running
        forget_keys(running)
        joined = await resync.join()
        while True:
            room = await store.registry.get(joined.room_id)
            if "signing keys" in room.progress.last_failure:
                break
            with store.mirror.waking(joined.room_id) as changed:
                await changed.wait(1.0)
        assert room.status is RoomStatus.RESYNCING
        assert room.progress.next_attempt_ms is not None
        assert room.progress.keys_missing_since_ms is not None
        async with asyncio.timeout(20):
            with store.mirror.waking(joined.room_id) as changed:
                while (await store.registry.get(joined.room_id)).progress.attempts < 4:
                    await changed.wait(1.0)
        remember_keys(running)
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)
        # Once from the server that told the state and once from another: no attempt fetches again what lacks only keys.
        assert running.residents.log.count(Endpoint.STATE) <= 2
        fetched = [r.uri for r in running.residents.log.requests if r.endpoint is Endpoint.EVENT]
        assert len(fetched) == len(set(fetched))
        async with asyncio.timeout(20):
            with store.mirror.waking(joined.room_id) as changed:
                while (room := await store.registry.get(joined.room_id)).progress.last_failure:
                    await changed.wait(1.0)
        # The next gap has its own patience.
        assert room.progress.keys_missing_since_ms is None
        assert room.progress.unverified == ()


async def test_an_event_that_others_need_waits_for_its_key_and_no_server_is_blamed(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path, dead=[KEYLESS]) as resync:
        world = resync.running.world
        keyless = world.servers[KEYLESS]
        # Its membership is what its message needs, and the message is the one that our join follows.
        world.message(keyless, "The last words of a server")
        forget_keys(resync.running)
        joined = await resync.join()
        with store.mirror.waking(joined.room_id) as changed:
            async with asyncio.timeout(20):
                while (await store.registry.get(joined.room_id)).progress.attempts < 4:
                    await changed.wait(1.0)
        room = await store.registry.get(joined.room_id)
        assert room.status is RoomStatus.RESYNCING
        assert "invalid" not in {record.outcome for record in room.progress.servers}
        assert room.log_position == 0


async def test_an_event_that_fails_auth_everywhere_is_left_out_and_reported(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        world = resync.running.world
        powerless = world.servers[1]
        # The simulated room is no judge: it takes this for state, as real servers have been known to.
        bad = world.room.say(
            powerless, powerless.user("u1"), "m.room.avatar", {"url": "mxc://a/b"}, "", now_ms=world.tick()
        )
        world.message(powerless, "The state that a join asks for is the one before this")
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert room.progress.left_out == (bad.event_id,)
        expected = {k: v for k, v in world.room.current_state().items() if v != bad.event_id}
        assert await recovered_state(resync, joined) == expected


async def test_a_server_whose_state_has_no_event_that_fails_auth_is_preferred(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        world = resync.running.world
        bad = Adds(world, world.creator, "nobody", "m.room.avatar", "", url="mxc://a/b")
        for server in world.servers[:2]:
            resync.running.residents.behave(server.name, Lying(bad))
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)
        assert room.progress.left_out == ()

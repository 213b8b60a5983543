"""A resync goes on where it was: after a restart, after a second join, and when further events come."""

import asyncio
import time

from partialstate_service.demo.resident.behaviour import Behaviour, Lying
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.ids import EventId
from partialstate_service.domain.rooms import RoomStatus
from support.forked_rooms import LeavesOut, say_after
from support.misbehaviours import EVENT, STATE, STATE_IDS
from support.resyncing import assert_exact, resyncing

SMALL = WorldSize(members=60, servers=5, messages=3)


class Stuck(Behaviour):
    """Tells that it was asked, and answers honestly once it is released."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.released = asyncio.Event()

    async def answer(self, request, honest):
        self.asked.set()
        await self.released.wait()
        return await honest()


async def test_a_restarted_worker_fetches_nothing_that_was_fetched_before(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        residents, world = resync.running.residents, resync.running.world
        stuck = Stuck()
        for server in world.servers:
            residents.behave(server.name, Lying(LeavesOut(world, 4)), STATE)
            residents.behave(server.name, stuck, EVENT)
        joined = await resync.join()
        await asyncio.wait_for(stuck.asked.wait(), 20)
        await resync.stop_workers()
        assert residents.log.count(STATE) == 1
        begun = residents.log.count(EVENT)
        stuck.released.set()
        resync.start_worker("another")
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)
        assert residents.log.count(STATE) == 1
        # What `/state` left out, and the event that the state is the one before of.
        fetched = [r.uri for r in residents.log.requests if r.endpoint is EVENT][begun:]
        assert len(fetched) == len(set(fetched)) <= 4 + 1


async def test_a_second_join_while_partial_makes_a_new_generation_out_of_what_is_held(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        log = resync.running.residents.log
        first = await resync.join()
        await resync.until(first.room_id, RoomStatus.AWAITING_IMPORT)
        asked = (log.count(STATE), log.count(STATE_IDS), log.count(EVENT))
        second = await resync.join()
        assert second.generation > first.generation
        await resync.until(second.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, second)
        assert (log.count(STATE), log.count(STATE_IDS), log.count(EVENT)) == asked


async def test_events_with_missing_and_half_missing_prevs_get_their_full_state(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        world, room = resync.running.world, resync.running.world.room
        joined = await resync.join()
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        join_id = joined.join.event_id
        # What the homeserver never got: a message on one branch, a new member on the other.
        unseen = say_after(world, world.servers[1], join_id)
        late = world.servers[2].user("late")
        member = room.say(
            world.servers[2], late, "m.room.member", {"membership": "join"}, late, now_ms=world.tick()
        )
        missing = say_after(world, world.servers[3], member.event_id)
        half_missing = say_after(world, world.servers[4], join_id, unseen.event_id, missing.event_id)
        await resync.record(joined, missing.event_id)
        await resync.record(joined, half_missing.event_id)
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert (await store.registry.get(joined.room_id)).pending_events == 0
        await assert_exact(resync, joined)
        assert dict(room.current_state())["m.room.member", late] == member.event_id


async def test_an_event_of_a_recovered_room_is_in_the_log_in_milliseconds(store, tmp_path, record_property):
    async with resyncing(SMALL, store, tmp_path) as resync:
        world = resync.running.world
        joined = await resync.join()
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        requests = len(resync.running.residents.log.requests)
        took_ms = []
        for _ in range(10):
            world.message(world.servers[1], "Another")
            message: EventId = world.room.extremities[0]
            begun_s = time.perf_counter()
            await resync.record(joined, message)
            await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
            took_ms.append((time.perf_counter() - begun_s) * 1000)
        record_property("figures", f"recorded to logged: {sorted(took_ms)[5]:.1f} ms in the median")
        assert sorted(took_ms)[5] < 250
        assert len(resync.running.residents.log.requests) == requests
        await assert_exact(resync, joined)

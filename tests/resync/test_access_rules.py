"""What checks know of a room's ACL, join rules and visibility is what the recovered state says, as soon as there is one."""

from dataclasses import replace

import orjson
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.matrix.signing import sign_event
from support.resyncing import now_ms, recovered_state, resyncing

SMALL = WorldSize(members=20, servers=4, messages=3)
ACL = ("m.room.server_acl", "")


def without_acl(join):
    """A response from which the resident server leaves the ACL out."""
    body = orjson.loads(join.response)
    body["state"] = [event for event in body["state"] if event["type"] != ACL[0]]
    return replace(join, response=orjson.dumps(body))


async def known_and_recovered_acls(resync, joined):
    room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
    assert room.state_verified
    state = await recovered_state(resync, joined)
    return list(room.summary.acls), [resync.running.world.room.event(state[ACL]).raw["content"]]


async def test_an_acl_that_the_response_left_out_is_known_with_the_recovered_state(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        joined = await resync.join(without_acl(await resync.running.join_partially()))
        known, recovered = await known_and_recovered_acls(resync, joined)
        assert known == recovered


async def test_a_worker_that_dies_after_verifying_the_response_leaves_the_rest_to_the_next(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        await resync.stop_workers()
        joined = await resync.join(without_acl(await resync.running.join_partially()))
        lease = await store.registry.claim_due("dead", now_ms(), 10)
        await store.registry.mark_state_verified(lease)
        await store.registry.hand_back(lease, now_ms())
        resync.start_worker("successor")
        known, recovered = await known_and_recovered_acls(resync, joined)
        assert known == recovered


async def test_an_event_that_names_an_old_prev_event_does_not_bring_old_rules_back(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        await resync.stop_workers()
        room, server = resync.running.world.room, resync.running.world.servers[0]
        joined = await resync.join()
        old = next(event for event in room.events.values() if event.type == "m.room.history_visibility")
        raw = room.template(old.sender, "m.room.message", {"body": "from long ago"}, None, now_ms())
        raw |= {"prev_events": [old.event_id], "depth": old.depth + 1}
        event = room.put(sign_event(raw, room.version, server.name, server.key))
        assert ACL not in room.state_before(event.event_id)
        await resync.record(joined, event.event_id)
        resync.start_worker("worker")
        known, recovered = await known_and_recovered_acls(resync, joined)
        assert known == recovered

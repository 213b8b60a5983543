"""What one hostile member of a room can plant in it does not keep the rest of the room from being recovered."""

from dataclasses import replace

import orjson
import pytest
from partialstate_service.demo.resident.behaviour import Honest, Lying
from partialstate_service.demo.resident.lies import omits_auth_chain
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.ids import EventId
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.matrix.parsing import parse_event
from partialstate_service.matrix.signing import sign_event
from partialstate_service.ownership.registration import recorded
from partialstate_service.resync.recovery_policy import RecoveryPolicy
from support.forked_rooms import Adds, say_after
from support.misbehaviours import EVENT, STATE, STATE_IDS
from support.resyncing import IMPATIENT, assert_exact, now_ms, recovered_state, resyncing

SMALL = WorldSize(members=40, servers=5, messages=3)
# Sorted before and after every other id.
INVENTED = [EventId("$" + "-" * 43), EventId("$" + "z" * 43)]


def say_after_invented(world, server, invented, *prevs):
    """Let *server* say something that also follows an event that never was."""
    sender = server.user(f"u{world.servers.index(server)}")
    raw = world.room.template(sender, "m.room.message", {"body": "?"}, None, world.tick())
    raw["prev_events"] = [invented, *prevs]
    signed = sign_event(raw, world.room.version, server.name, server.key)
    return recorded(parse_event(signed, world.room.version), accepted=True)


def say_with_invented_auth(world, server, invented, *prevs):
    """Let *server* say something that cites an auth event that never was."""
    sender = server.user(f"u{world.servers.index(server)}")
    raw = world.room.template(sender, "m.room.message", {"body": "!"}, None, world.tick())
    raw["prev_events"] = [*prevs]
    raw["auth_events"] = [*raw["auth_events"], invented]
    signed = sign_event(raw, world.room.version, server.name, server.key)
    return recorded(parse_event(signed, world.room.version), accepted=True)


async def test_what_was_altered_in_the_send_join_response_is_had_unaltered_from_others(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        join = await resync.running.join_partially()
        response = orjson.loads(join.response)
        for event in response["state"]:
            if event["type"] not in {"m.room.create", "m.room.member"}:
                event["content"]["planted"] = True
        joined = await resync.join(replace(join, response=orjson.dumps(response)))
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)


@pytest.mark.parametrize("invented", INVENTED)
async def test_an_invented_prev_event_holds_up_nothing_but_what_follows_it(store, tmp_path, invented):
    async with resyncing(SMALL, store, tmp_path) as resync:
        world = resync.running.world
        await resync.stop_workers()
        joined = await resync.join()
        join_id = joined.join.event_id
        planted = say_after_invented(world, world.servers[1], invented, join_id)
        unseen = say_after(world, world.servers[2], join_id)
        honest = say_after(world, world.servers[3], unseen.event_id)
        await store.registry.record_partial_events(joined.room_id, [planted], now_ms())
        await resync.record(joined, honest.event_id)
        resync.start_worker()
        room = await resync.until(joined.room_id, RoomStatus.STALLED)
        assert room.pending_events == 1
        events = await store.registry.recorded_events(joined.room_id)
        assert {item.event_id for item in events if not item.resolved} == {planted.event_id}


async def test_one_server_whose_state_no_key_verifies_does_not_make_the_room_wait(store, tmp_path):
    policy = replace(IMPATIENT, recovery=RecoveryPolicy(omit_unverifiable=False))
    async with resyncing(SMALL, store, tmp_path, policy=policy) as resync:
        world = resync.running.world
        nobody = replace(world.creator, name="nobody.invalid")
        lie = Adds(world, nobody, "ghost", "m.room.member", nobody.user("ghost"), membership="join")
        resync.running.residents.behave(world.creator.name, Lying(lie), STATE, STATE_IDS)
        joined = await resync.join()
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)


@pytest.mark.parametrize("is_alone", [False, True])
async def test_an_invented_prev_event_is_forgone_in_the_end(store, tmp_path, is_alone):
    policy = replace(IMPATIENT, recovery=RecoveryPolicy(prev_patience_s=1.0))
    async with resyncing(SMALL, store, tmp_path, policy=policy) as resync:
        world = resync.running.world
        joined = await resync.join()
        prevs = [] if is_alone else [joined.join.event_id]
        planted = say_after_invented(world, world.servers[1], INVENTED[0], *prevs)
        await store.registry.record_partial_events(joined.room_id, [planted], now_ms())
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert INVENTED[0] in str(room.progress.findings)
        await resync.stop_workers()
        honest = say_after(world, world.servers[3], joined.join.event_id)
        await resync.record(joined, honest.event_id)
        resync.start_worker("another")
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert await resync.verdicts(joined) == {
            joined.join.event_id: True,
            honest.event_id: True,
            planted.event_id: not is_alone,
        }
        assert await recovered_state(resync, joined) == dict(world.room.current_state())


async def test_what_was_forgone_changes_no_verdict_should_it_turn_up_after_all(store, tmp_path):
    policy = replace(IMPATIENT, recovery=RecoveryPolicy(prev_patience_s=1.0))
    async with resyncing(SMALL, store, tmp_path, policy=policy) as resync:
        world = resync.running.world
        joined = await resync.join()
        join_id = joined.join.event_id
        hidden = say_after_invented(world, world.servers[1], join_id)
        planted = say_after_invented(world, world.servers[1], hidden.event_id)
        await store.registry.record_partial_events(joined.room_id, [planted], now_ms())
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await resync.stop_workers()
        late = say_after_invented(world, world.servers[1], planted.event_id, hidden.event_id)
        await store.registry.record_partial_events(joined.room_id, [hidden, late], now_ms())
        resync.start_worker("another")
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert await resync.verdicts(joined) == {
            join_id: True,
            hidden.event_id: True,
            planted.event_id: False,
            late.event_id: False,
        }


async def test_an_invented_auth_event_holds_up_nothing_and_rejects_its_event_in_the_end(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        world = resync.running.world
        await resync.stop_workers()
        joined = await resync.join()
        join_id = joined.join.event_id
        planted = say_with_invented_auth(world, world.servers[1], INVENTED[0], join_id)
        honest = say_after(world, world.servers[3], join_id)
        await store.registry.record_partial_events(joined.room_id, [planted], now_ms())
        await resync.record(joined, honest.event_id)
        resync.start_worker()
        room = await resync.until(joined.room_id, RoomStatus.STALLED)
        assert room.pending_events == 1
        assert INVENTED[0] in room.progress.last_failure
        await resync.stop_workers()
        policy = replace(IMPATIENT, recovery=RecoveryPolicy(prev_patience_s=0.0))
        resync.services = replace(resync.services, policy=policy)
        resync.start_worker("impatient")
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert INVENTED[0] in str(room.progress.findings)
        await resync.stop_workers()
        late = say_after_invented(world, world.servers[2], planted.event_id, honest.event_id)
        await store.registry.record_partial_events(joined.room_id, [late], now_ms())
        resync.services = replace(resync.services, policy=IMPATIENT)
        # What is decided is decided, for a worker with more patience too.
        resync.start_worker("another")
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert await resync.verdicts(joined) == {
            join_id: True,
            honest.event_id: True,
            planted.event_id: False,
            late.event_id: True,
        }


async def test_auth_events_that_no_list_names_are_sought_up_to_a_bound(store, tmp_path):
    policy = replace(IMPATIENT, recovery=RecoveryPolicy(max_unnamed_events=3))
    async with resyncing(SMALL, store, tmp_path, policy=policy) as resync:
        world, residents = resync.running.world, resync.running.residents
        user = world.servers[1].user("u1")
        for number in range(12):
            renamed = {"membership": "join", "displayname": f"Name {number}"}
            world.room.say(world.servers[1], user, "m.room.member", renamed, user, now_ms=world.tick())
        for server in world.servers:
            residents.behave(server.name, Lying(omits_auth_chain), STATE, STATE_IDS)
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.STALLED)
        assert {record.outcome for record in room.progress.servers} == {"invalid"}
        # Of the twelve, and the event that the state is the one before of.
        asked_for = {r.uri for r in residents.log.requests if r.endpoint is EVENT}
        assert len(asked_for) <= 3 + 1
        residents.behave(world.creator.name, Honest(), STATE, STATE_IDS)
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)

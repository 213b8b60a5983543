"""Auth chains without end, auth events that turn up too late, and more invented prev events than an attempt asks for."""

from dataclasses import replace

from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.ids import EventId
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.matrix.hashes import event_id_of
from partialstate_service.matrix.parsing import parse_event
from partialstate_service.matrix.signing import sign_event
from partialstate_service.ownership.registration import recorded
from partialstate_service.resync.recovery_policy import RecoveryPolicy
from support.forked_rooms import say_after
from support.misbehaviours import EVENT
from support.resyncing import IMPATIENT, now_ms, recovered_state, resyncing

SMALL = WorldSize(members=40, servers=4, messages=3)
MAX_EVENTS = 3


class Planter:
    """A server whose first user says what cites other events than it should."""

    def __init__(self, world):
        self._world = world
        self._server = world.servers[1]
        self.user = self._server.user("u1")
        self.membership = world.room.current_state()["m.room.member", self.user]

    def renamed(self, name, cites, *prevs):
        """Return the next membership of the user, resting on *cites* in place of the one that it has."""
        content = {"membership": "join", "displayname": name}
        return self._signed("m.room.member", content, self.user, cites, prevs)

    def message(self, cites, *prevs):
        """Return, as recorded, a message that rests on *cites* in place of the user's membership."""
        raw = self._signed("m.room.message", {"body": "!"}, None, cites, prevs)
        return recorded(parse_event(raw, self._world.room.version), accepted=True)

    def _signed(self, kind, content, state_key, cites, prevs):
        room = self._world.room
        raw = room.template(self.user, kind, content, state_key, self._world.tick())
        raw["auth_events"] = [cites if auth == self.membership else auth for auth in raw["auth_events"]]
        raw["prev_events"] = [*prevs]
        return sign_event(raw, room.version, self._server.name, self._server.key)


def impatient(**recovery):
    return replace(IMPATIENT, recovery=RecoveryPolicy(prev_patience_s=0.0, **recovery))


async def test_an_auth_chain_that_is_too_long_waits_and_is_rejected_in_the_end_and_holds_up_nothing(
    store, tmp_path
):
    policy = replace(IMPATIENT, recovery=RecoveryPolicy(max_unnamed_events=MAX_EVENTS))
    async with resyncing(SMALL, store, tmp_path, policy=policy) as resync:
        world, log = resync.running.world, resync.running.residents.log
        room = world.room
        await resync.stop_workers()
        joined = await resync.join()
        join_id = joined.join.event_id
        planter, last = Planter(world), None
        honest = say_after(world, world.servers[3], join_id)
        state = dict(room.current_state())
        # On a branch of its own, where nobody looks for the room's state.
        for number in range(12):
            raw = planter.renamed(
                f"Name {number}", last or planter.membership, *room.event(join_id).prev_event_ids
            )
            last = room.put(raw).event_id
        planted = planter.message(last, join_id)
        await store.registry.record_partial_events(joined.room_id, [planted], now_ms())
        await resync.record(joined, honest.event_id)
        resync.start_worker()
        stalled = await resync.until(joined.room_id, RoomStatus.STALLED)
        assert stalled.pending_events == 1
        assert "auth events of recorded events cannot be had" in stalled.progress.last_failure
        await resync.stop_workers()
        asked = log.count(EVENT)
        resync.services = replace(resync.services, policy=impatient(max_unnamed_events=MAX_EVENTS))
        resync.start_worker("impatient")
        full = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert log.count(EVENT) - asked <= MAX_EVENTS
        assert f"{planted.event_id!a} is rejected" in str(full.progress.findings)
        assert await resync.verdicts(joined) == {
            join_id: True,
            honest.event_id: True,
            planted.event_id: False,
        }
        assert await recovered_state(resync, joined) == state


async def test_a_renounced_auth_event_that_turns_up_changes_no_verdict_and_serves_later_events(
    store, tmp_path
):
    async with resyncing(SMALL, store, tmp_path, policy=impatient()) as resync:
        world = resync.running.world
        joined = await resync.join()
        join_id = joined.join.event_id
        planter = Planter(world)
        hidden = planter.renamed("Hidden", planter.membership, join_id)
        hidden_id = event_id_of(hidden, world.room.version)
        planted = planter.message(hidden_id, join_id)
        await store.registry.record_partial_events(joined.room_id, [planted], now_ms())
        full = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert f"no server knows {hidden_id!a}" in str(full.progress.findings)
        await resync.stop_workers()
        world.room.put(hidden)
        late = planter.message(hidden_id, join_id)
        await store.registry.record_partial_events(joined.room_id, [late], now_ms())
        resync.start_worker("another")
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert await resync.verdicts(joined) == {
            join_id: True,
            planted.event_id: False,
            late.event_id: True,
        }


async def test_more_invented_prev_events_than_an_attempt_asks_for_hold_up_no_other_event(store, tmp_path):
    async with resyncing(SMALL, store, tmp_path) as resync:
        world = resync.running.world
        await resync.stop_workers()
        joined = await resync.join()
        join_id = joined.join.event_id
        planter = Planter(world)
        invented = [EventId(f"${number:043d}") for number in range(13)]
        planted = [planter.message(planter.membership, prev, join_id) for prev in invented]
        unseen = say_after(world, world.servers[2], join_id)
        honest = say_after(world, world.servers[3], unseen.event_id)
        await store.registry.record_partial_events(joined.room_id, planted, now_ms())
        await resync.record(joined, honest.event_id)
        resync.start_worker()
        # The honest event's turn comes, in this attempt or in one of the next.
        with store.mirror.waking(joined.room_id) as changed:
            while (await store.registry.get(joined.room_id)).pending_events > len(planted):
                await changed.wait(1.0)
        await resync.stop_workers()
        resync.services = replace(resync.services, policy=impatient())
        resync.start_worker("impatient")
        full = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert len(full.progress.findings) == 10
        assert await resync.verdicts(joined) == dict.fromkeys(
            (join_id, honest.event_id, *(event.event_id for event in planted)), True
        )

"""What one server alone sends in bad form is no proof: others are asked, and waited for; nothing is left out in haste."""

from dataclasses import replace

import pytest
from partialstate_service.demo.resident.behaviour import Honest, Lying, forbidden
from partialstate_service.demo.resident.lies import breaks_signatures, changes_content
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.matrix.room_versions import room_version
from partialstate_service.resync.doubtful import Doubtful
from partialstate_service.resync.recovery_policy import RecoveryPolicy
from partialstate_service.resync.verifier import FetchedEvent, Verification
from support.misbehaviours import EVENT, STATE, STATE_IDS
from support.resyncing import IMPATIENT, assert_exact, recovered_state, resyncing

SMALL = WorldSize(members=40, servers=8, messages=3)
TWO = WorldSize(members=40, servers=2, messages=3)
ONE = WorldSize(members=40, servers=1, messages=3)
A, B = ServerName("a.example"), ServerName("b.example")
SPOILS = [breaks_signatures, changes_content]


def at_once(**recovery):
    return replace(IMPATIENT, recovery=RecoveryPolicy(key_patience_s=0.0, **recovery))


@pytest.mark.parametrize("spoils", SPOILS)
async def test_an_honest_server_is_found_though_most_others_fail(store, tmp_path, spoils):
    async with resyncing(SMALL, store, tmp_path, policy=at_once()) as resync:
        servers = [server.name for server in resync.running.world.servers]
        residents = resync.running.residents
        for server in servers:
            residents.behave(server, forbidden(), STATE, EVENT)
        residents.behave(servers[0], Lying(spoils), STATE, STATE_IDS)
        residents.behave(servers[-1], Honest(), STATE, STATE_IDS, EVENT)
        joined = await resync.join()
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)


@pytest.mark.parametrize("spoils", SPOILS)
async def test_while_nobody_else_answers_the_room_waits_for_those_who_may(store, tmp_path, spoils):
    policy = replace(IMPATIENT, recovery=RecoveryPolicy(key_patience_s=60.0))
    async with resyncing(TWO, store, tmp_path, policy=policy) as resync:
        first, second = [server.name for server in resync.running.world.servers]
        residents = resync.running.residents
        residents.behave(first, Lying(spoils), STATE, STATE_IDS)
        residents.behave(second, forbidden(), STATE, STATE_IDS, EVENT)
        joined = await resync.join()
        with store.mirror.waking(joined.room_id) as changed:
            while (
                "from one server alone"
                not in (room := await store.registry.get(joined.room_id)).progress.last_failure
            ):
                await changed.wait(1.0)
        assert room.status is RoomStatus.RESYNCING
        assert room.log_position == 0
        residents.behave(second, Honest(), STATE, STATE_IDS, EVENT)
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        await assert_exact(resync, joined)


async def test_in_the_end_what_one_server_alone_sent_in_bad_form_is_left_out(store, tmp_path):
    async with resyncing(TWO, store, tmp_path, policy=at_once()) as resync:
        world, residents = resync.running.world, resync.running.residents
        residents.behave(world.servers[0].name, Lying(breaks_signatures), STATE)
        residents.behave(world.servers[1].name, forbidden(), STATE, STATE_IDS, EVENT)
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        whole = set(world.room.current_state().values())
        assert set(room.progress.unverified) == whole - set((await recovered_state(resync, joined)).values())


async def test_nobody_is_waited_for_where_there_is_nobody_else(store, tmp_path):
    policy = replace(IMPATIENT, recovery=RecoveryPolicy(key_patience_s=3600.0))
    async with resyncing(ONE, store, tmp_path, policy=policy) as resync:
        world = resync.running.world
        resync.running.residents.behave(world.creator.name, Lying(changes_content), STATE)
        joined = await resync.join()
        await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert await recovered_state(resync, joined) == dict(world.room.current_state())


def fetched(event_id: EventId, *, hash_matches: bool = True) -> FetchedEvent:
    return FetchedEvent(event_id, (), b'["@m:a",0,1,1,{"membership":"join"}]', b"{}", hash_matches)


X, Y, HELD = EventId("$x"), EventId("$y"), EventId("$held")


def doubtful() -> Doubtful:
    return Doubtful(RoomId("!r:a"), room_version("11"), {HELD}.__contains__)


@pytest.mark.parametrize("kind", ["altered", "badly_signed"])
def test_a_copy_is_lone_until_another_server_has_sent_one(kind):
    doubts = doubtful()
    copies = (
        Verification(valid=[fetched(X, hash_matches=False)])
        if kind == "altered"
        else Verification(badly_signed=[fetched(X)])
    )
    for sender, lone in ((A, {X}), (A, {X}), (B, set())):
        assert doubts.note(copies, {X}, lambda _, sender=sender: sender) == []
        assert doubts.spoilt() == {X}
        assert doubts.lone() == lone
    assert doubts.note(Verification(valid=[fetched(X)]), {X}, lambda _: A) == [fetched(X)]
    assert doubts.ids() == set()


def test_a_spoilt_copy_counts_for_nothing_beside_a_good_one():
    doubts = doubtful()
    result = Verification(
        valid=[fetched(X), fetched(X, hash_matches=False)],
        badly_signed=[fetched(X), fetched(HELD)],
        key_unknown=[fetched(X), fetched(HELD)],
    )
    assert doubts.note(result, {X, HELD}, lambda _: A) == [fetched(X)]
    assert doubts.ids() == set()


def test_a_spoilt_copy_that_came_for_another_event_is_passed_over():
    doubts = doubtful()
    result = Verification(valid=[fetched(X, hash_matches=False)], badly_signed=[fetched(Y)])
    assert doubts.note(result, {X, Y}, lambda _: None) == []
    assert doubts.ids() == set()

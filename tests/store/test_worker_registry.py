"""Leases, and what only their holders may write."""

from dataclasses import replace

import pytest
from partialstate_service.domain.errors import LeaseLostError, RoomNotPartialError, StaleGenerationError
from partialstate_service.domain.ids import EventId, Position, RoomId, ServerName
from partialstate_service.domain.rooms import (
    Priority,
    Progress,
    ReleaseReason,
    ResyncStage,
    RoomStatus,
    ServerRecord,
    StateSummary,
)
from partialstate_service.store.protocol import ChunkKind, NewSegment, RecordOutcome
from support.store_rooms import (
    JOIN,
    NOW,
    ROOM,
    TTL,
    claim,
    join,
    log_chunk,
    make_ready,
    pdu_chunk,
    recorded,
    register,
    resolve,
)

GIVEN = StateSummary(history_visibilities=("invited",))
RECOVERED = StateSummary(history_visibilities=("joined",))


async def test_users_come_first_then_who_waited_longest(store):
    for name, at, priority in (
        ("b", NOW, Priority.NORMAL),
        ("a", NOW - 5, Priority.NORMAL),
        ("c", NOW + 1, Priority.USER_WAITING),
    ):
        await register(store, join(f"!{name}:here", f"$join-{name}", priority=priority), at)
    assert [(await claim(store, NOW + 2)).room_id for _ in range(3)] == ["!c:here", "!a:here", "!b:here"]
    assert await store.registry.claim_due("worker", NOW + 2, TTL) is None


async def test_fencing_tokens_grow_over_all_rooms(store):
    for name in "abc":
        await register(store, join(f"!{name}:here", f"$join-{name}"))
    tokens = [(await claim(store)).fencing for _ in range(3)]
    assert tokens == sorted(set(tokens))


async def test_nobody_else_gets_a_leased_room_before_the_lease_ends(store):
    await register(store)
    lease = await claim(store)
    assert await store.registry.next_due_ms() == NOW + TTL
    assert await store.registry.claim_due("other", NOW + TTL - 1, TTL) is None
    await store.registry.renew(lease, NOW + 10, TTL)
    assert await store.registry.claim_due("other", NOW + TTL, TTL) is None
    successor = await store.registry.claim_due("other", NOW + TTL + 10, TTL)
    assert successor is not None
    assert successor.fencing > lease.fencing


async def test_who_lost_the_lease_writes_nothing_more(store):
    await register(store)
    lease = await claim(store)
    chunk = await pdu_chunk(store, "$a")
    await claim(store, NOW + TTL)
    token = await store.registry.read_token()
    registry = store.registry
    for call in (
        registry.renew(lease, NOW, TTL),
        registry.checkpoint(lease),
        registry.commit_verified(lease, chunk),
        registry.drop_verified(lease, [chunk]),
        registry.commit_snapshot(lease, JOIN, chunk),
        registry.mark_state_verified(lease),
        registry.append_log(lease, [NewSegment(ChunkKind.VERIFIED, chunk)], [JOIN], []),
        registry.report_progress(lease, Progress(), RoomStatus.STALLED),
    ):
        with pytest.raises(LeaseLostError):
            await call
    await registry.hand_back(lease, NOW)
    assert await registry.read_token() == token
    assert await registry.next_due_ms() == NOW + 2 * TTL


@pytest.mark.parametrize("reason", [ReleaseReason.LEFT, ReleaseReason.PURGED])
async def test_a_release_takes_the_lease(store, reason):
    generation = (await register(store)).generation
    lease = await claim(store)
    await store.registry.release(ROOM, generation, reason, NOW)
    with pytest.raises(LeaseLostError):
        await store.registry.checkpoint(lease)


async def test_a_checkpoint_has_all_that_was_committed(store):
    seed = await pdu_chunk(store, "$s", kind=ChunkKind.SEED)
    await store.registry.register(join(), [seed], NOW)
    lease = await claim(store)
    verified, log = await pdu_chunk(store, "$a", "$b", "$c"), await log_chunk(store, b"1", b"2")
    old, new = [await store.bulk.put(ROOM, ChunkKind.SNAPSHOT, "o", [b"{}"]) for _ in range(2)]
    registry = store.registry
    await registry.commit_verified(lease, verified)
    await registry.commit_verified(lease, verified)
    for snapshot in (old, new, new):
        await registry.commit_snapshot(lease, JOIN, snapshot)
    rejected, omitted = frozenset({EventId("$b")}), frozenset({EventId("$c")})
    position = await registry.append_log(
        lease,
        [NewSegment(ChunkKind.VERIFIED, verified, rejected, omitted), NewSegment(ChunkKind.LOG, log)],
        [],
        [],
    )
    checkpoint = await registry.checkpoint(lease)
    assert position == 5
    assert (checkpoint.seeds, checkpoint.verified, checkpoint.snapshots) == (
        (seed,),
        (verified,),
        {JOIN: new},
    )
    first, second = checkpoint.segments
    assert (first.first, first.kind, first.chunk) == (1, ChunkKind.VERIFIED, verified)
    assert (first.rejected, first.omitted) == (rejected, omitted)
    assert (second.first, second.chunk) == (4, log)
    assert checkpoint.room == await registry.get(ROOM)


async def test_the_log_is_read_from_any_position(store):
    generation = (await register(store)).generation
    lease = await claim(store)
    for _ in range(70):
        await resolve(store, lease, records=2)
    for after, firsts in ((0, list(range(1, 141, 2))), (5, list(range(5, 141, 2))), (139, [139]), (140, [])):
        room, segments = await store.registry.log_segments(ROOM, generation, Position(after))
        assert room.log_position == 140
        assert [segment.first for segment in segments] == firsts
    with pytest.raises(StaleGenerationError):
        await store.registry.log_segments(ROOM, generation + 1, Position(0))
    with pytest.raises(Exception, match="ends at 140"):
        await store.registry.log_segments(ROOM, generation, Position(141))
    with pytest.raises(RoomNotPartialError):
        await store.registry.log_segments(RoomId("!other:here"), generation, Position(0))


async def test_a_repeated_append_is_appended_once(store):
    await register(store)
    lease = await claim(store)
    segments = [NewSegment(ChunkKind.LOG, await log_chunk(store, b"1", b"2"))]
    assert await store.registry.append_log(lease, segments, [JOIN], []) == 2
    assert await store.registry.append_log(lease, segments, [JOIN], []) == 2
    room = await store.registry.get(ROOM)
    assert (room.pending_events, room.unimported_events, room.status) == (0, 1, RoomStatus.AWAITING_IMPORT)


async def test_an_event_resolved_by_what_is_acknowledged_already_counts_as_imported(store):
    generation = (await register(store)).generation
    lease = await claim(store)
    await store.registry.acknowledge(ROOM, generation, Position(await resolve(store, lease)))
    await store.registry.append_log(lease, [], [JOIN], [])
    room = await store.registry.get(ROOM)
    assert (room.pending_events, room.unimported_events) == (0, 0)


async def test_a_room_awaits_its_import_once_nothing_is_pending(store):
    await register(store)
    await store.registry.record_partial_events(ROOM, [recorded("$a", JOIN)], NOW)
    lease = await claim(store)
    await resolve(store, lease, JOIN)
    assert (await store.registry.get(ROOM)).status is RoomStatus.RESYNCING
    await resolve(store, lease, "$a", "$unknown")
    assert (await store.registry.get(ROOM)).status is RoomStatus.AWAITING_IMPORT
    await store.registry.report_progress(lease, Progress(), RoomStatus.STALLED)
    assert (await store.registry.get(ROOM)).status is RoomStatus.AWAITING_IMPORT


async def test_servers_seen_joining_are_added_once(store):
    await register(store)
    lease = await claim(store)
    await store.registry.append_log(lease, [], [], [ServerName("three"), ServerName("one")])
    assert (await store.registry.get(ROOM)).servers == ("one", "two", "three")


async def test_progress_comes_back_as_it_was(store):
    await register(store)
    lease = await claim(store)
    progress = Progress(
        stage=ResyncStage.FETCHING_EVENTS,
        events_fetched=3,
        next_attempt_ms=NOW,
        last_failure="nobody answered",
        servers=(ServerRecord(ServerName("one"), "unable", NOW, "", 2, None),),
        unverified=(EventId("$u"),),
    )
    await store.registry.report_progress(lease, progress, RoomStatus.STALLED)
    room = await store.registry.get(ROOM)
    assert (room.progress, room.status) == (progress, RoomStatus.STALLED)


class TestMarkStateVerified:
    async def test_the_verified_summary_replaces_the_joins(self, store):
        await register(store)
        lease = await claim(store)
        await store.registry.mark_state_verified(lease)
        room = await store.registry.get(ROOM)
        assert (room.state_verified, room.summary) == (True, join().summary)
        await store.registry.append_log(lease, [], [JOIN], [], RECOVERED)
        room = await store.registry.get(ROOM)
        assert (room.state_verified, room.summary) == (True, RECOVERED)

    async def test_what_was_recorded_is_newer_until_it_has_full_state(self, store):
        await register(store)
        lease = await claim(store)
        event = replace(recorded("$a", JOIN), summary=GIVEN)
        await store.registry.record_partial_events(ROOM, [event], NOW)
        await store.registry.append_log(lease, [], [JOIN], [], RECOVERED)
        room = await store.registry.get(ROOM)
        assert (room.state_verified, room.summary) == (True, GIVEN)
        await store.registry.append_log(lease, [], ["$a"], [], RECOVERED)
        assert (await store.registry.get(ROOM)).summary == RECOVERED

    async def test_what_came_with_an_event_that_is_in_no_log_stays(self, store):
        await register(store)
        lease = await claim(store)
        position = await resolve(store, lease, JOIN)
        await store.registry.acknowledge(ROOM, lease.generation, position)
        event = replace(recorded("$full", JOIN), summary=GIVEN)
        outcomes, _, _ = await store.registry.record_partial_events(ROOM, [event, recorded("$a", "$x")], NOW)
        assert outcomes == [RecordOutcome.EVENT_NOT_PARTIAL, RecordOutcome.RECORDED]
        await store.registry.append_log(lease, [], ["$a"], [], RECOVERED)
        assert (await store.registry.get(ROOM)).summary == GIVEN

    async def test_a_further_join_adds_to_what_is_possible_and_its_failure_takes_nothing_away(self, store):
        await register(store)
        event = replace(recorded("$a", JOIN), summary=GIVEN)
        await store.registry.record_partial_events(ROOM, [event], NOW)
        second = await register(store, replace(join(ROOM, "$second"), summary=RECOVERED))
        both = StateSummary(history_visibilities=("invited", "joined"))
        room = await store.registry.get(ROOM)
        assert (room.state_verified, room.summary.history_visibilities) == (False, both.history_visibilities)
        await store.registry.release(ROOM, second.generation, ReleaseReason.JOIN_FAILED, NOW)
        assert (await store.registry.get(ROOM)).summary.history_visibilities == both.history_visibilities


class TestHandBack:
    async def test_a_room_is_due_when_the_worker_says(self, store):
        await register(store)
        await store.registry.hand_back(await claim(store), NOW + 500)
        assert await store.registry.next_due_ms() == NOW + 500

    async def test_a_finished_room_is_not_due(self, store):
        await make_ready(store)
        assert await store.registry.next_due_ms() is None

    async def test_events_that_came_after_the_last_one_was_resolved_are_due_now(self, store):
        await register(store)
        lease = await claim(store)
        await resolve(store, lease, JOIN)
        await store.registry.record_partial_events(ROOM, [recorded("$a", "$x")], NOW + 7)
        await store.registry.hand_back(lease, None)
        assert await store.registry.next_due_ms() == NOW + 7

    async def test_pending_events_are_never_forgotten(self, store):
        await register(store)
        await store.registry.hand_back(await claim(store), None)
        assert await store.registry.next_due_ms() == NOW + TTL

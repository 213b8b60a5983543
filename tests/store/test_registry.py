"""What the homeserver asks of the registry."""

from dataclasses import replace

import pytest
from partialstate_service.domain.errors import (
    ImportIncompleteError,
    JoinConfirmedError,
    OtherRoomVersionError,
    PositionOutOfRangeError,
    RoomAbandonedError,
    RoomNotPartialError,
    StaleGenerationError,
)
from partialstate_service.domain.ids import EventId, Position, RoomId, ServerName
from partialstate_service.domain.rooms import (
    Ending,
    Priority,
    Progress,
    ReleaseReason,
    RoomStatus,
    ServerRecord,
    StateSummary,
)
from partialstate_service.store.protocol import RecordOutcome, RegistrationOutcome
from partialstate_service.store.settings import DAY_MS
from support.store_rooms import JOIN, NOW, ROOM, claim, join, make_ready, recorded, register, resolve

RECORDED, ROOM_FULL, EVENT_FULL = (
    RecordOutcome.RECORDED,
    RecordOutcome.ROOM_NOT_PARTIAL,
    RecordOutcome.EVENT_NOT_PARTIAL,
)


async def outcomes(store, *events, summary=None, now_ms=NOW):
    given = [*events[:-1], replace(events[-1], summary=summary)]
    return (await store.registry.record_partial_events(ROOM, given, now_ms))[0]


class TestRegister:
    async def test_a_room_is_partial_as_it_was_registered(self, store):
        registered = await register(store, join(device_list_position=7, priority=Priority.USER_WAITING))
        room = await store.registry.get(ROOM)
        assert registered.outcome is RegistrationOutcome.REGISTERED
        assert room.generation == registered.generation == registered.token.revision
        assert (room.status, room.join_event_id, room.joined_via) == (RoomStatus.RESYNCING, JOIN, "via")
        assert room.servers == ("one", "two")
        assert room.summary == join().summary
        assert (room.device_list_position, room.priority) == (7, Priority.USER_WAITING)
        assert (room.pending_events, room.unimported_events, room.log_position) == (1, 1, 0)
        assert not room.join_confirmed
        assert not room.state_verified
        assert room.registered_at_ms == NOW

    async def test_a_repetition_changes_nothing_and_gives_the_same_generation(self, store):
        first = await register(store)
        again = await register(store, now_ms=NOW + 1)
        assert again.outcome is RegistrationOutcome.ALREADY_REGISTERED
        assert (again.generation, again.token) == (first.generation, first.token)

    async def test_a_late_repetition_does_not_make_a_full_room_partial_again(self, store):
        generation, position = await make_ready(store)
        await store.registry.confirm_import(ROOM, generation, position, NOW)
        again = await register(store)
        assert again.outcome is RegistrationOutcome.ENDED
        assert (again.generation, again.ending) == (generation, Ending.IMPORTED)
        with pytest.raises(RoomNotPartialError) as raised:
            await store.registry.get(ROOM)
        assert raised.value.tombstone == await store.registry.hold_join(ROOM, JOIN)

    async def test_a_second_join_with_another_room_version_is_refused_and_changes_nothing(self, store):
        first = await register(store)
        before = await store.registry.get(ROOM)
        other = replace(join(event_id="$join2"), room_version="10" if join().room_version != "10" else "9")
        with pytest.raises(OtherRoomVersionError) as raised:
            await register(store, other, NOW + 1)
        assert (raised.value.given, raised.value.current) == (other.room_version, join().room_version)
        assert await store.registry.get(ROOM) == before
        assert (await register(store)).generation == first.generation
        assert [event.event_id for event in await store.registry.recorded_events(ROOM)] == [JOIN]

    async def test_a_second_join_raises_the_generation_and_keeps_what_was_recorded(self, store):
        first, _ = await make_ready(store)
        await outcomes(store, recorded("$a", "$x"), summary=StateSummary(acls=({"deny": ["other"]},)))
        lease = await claim(store)
        second = await register(store, join(event_id="$join2", servers=("two", "three")), NOW + 1)
        room = await store.registry.get(ROOM)
        assert second.outcome is RegistrationOutcome.REGISTERED
        assert second.generation > first
        assert room.servers == ("one", "two", "three")
        assert room == await store.registry.get(ROOM)
        assert (room.pending_events, room.unimported_events) == (3, 3)
        assert (room.log_position, room.acknowledged) == (0, 0)
        # What an older response says and what is newer: until the state is recovered, all of it is possible.
        assert room.summary == replace(join().summary, acls=({"deny": ["other"]}, {"deny": ["bad"]}))
        events = await store.registry.recorded_events(ROOM)
        assert [(event.event_id, event.resolved) for event in events] == [
            (JOIN, False),
            ("$a", False),
            ("$join2", False),
        ]
        with pytest.raises(Exception, match="lease"):
            await store.registry.renew(lease, NOW, 1000)
        assert (await register(store)).generation == first

    async def test_an_abandoned_room_that_is_joined_again_resyncs(self, store):
        generation = (await register(store)).generation
        await store.registry.release(ROOM, generation, ReleaseReason.LEFT, NOW)
        await register(store, join(event_id="$join2"))
        assert (await store.registry.get(ROOM)).status is RoomStatus.RESYNCING
        assert await store.registry.next_due_ms() == NOW

    async def test_the_older_device_list_position_covers_both_joins(self, store):
        await register(store, join(device_list_position=5))
        await register(store, join(event_id="$join2", device_list_position=9))
        assert (await store.registry.get(ROOM)).device_list_position == 5

    async def test_a_new_life_of_a_room_has_nothing_of_the_old_one(self, store):
        generation, position = await make_ready(store)
        await store.registry.confirm_import(ROOM, generation, position, NOW)
        await register(store, join(event_id="$join2"))
        await store.sweeper.sweep()
        assert [event.event_id for event in await store.registry.recorded_events(ROOM)] == ["$join2"]
        assert (await store.registry.get(ROOM)).log_position == 0


class TestConfirmJoin:
    async def test_it_ends_unconfirmed_and_can_be_repeated(self, store):
        generation = (await register(store)).generation
        token = await store.registry.confirm_join(ROOM, generation)
        assert (await store.registry.get(ROOM)).join_confirmed
        assert await store.registry.confirm_join(ROOM, generation) == token

    async def test_it_can_be_repeated_after_the_end(self, store):
        generation, position = await make_ready(store)
        await store.registry.confirm_import(ROOM, generation, position, NOW)
        await store.registry.confirm_join(ROOM, generation)

    async def test_a_generation_that_was_never_given_out_is_stale(self, store):
        generation = (await register(store)).generation
        with pytest.raises(StaleGenerationError):
            await store.registry.confirm_join(ROOM, generation + 1)
        with pytest.raises(RoomNotPartialError):
            await store.registry.confirm_join(RoomId("!other:here"), generation)

    async def test_confirming_an_earlier_join_does_not_confirm_the_later_one(self, store):
        first = (await register(store)).generation
        await register(store, join(event_id="$join2"))
        await store.registry.confirm_join(ROOM, first)
        assert not (await store.registry.get(ROOM)).join_confirmed


class TestRecordPartialEvents:
    async def test_events_are_kept_in_order_with_their_json(self, store):
        await register(store)
        assert (
            await outcomes(store, recorded("$a", JOIN), recorded("$b", "$a", accepted=False))
            == [RECORDED] * 2
        )
        events = await store.registry.recorded_events(ROOM)
        assert [(event.event_id, event.accepted, event.prev_event_ids) for event in events] == [
            (JOIN, True, ("$before",)),
            ("$a", True, (JOIN,)),
            ("$b", False, ("$a",)),
        ]
        assert events[1].json == recorded("$a").json
        later = await store.registry.recorded_events(ROOM, after=events[1].sequence)
        assert [event.event_id for event in later] == ["$b"]
        assert await store.registry.known_event_rooms([EventId("$a"), EventId("$z")]) == {"$a": ROOM}

    async def test_a_repetition_is_recorded_once(self, store):
        await register(store)
        await outcomes(store, recorded("$a", JOIN))
        token = await store.registry.read_token()
        assert await outcomes(store, recorded("$a", JOIN)) == [RECORDED]
        assert await store.registry.read_token() == token
        assert (await store.registry.get(ROOM)).pending_events == 2

    async def test_a_room_that_is_not_partial_records_nothing(self, store):
        result, generation, _ = await store.registry.record_partial_events(ROOM, [recorded("$a")], NOW)
        assert (result, generation) == ([ROOM_FULL], 0)
        assert await store.registry.known_event_rooms([EventId("$a")]) == {}

    async def test_an_event_after_imported_ones_is_not_partial(self, store):
        generation, position = await make_ready(store)
        assert await outcomes(store, recorded("$early", JOIN)) == [RECORDED]
        await store.registry.acknowledge(ROOM, generation, position)
        events = [recorded("$a", JOIN), recorded("$b", "$a"), recorded("$c", "$a", "$x"), recorded("$d")]
        expected = [EVENT_FULL, EVENT_FULL, RECORDED, RECORDED]
        assert await outcomes(store, *events) == expected
        assert await outcomes(store, *events) == expected
        assert await outcomes(store, recorded("$early", JOIN)) == [RECORDED]

    async def test_a_new_event_makes_a_ready_room_resync_again(self, store):
        await make_ready(store)
        assert (await store.registry.get(ROOM)).status is RoomStatus.AWAITING_IMPORT
        assert await store.registry.next_due_ms() is None
        await outcomes(store, recorded("$a", "$x"), now_ms=NOW + 5)
        assert (await store.registry.get(ROOM)).status is RoomStatus.RESYNCING
        assert await store.registry.next_due_ms() == NOW + 5

    async def test_a_stalled_room_with_pending_events_keeps_its_time(self, store):
        await register(store)
        lease = await claim(store)
        await store.registry.report_progress(lease, Progress(), RoomStatus.STALLED)
        await store.registry.hand_back(lease, NOW + 30_000)
        await outcomes(store, recorded("$a", JOIN))
        assert (await store.registry.get(ROOM)).status is RoomStatus.STALLED
        assert await store.registry.next_due_ms() == NOW + 30_000

    async def test_an_abandoned_room_records_and_stays_abandoned(self, store):
        generation = (await register(store)).generation
        await store.registry.release(ROOM, generation, ReleaseReason.LEFT, NOW)
        assert await outcomes(store, recorded("$a", JOIN)) == [RECORDED]
        assert (await store.registry.get(ROOM)).status is RoomStatus.ABANDONED
        assert await store.registry.next_due_ms() is None

    async def test_a_summary_replaces_the_rooms_but_a_repetition_does_not_bring_it_back(self, store):
        await register(store)
        older, newer = StateSummary(acls=({"deny": ["a"]},)), StateSummary(acls=({"deny": ["b"]},))
        await outcomes(store, recorded("$a", JOIN), summary=older)
        await outcomes(store, recorded("$b", "$a"), summary=newer)
        await outcomes(store, recorded("$a", JOIN), summary=older)
        assert (await store.registry.get(ROOM)).summary == newer

    async def test_an_event_id_that_two_rooms_claim_is_the_first_ones(self, store):
        """In the first room versions a server can name two events alike."""
        other = RoomId("!other:here")
        await register(store)
        generation = (await register(store, join(other, "$other"))).generation
        await outcomes(store, recorded("$a", JOIN))
        await store.registry.record_partial_events(other, [recorded("$a", "$other")], NOW)
        await store.registry.release(other, generation, ReleaseReason.PURGED, NOW)
        assert await store.registry.known_event_rooms([EventId("$a"), EventId("$other")]) == {"$a": ROOM}

    async def test_many_events_fit_in_one_call(self, store):
        await register(store)
        events = [recorded(f"${i}", *(f"${i - k}" for k in range(1, 21))) for i in range(500)]
        assert await outcomes(store, *events) == [RECORDED] * 500
        assert len(await store.registry.recorded_events(ROOM)) == 501


class TestRelease:
    async def test_left_abandons_at_once_and_takes_the_lease(self, store):
        generation = (await register(store)).generation
        lease = await claim(store)
        token = await store.registry.release(ROOM, generation, ReleaseReason.LEFT, NOW)
        assert (await store.registry.get(ROOM)).status is RoomStatus.ABANDONED
        assert await store.registry.next_due_ms() is None
        with pytest.raises(Exception, match="lease"):
            await store.registry.renew(lease, NOW, 1000)
        assert await store.registry.release(ROOM, generation, ReleaseReason.LEFT, NOW) == token

    @pytest.mark.parametrize("reason", [ReleaseReason.PURGED, ReleaseReason.JOIN_FAILED])
    async def test_a_removed_room_leaves_a_tombstone(self, store, reason):
        generation = (await register(store)).generation
        await outcomes(store, recorded("$a", JOIN))
        token = await store.registry.release(ROOM, generation, reason, NOW)
        with pytest.raises(RoomNotPartialError):
            await store.registry.get(ROOM)
        tombstone = await store.registry.hold_join(ROOM, JOIN)
        assert tombstone is not None
        assert (tombstone.ending.value, tombstone.generation) == (reason.value, generation)
        assert await store.registry.release(ROOM, generation, reason, NOW) == token
        assert await store.registry.known_event_rooms([EventId("$a"), JOIN]) == {}
        assert await store.registry.next_due_ms() is None

    async def test_a_confirmed_join_did_not_fail(self, store):
        generation = (await register(store)).generation
        await store.registry.confirm_join(ROOM, generation)
        with pytest.raises(JoinConfirmedError):
            await store.registry.release(ROOM, generation, ReleaseReason.JOIN_FAILED, NOW)

    @pytest.mark.parametrize("left", [False, True])
    async def test_a_failed_second_join_leaves_the_room_as_the_first_one_left_it(self, store, left):
        first = (await register(store)).generation
        await store.registry.confirm_join(ROOM, first)
        await outcomes(store, recorded("$a", JOIN))
        if left:
            await store.registry.release(ROOM, first, ReleaseReason.LEFT, NOW)
        second = (await register(store, join(event_id="$join2"))).generation
        await store.registry.release(ROOM, second, ReleaseReason.JOIN_FAILED, NOW)
        room = await store.registry.get(ROOM)
        assert room.status is (RoomStatus.ABANDONED if left else RoomStatus.RESYNCING)
        assert (room.join_event_id, room.join_confirmed) == (JOIN, True)
        assert room.generation > second
        assert [event.event_id for event in await store.registry.recorded_events(ROOM)] == [JOIN, "$a"]
        await store.registry.release(ROOM, second, ReleaseReason.JOIN_FAILED, NOW)
        assert (await register(store, join(event_id="$join2"))).ending is Ending.JOIN_FAILED
        assert await store.registry.known_event_rooms([EventId("$join2"), JOIN]) == {JOIN: ROOM}
        await store.registry.confirm_join(ROOM, first)
        await store.registry.confirm_join(ROOM, room.generation)

    async def test_a_later_generation_is_not_touched(self, store):
        first = (await register(store)).generation
        await register(store, join(event_id="$join2"))
        with pytest.raises(StaleGenerationError):
            await store.registry.release(ROOM, first, ReleaseReason.PURGED, NOW)
        with pytest.raises(RoomNotPartialError):
            await store.registry.release(RoomId("!other:here"), first, ReleaseReason.PURGED, NOW)

    async def test_all_joins_of_a_room_end_together(self, store):
        await register(store)
        second = (await register(store, join(event_id="$join2"))).generation
        await store.registry.release(ROOM, second, ReleaseReason.PURGED, NOW)
        assert (await register(store)).outcome is RegistrationOutcome.ENDED
        assert (await register(store, join(event_id="$join2"))).outcome is RegistrationOutcome.ENDED

    async def test_a_join_keeps_its_generation_when_a_later_one_fails(self, store):
        first = (await register(store, join(event_id="$join1"))).generation
        failed = (await register(store, join(event_id="$join2"))).generation
        await store.registry.release(ROOM, failed, ReleaseReason.JOIN_FAILED, NOW)
        again = (await store.registry.get(ROOM)).generation
        assert again not in {first, failed}
        assert (await register(store, join(event_id="$join1"))).generation == first
        await store.registry.release(ROOM, again, ReleaseReason.PURGED, NOW)
        ended = await register(store, join(event_id="$join1"))
        assert (ended.generation, ended.ending) == (first, Ending.PURGED)
        for generation in (first, failed, again):  # repetitions
            await store.registry.release(ROOM, generation, ReleaseReason.PURGED, NOW)

    async def test_a_join_is_confirmed_by_its_own_generation_after_a_later_one_failed(self, store):
        first = (await register(store, join(event_id="$join1"))).generation
        failed = (await register(store, join(event_id="$join2"))).generation
        await store.registry.release(ROOM, failed, ReleaseReason.JOIN_FAILED, NOW)
        await store.registry.confirm_join(ROOM, first)
        room = await store.registry.get(ROOM)
        assert room.join_confirmed
        with pytest.raises(JoinConfirmedError):
            await store.registry.release(ROOM, room.generation, ReleaseReason.JOIN_FAILED, NOW)


class TestRetry:
    async def test_a_room_is_due_now_without_cooldowns_and_with_more_servers(self, store):
        await register(store)
        lease = await claim(store)
        cooling = ServerRecord(ServerName("one"), "timeout", NOW, "é", 3, NOW + 1000)
        await store.registry.report_progress(lease, Progress(servers=(cooling,)), RoomStatus.STALLED)
        await store.registry.hand_back(lease, NOW + 90_000)
        room = await store.registry.retry(ROOM, [ServerName("three"), ServerName("one")], NOW + 1)
        assert room.status is RoomStatus.RESYNCING
        assert room.servers == ("one", "two", "three")
        assert room.progress.servers[0].cooldown_until_ms is None
        assert room.progress.servers[0].detail == "é"
        assert await store.registry.next_due_ms() == NOW + 1

    async def test_a_leased_room_is_due_when_it_is_handed_back(self, store):
        await register(store)
        lease = await claim(store)
        await store.registry.retry(ROOM, [], NOW + 1)
        assert await store.registry.claim_due("other", NOW + 1, 1000) is None
        await store.registry.hand_back(lease, NOW + 90_000)
        assert await store.registry.next_due_ms() == NOW + 1

    async def test_what_cannot_be_retried(self, store):
        with pytest.raises(RoomNotPartialError):
            await store.registry.retry(ROOM, [], NOW)
        generation = (await register(store)).generation
        await store.registry.release(ROOM, generation, ReleaseReason.LEFT, NOW)
        with pytest.raises(RoomAbandonedError):
            await store.registry.retry(ROOM, [], NOW)


class TestImport:
    async def test_the_acknowledged_position_only_grows(self, store):
        generation, position = await make_ready(store)
        lease_free = await store.registry.get(ROOM)
        assert lease_free.unimported_events == 1
        assert (await store.registry.acknowledge(ROOM, generation, position))[1] == position
        assert (await store.registry.acknowledge(ROOM, generation, Position(0)))[1] == position
        assert (await store.registry.get(ROOM)).unimported_events == 0
        with pytest.raises(PositionOutOfRangeError):
            await store.registry.acknowledge(ROOM, generation, Position(position + 1))
        with pytest.raises(StaleGenerationError):
            await store.registry.acknowledge(ROOM, generation + 1, position)

    async def test_confirming_ends_the_partial_state_and_can_be_repeated(self, store):
        generation, position = await make_ready(store)
        token = await store.registry.confirm_import(ROOM, generation, position, NOW)
        assert await store.registry.confirm_import(ROOM, generation, position, NOW) == token
        assert (await store.registry.acknowledge(ROOM, generation, position))[1] == position
        assert await outcomes(store, recorded("$late", JOIN)) == [ROOM_FULL]

    async def test_too_early_is_incomplete(self, store):
        generation = (await register(store)).generation
        with pytest.raises(ImportIncompleteError) as raised:
            await store.registry.confirm_import(ROOM, generation, Position(0), NOW)
        assert raised.value.pending_events == 1
        lease = await claim(store)
        position = await resolve(store, lease, JOIN, records=3)
        assert position == 3
        with pytest.raises(ImportIncompleteError) as raised:
            await store.registry.confirm_import(ROOM, generation, Position(2), NOW)
        assert raised.value.log_position == 3

    async def test_what_cannot_be_confirmed(self, store):
        with pytest.raises(RoomNotPartialError):
            await store.registry.confirm_import(ROOM, 1, Position(0), NOW)
        generation, position = await make_ready(store)
        with pytest.raises(StaleGenerationError):
            await store.registry.confirm_import(ROOM, generation + 1, position, NOW)
        await store.registry.release(ROOM, generation, ReleaseReason.LEFT, NOW)
        with pytest.raises(RoomAbandonedError):
            await store.registry.confirm_import(ROOM, generation, position, NOW)

    async def test_a_purged_room_is_not_imported_by_repetition(self, store):
        generation, position = await make_ready(store)
        await store.registry.release(ROOM, generation, ReleaseReason.PURGED, NOW)
        with pytest.raises(RoomNotPartialError):
            await store.registry.confirm_import(ROOM, generation, position, NOW)
        with pytest.raises(RoomNotPartialError):
            await store.registry.acknowledge(ROOM, generation, position)


class TestPage:
    async def test_rooms_come_by_id_page_by_page(self, store):
        rooms = [RoomId(f"!{i:03}:here") for i in range(25)]
        for room in reversed(rooms):
            await register(store, join(room, f"$join-{room}"))
        seen, after = [], None
        while True:
            page, after, _ = await store.registry.page(after, 10, frozenset())
            seen += [room.room_id for room in page]
            if after is None:
                break
        assert seen == rooms

    async def test_only_the_asked_statuses(self, store):
        for i in range(5):
            generation = (await register(store, join(f"!{i}:here", f"$join-{i}"))).generation
            if i % 2:
                await store.registry.release(RoomId(f"!{i}:here"), generation, ReleaseReason.LEFT, NOW)
        page, after, _ = await store.registry.page(None, 2, {RoomStatus.ABANDONED})
        assert [room.room_id for room in page] == ["!1:here", "!3:here"]
        assert (await store.registry.page(after, 2, {RoomStatus.ABANDONED}))[0] == []


async def test_a_tombstone_is_kept_for_thirty_days_and_then_trimmed(store):
    generation = (await register(store)).generation
    await store.registry.release(ROOM, generation, ReleaseReason.PURGED, NOW)
    for days, is_kept in ((29, True), (31, False)):
        await register(store, join(f"!{days}:here", f"$join-{days}"), NOW + days * DAY_MS)
        assert (await store.registry.hold_join(ROOM, JOIN) is not None) is is_kept
    assert (await register(store)).outcome is RegistrationOutcome.REGISTERED

"""Leaves, kicks, bans, rejoins and purges in the middle of a resync: nothing waits for it, nothing is forgotten.

After Complement's tests of the same; there `/state_ids` hangs meanwhile, as it does here.
"""

import asyncio

import pytest
from partialstate import (
    Endpoint,
    Reason,
    RecordOutcome,
    ReleaseReason,
    RoomAbandonedError,
    RoomNotPartialError,
    RoomStatus,
    StaleGenerationError,
)
from structlog.testing import capture_logs

MEMBER = "m.room.member"


async def hanging(room):
    """Join the room and return once a server holds our request for the state."""
    latch = room.latch()
    joined = await room.join()
    async with asyncio.timeout(10):
        await latch.arrived.wait()
    return latch, joined


async def test_leaving_does_not_wait_and_forgets_nothing(room):
    """3676, 3721, Leave: the room is ABANDONED at once, no check gives it away, and no server is asked any more."""
    latch, joined = await hanging(room)
    async with asyncio.timeout(2):
        leave = await room.leave(joined)
    assert await room.status() is RoomStatus.ABANDONED
    asked = room.count(Endpoint.STATE_IDS)
    latch.released.set()
    for event_id in (joined.event_id, leave):
        await room.is_refused(event_id)
    with pytest.raises(RoomAbandonedError):
        await room.client.retry_resync(joined.room_id)
    found = (await room.client.get_partial_room(joined.room_id)).room
    assert (found.status, found.log_position) == (RoomStatus.ABANDONED, 0)
    assert room.count(Endpoint.STATE_IDS) == asked


@pytest.mark.parametrize("membership", ["leave", "ban"])
async def test_a_kick_or_ban_of_the_only_local_user(room, membership):
    """3926, Remote kick; 3980, Remote ban: taken while partial like any event, then the room is left."""
    latch, joined = await hanging(room)
    kick = room.say(room.charlie, MEMBER, {"membership": membership}, room.alice.user_id)
    async with asyncio.timeout(2):
        await room.record(joined, kick)
        await room.client.release_room(joined.room_id, joined.generation, ReleaseReason.LEFT)
    latch.released.set()
    assert await room.status() is RoomStatus.ABANDONED
    await room.is_refused(room.id_of(kick))


async def test_a_room_that_was_left_when_recovered_is_still_refused(room):
    """Issue of the same: between the recovery and the import there is no gap either."""
    joined = await room.join()
    await room.recovered(joined)
    leave = await room.leave(joined)
    assert await room.status() is RoomStatus.ABANDONED
    for event_id in (joined.event_id, leave):
        await room.is_refused(event_id)


async def test_rejoining_while_the_first_resync_hangs(room):
    """3836: leave, then rejoin: a new generation, whose resync begins at once and recovers all that came before."""
    _, first = await hanging(room)
    leave = await room.leave(first)
    latch, second = await hanging(room)
    assert second.generation > first.generation
    assert await room.status() is RoomStatus.RESYNCING
    for event_id in (first.event_id, leave):
        await room.is_refused(event_id)
    message = room.say(room.derek, "m.room.message", {"body": "welcome back"})
    await room.record(second, message)
    recovered = await room.becomes_full(second, latch, message)
    room.matches(recovered, first.event_id, leave)


async def test_leaving_again_after_a_second_partial_join(room):
    """3781: join, leave, join, leave; the generations tell which leave is meant."""
    _, first = await hanging(room)
    await room.leave(first)
    _, second = await hanging(room)
    with pytest.raises(StaleGenerationError):
        await room.client.release_room(first.room_id, first.generation, ReleaseReason.LEFT)
    assert await room.status() is RoomStatus.RESYNCING
    leave = await room.leave(second)
    assert await room.status() is RoomStatus.ABANDONED
    await room.is_refused(leave)


async def test_another_local_user_joins_after_the_first_left(room):
    """3878: as 3836, by another user."""
    _, first = await hanging(room)
    leave = await room.leave(first)
    latch = room.latch()
    second = await room.join(localpart="bob")
    recovered = await room.becomes_full(second, latch)
    room.matches(recovered, first.event_id, leave)


async def test_another_local_user_joins_meanwhile(room):
    """3597, CanFastJoinDuringPartialStateJoin: the one resync goes on to recover both joins."""
    latch, first = await hanging(room)
    second = await room.join(localpart="bob")
    assert second.generation > first.generation
    recovered = await room.becomes_full(second, latch)
    room.matches(recovered, first.event_id)


async def test_a_purge_while_the_state_is_awaited(room):
    """4155: the room is gone at once, and what the hanging resync still finds goes nowhere, without a complaint."""
    with capture_logs() as logs:
        latch, joined = await hanging(room)
        async with asyncio.timeout(2):
            await room.client.release_room(joined.room_id, joined.generation, ReleaseReason.PURGED)
        with pytest.raises(RoomNotPartialError):
            await room.status()
        assert (await room.check(joined.event_id)).reason is Reason.ROOM_NOT_PARTIAL
        asked = room.count(Endpoint.STATE_IDS)
        latch.released.set()
        # The same room joined anew has nothing of the old one.
        second = await room.join()
        assert second.generation > joined.generation
        recovered = await room.recovered(second)
    assert recovered.verdicts.keys() == {second.event_id}
    assert asked <= 2
    assert not [entry for entry in logs if entry["log_level"] in {"error", "critical"}]


async def test_a_purge_of_a_left_room(room):
    """4155, after 3721: what was left is forgotten only when it is purged."""
    _, joined = await hanging(room)
    leave = await room.leave(joined)
    await room.is_refused(leave)
    await room.client.release_room(joined.room_id, joined.generation, ReleaseReason.PURGED)
    assert (await room.check(leave)).reason is Reason.ROOM_NOT_PARTIAL


async def test_events_of_a_left_room_are_still_recorded(room):
    """Of no Complement test: the leave of others may arrive late; it must be refused to nobody's gain later."""
    _, joined = await hanging(room)
    await room.leave(joined)
    message = room.say(room.derek, "m.room.message", {"body": "are you there?"})
    recorded = await room.try_record(joined, message)
    assert recorded.outcomes == (RecordOutcome.RECORDED,)
    assert await room.status() is RoomStatus.ABANDONED
    await room.is_refused(room.id_of(message))

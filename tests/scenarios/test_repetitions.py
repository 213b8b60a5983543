"""Calls whose answers were lost are repeated, however late: after the end they change nothing (synapse#19448)."""

import pytest
from partialstate import (
    Ending,
    RecordOutcome,
    RegistrationOutcome,
    ReleaseReason,
    RoomNotPartialError,
    SentEvent,
)


async def token(room):
    return (await anext(room.client.list_partial_rooms())).state_token


@pytest.mark.parametrize("ending", [Ending.IMPORTED, Ending.PURGED])
async def test_late_repetitions_after_the_end(room, ending):
    """Each call of the room's life once more: the same answers as before, no room, and not one change."""
    joined = await room.join()
    message = room.say(room.derek, "m.room.message", {"body": "E"})
    await room.record(joined, message)
    recovered = await room.recovered(joined)
    if ending is Ending.IMPORTED:
        await room.client.ack_import(joined.room_id, joined.generation, recovered.position)
        await room.confirm(joined, recovered)
    else:
        await room.client.release_room(joined.room_id, joined.generation, ReleaseReason.PURGED)
    before = await token(room)

    again = await room.client.register_partial_join(joined.join, joined.response)
    assert again.outcome is RegistrationOutcome.ENDED
    assert (again.generation, again.ending) == (joined.generation, ending)
    await room.client.confirm_join(joined.room_id, joined.generation)
    assert (await room.try_record(joined, message)).outcomes == (RecordOutcome.ROOM_NOT_PARTIAL,)
    sent = SentEvent(joined.event_id, (room.world.creator.name,))
    assert not await room.client.record_sent_events(joined.room_id, [sent])
    if ending is Ending.IMPORTED:
        await room.client.ack_import(joined.room_id, joined.generation, recovered.position)
        await room.confirm(joined, recovered)
    for reason in (ReleaseReason.LEFT, ReleaseReason.PURGED):
        await room.client.release_room(joined.room_id, joined.generation, reason)

    assert await token(room) == before
    with pytest.raises(RoomNotPartialError) as gone:
        await room.status()
    assert (gone.value.last_generation, gone.value.ending) == (joined.generation, ending.name)
    await room.is_answered(joined.event_id)


async def test_repetitions_while_the_room_is_partial(room):
    """The same before the end: nothing is registered, recorded or released twice."""
    latch = room.latch()
    joined = await room.join()
    message = room.say(room.derek, "m.room.message", {"body": "E"})
    await room.record(joined, message)
    again = await room.client.register_partial_join(joined.join, joined.response)
    assert again.outcome is RegistrationOutcome.ALREADY_REGISTERED
    assert again.generation == joined.generation
    await room.client.confirm_join(joined.room_id, joined.generation)
    await room.record(joined, message)
    assert (await room.client.get_partial_room(joined.room_id)).room.pending_event_count == 2
    latch.released.set()
    recovered = await room.recovered(joined)
    assert recovered.verdicts.keys() == {joined.event_id, room.id_of(message)}

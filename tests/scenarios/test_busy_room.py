"""A room that does not wait: ten events a second while an import takes its time; it becomes full all the same."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest
from partialstate import ImportIncompleteError, LogEnd, RecordOutcome, ReleaseReason, RoomAbandonedError
from support.recovered import Recovered
from support.scenarios import JoinedRoom, Scenario


@dataclass
class BusyRoom:
    """A homeserver that records what others say, and imports the recovered state as slowly as it must."""

    room: Scenario
    joined: JoinedRoom
    events_per_s: float
    first_import_s: float
    recovered: Recovered = field(default_factory=Recovered)
    outcomes: list[tuple[str, RecordOutcome]] = field(default_factory=list)
    full: asyncio.Event = field(default_factory=asyncio.Event)

    async def talk(self) -> None:
        """Record event after event until some came when the room was full. Its pace is what is tested."""
        after_the_end = 0
        while after_the_end < 5:
            event = self.room.say(self.room.derek, "m.room.message", {"body": str(len(self.outcomes))})
            recorded = await self.room.try_record(self.joined, event)
            self.outcomes.append((self.room.id_of(event), recorded.outcomes[0]))
            after_the_end += self.full.is_set()
            await asyncio.sleep(1 / self.events_per_s)

    async def import_state(self) -> None:
        """Import what is recovered as it comes, acknowledge it, and confirm as soon as nothing is left."""
        client, room_id, generation = self.room.client, self.joined.room_id, self.joined.generation
        stream = client.recovered_state(room_id, generation, follow=True)
        async with aclosing(stream):
            async for record in stream:
                self.recovered.take(record)
                if not isinstance(record, LogEnd) or not record.position:
                    continue
                if not self.full.is_set() and self.first_import_s:
                    # The state of a large room goes into the homeserver's database.
                    await asyncio.sleep(self.first_import_s)
                    self.first_import_s = 0
                await client.ack_import(room_id, generation, record.position)
                try:
                    await client.confirm_import(room_id, generation, record.position)
                except ImportIncompleteError:
                    continue
                self.full.set()
                return

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.talk())
            tasks.create_task(self.import_state())


async def becomes_full(room: Scenario, *, events_per_s: float, import_s: float) -> BusyRoom:
    """Let a busy room become full, and check what was handed over."""
    joined = await room.join()
    busy = BusyRoom(room, joined, events_per_s, import_s)
    await busy.run()
    recorded = [event_id for event_id, outcome in busy.outcomes if outcome is RecordOutcome.RECORDED]
    room.matches(busy.recovered, joined.event_id, *recorded)
    # Once an event is not partial, none after it is; and once the room is full, it stays so.
    found = [outcome for _, outcome in busy.outcomes]
    assert found == sorted(found, key=list(RecordOutcome).index)
    assert found[-1] is RecordOutcome.ROOM_NOT_PARTIAL or found[-1] is RecordOutcome.EVENT_NOT_PARTIAL
    # It was busy all the time.
    assert len(recorded) >= import_s * events_per_s / 3
    await room.is_answered(joined.event_id)
    return busy


async def test_a_busy_room_becomes_full(room):
    """Ten events a second, an import of several seconds."""
    await becomes_full(room, events_per_s=10, import_s=5)


async def test_a_left_busy_room_is_still_refused(room):
    """Left in the middle of its import: refused from then on, whatever is confirmed late."""
    joined = await room.join()
    for number in range(5):
        await room.record(joined, room.say(room.derek, "m.room.message", {"body": str(number)}))
    recovered = await room.recovered(joined)
    await room.client.ack_import(joined.room_id, joined.generation, recovered.position)
    leave = room.say(room.alice, "m.room.member", {"membership": "leave"}, room.alice.user_id)
    # All that it follows is imported: the leave itself is an event with full state.
    recorded = await room.try_record(joined, leave)
    assert recorded.outcomes == (RecordOutcome.EVENT_NOT_PARTIAL,)
    await room.client.release_room(joined.room_id, joined.generation, ReleaseReason.LEFT)
    for event_id in (joined.event_id, room.id_of(leave)):
        await room.is_refused(event_id)
    with pytest.raises(RoomAbandonedError):
        await room.confirm(joined, recovered)
    await room.is_refused(room.id_of(leave))


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_busy_room_becomes_full_after_a_minute_of_import(room):
    """The same at full length: ten events a second, an import of a minute."""
    await becomes_full(room, events_per_s=10, import_s=60)

"""The recovered-state log through the API; the tests play the worker that writes it."""

import asyncio
from collections.abc import Sequence

import grpc
import pytest
from partialstate.v1 import recovered_state_service_pb2 as pb
from partialstate.v1 import rooms_service_pb2 as rooms
from partialstate.v1 import types_pb2 as types
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.replay import Replayed
from partialstate_service.ownership.given_events import stored_json
from partialstate_service.resync.log_records import (
    current_state_records,
    servers_records,
    state_before_records,
    verdict_record,
)
from partialstate_service.store.protocol import ChunkKind, Lease, NewSegment, PduItem
from support.api import partial_event, pdu, record, refused
from support.send_joins import sent_join


class Worker:
    """Writes a room's log as a worker would."""

    def __init__(self, api, lease: Lease) -> None:
        self._registry, self._bulk, self._lease = api.store.registry, api.store.bulk, lease

    async def append(self, records: Sequence[bytes], resolved: Sequence[Event]) -> int:
        chunk = await self._bulk.put(self._lease.room_id, ChunkKind.LOG, "tests", records)
        ids = [event.event_id for event in resolved]
        return await self._registry.append_log(self._lease, [NewSegment(ChunkKind.LOG, chunk)], ids, [])

    async def append_events(self, events: Sequence[Event], rejected=frozenset(), omitted=frozenset()) -> int:
        items = [PduItem(event.event_id, stored_json(event)) for event in events]
        chunk = await self._bulk.put(self._lease.room_id, ChunkKind.VERIFIED, "tests", items)
        segment = NewSegment(ChunkKind.VERIFIED, chunk, rejected, omitted)
        return await self._registry.append_log(self._lease, [segment], [], [])

    async def hand_back(self) -> None:
        await self._registry.hand_back(self._lease, None)


def verdict(event: Event) -> bytes:
    return verdict_record(Replayed(event.event_id, None, {}, frozenset(), None), provisionally_accepted=True)


async def recovered_room(api):
    """Return a join whose log is complete: three events, the state before it, and who is in the room."""
    join = sent_join()
    registered = await api.register(join)
    worker = Worker(api, await api.lease(join.room_id))
    events = list(join.room.events.values())[:4]
    await worker.append_events(events, {events[1].event_id}, {events[2].event_id})
    state = {key: event_id for key, event_id in join.room.state.items() if event_id != join.join.event_id}
    before = Replayed(join.join.event_id, None, state, frozenset({("m.room.topic", "")}), None)
    await worker.append(
        [
            *state_before_records(before),
            verdict(join.join),
            *current_state_records(
                join.join.event_id, {("m.room.member", "@alice:us.example"): "$j"}, frozenset()
            ),
            *servers_records(["a.example"], ["c.example"], 42),
        ],
        [join.join],
    )
    return join, registered.generation, worker, events, state


def from_start(join, generation: int, after: int = 0, *, follow=False) -> pb.StreamRecoveredStateRequest:
    return pb.StreamRecoveredStateRequest(
        room_id=join.room_id, generation=generation, after_position=after, follow=follow
    )


async def read_all(api, request) -> list[pb.StreamRecoveredStateResponse]:
    return [record async for record in api.recovered.StreamRecoveredState(request)]


async def test_the_log_is_streamed_as_typed_records(api):
    join, generation, _, events, state = await recovered_room(api)
    records = await read_all(api, from_start(join, generation))
    assert [record.WhichOneof("record") for record in records] == [
        "event", "event", "event", "state_before", "verdict", "current_state", "servers", "end",
    ]  # fmt: skip
    assert [record.position for record in records] == [1, 2, 4, 5, 6, 7, 8, 8]
    assert records[0].event == pb.RecoveredEvent(pdu=pdu(events[0]))
    assert records[1].event.rejected
    before = records[3].state_before
    assert (before.event_id, before.base_event_id, before.complete) == (join.join.event_id, "", True)
    assert {(entry.type, entry.state_key): entry.event_id for entry in before.entries} == {
        **state,
        ("m.room.topic", ""): "",
    }
    assert records[4].verdict == pb.EventVerdict(event_id=join.join.event_id, accepted=True)
    assert records[5].current_state == pb.CurrentState(
        optional_base_event_id=join.join.event_id,
        entries=[types.StateEntry(type="m.room.member", state_key="@alice:us.example", event_id="$j")],
        complete=True,
    )
    assert records[6].servers == pb.RoomServers(
        in_room=["a.example"], missed=["c.example"], optional_device_list_position=42, complete=True
    )
    assert records[7].end == pb.LogEnd(
        generation=generation, position=8, complete=True, event_count=3, verdict_count=1
    )


@pytest.mark.parametrize("after", range(9))
async def test_the_log_goes_on_after_any_position(api, after):
    join, generation, *_ = await recovered_room(api)
    whole = await read_all(api, from_start(join, generation))
    rest = await read_all(api, from_start(join, generation, after))
    assert rest[:-1] == [record for record in whole[:-1] if record.position > after]
    assert rest[-1].end.position == 8


async def test_a_follower_gets_what_is_appended_until_the_room_is_full(api):
    join = sent_join()
    generation = (await api.register(join)).generation
    stream = api.recovered.StreamRecoveredState(from_start(join, generation, follow=True))

    async def next_record():
        return await asyncio.wait_for(stream.read(), 10)

    assert (await next_record()).end == pb.LogEnd(generation=generation)
    worker = Worker(api, await api.lease(join.room_id))
    await worker.append([verdict(join.join)], [join.join])
    assert (await next_record()).verdict.event_id == join.join.event_id
    end = await next_record()
    assert end.end == pb.LogEnd(generation=generation, position=1, complete=True, verdict_count=1)
    await api.recovered.ConfirmImport(
        pb.ConfirmImportRequest(room_id=join.room_id, generation=generation, position=1)
    )
    assert await next_record() is grpc.aio.EOF


async def test_a_follower_learns_of_a_further_join(api):
    join = sent_join()
    generation = (await api.register(join)).generation
    stream = api.recovered.StreamRecoveredState(from_start(join, generation, follow=True))
    assert (await asyncio.wait_for(stream.read(), 10)).WhichOneof("record") == "end"
    join.join = join.room.join("@alice:us.example", displayname="again")
    join.response["event"] = dict(join.join.raw)
    await api.register(join)
    with refused() as refusal:
        await asyncio.wait_for(stream.read(), 10)
    assert refusal.reason == "STALE_GENERATION"


async def test_positions_and_generations_are_checked(api):
    join, generation, *_ = await recovered_room(api)
    for request, reason in (
        (from_start(join, generation, 9), "POSITION_OUT_OF_RANGE"),
        (from_start(join, generation, -1), "INVALID_FIELD"),
        (from_start(join, 0), "INVALID_FIELD"),
        (from_start(join, generation + 1), "STALE_GENERATION"),
        (pb.StreamRecoveredStateRequest(room_id="!a:b.example", generation=1), "ROOM_NOT_PARTIAL"),
    ):
        with refused() as refusal:
            await read_all(api, request)
        assert refusal.reason == reason


async def test_the_import_is_confirmed_once_all_is_imported(api):
    join, generation, worker, *_ = await recovered_room(api)
    confirm = pb.ConfirmImportRequest(room_id=join.room_id, generation=generation, position=7)
    with refused() as refusal:
        await api.recovered.ConfirmImport(confirm)
    assert refusal.reason == "IMPORT_INCOMPLETE"
    assert refusal.facts == {"position": "7", "log_position": "8", "pending_events": "0"}
    await worker.hand_back()
    confirm.position = 8
    done = await api.recovered.ConfirmImport(confirm)
    assert (await api.recovered.ConfirmImport(confirm)).state_token.token
    assert done.state_token.token
    with refused() as refusal:
        await api.rooms.GetPartialRoom(rooms.GetPartialRoomRequest(room_id=join.room_id))
    assert refusal.facts is not None
    assert refusal.facts["ending"] == "IMPORTED"


async def test_an_event_recorded_meanwhile_delays_the_confirmation(api):
    join, generation, worker, *_ = await recovered_room(api)
    await worker.hand_back()
    event = join.room.message("@bob:b.example")
    await api.rooms.RecordPartialEvents(record(join.room, event))
    confirm = pb.ConfirmImportRequest(room_id=join.room_id, generation=generation, position=8)
    with refused() as refusal:
        await api.recovered.ConfirmImport(confirm)
    assert refusal.facts == {"position": "8", "log_position": "8", "pending_events": "1"}
    again = Worker(api, await api.lease(join.room_id))
    confirm.position = await again.append([verdict(event)], [event])
    await api.recovered.ConfirmImport(confirm)


async def test_an_event_after_acknowledged_ones_is_not_partial(api):
    join, generation, worker, *_ = await recovered_room(api)
    await worker.hand_back()
    answer = await api.recovered.AckImport(
        pb.AckImportRequest(room_id=join.room_id, generation=generation, position=8)
    )
    assert answer.acknowledged_position == 8
    lower = await api.recovered.AckImport(
        pb.AckImportRequest(room_id=join.room_id, generation=generation, position=3)
    )
    assert lower.acknowledged_position == 8
    event = join.room.message("@bob:b.example")
    outcomes = await api.rooms.RecordPartialEvents(
        rooms.RecordPartialEventsRequest(room_id=join.room_id, events=[partial_event(event)])
    )
    assert list(outcomes.outcomes) == [rooms.RECORD_OUTCOME_EVENT_NOT_PARTIAL]
    await api.recovered.ConfirmImport(
        pb.ConfirmImportRequest(room_id=join.room_id, generation=generation, position=8)
    )

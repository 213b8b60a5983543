"""Streams of answers: they take themselves up again, and lose and repeat nothing."""

from contextlib import aclosing

import grpc
import pytest
from partialstate import (
    NO_RETRIES,
    Bookmark,
    CurrentState,
    Ending,
    EventVerdict,
    ListAgainError,
    LogEnd,
    PartialStateClient,
    RecoveredEvent,
    RoomChanged,
    RoomEnded,
    RoomNotPartialError,
    RoomServers,
    StaleGenerationError,
    StateBefore,
    StateEntry,
    StateToken,
    UnavailableError,
)
from partialstate.v1 import recovered_state_service_pb2 as recovered_pb
from partialstate.v1 import rooms_service_pb2 as rooms_pb
from partialstate.v1 import types_pb2
from partialstate.v1 import watch_service_pb2 as watch_pb
from support.fake_service import UNAVAILABLE, answering, failing, stalling, streaming

Record = recovered_pb.StreamRecoveredStateResponse
GONE = failing(grpc.StatusCode.NOT_FOUND, "ROOM_NOT_PARTIAL", ending="IMPORTED")


def verdict(position: int) -> Record:
    return Record(
        position=position, verdict=recovered_pb.EventVerdict(event_id=f"${position}", accepted=True)
    )


def end(position: int) -> Record:
    return Record(position=position, end=recovered_pb.LogEnd(generation=3, position=position, complete=True))


def change(token: str, room_id: str = "!r:a") -> watch_pb.WatchResponse:
    return watch_pb.WatchResponse(
        state_token=types_pb2.StateToken(token=token), changed=rooms_pb.PartialRoom(room_id=room_id)
    )


async def test_every_kind_of_record_is_told(fake, client):
    entry = types_pb2.StateEntry(type="m.room.member", state_key="@u:b", event_id="$m")
    fake.on(
        "StreamRecoveredState",
        streaming(
            Record(
                position=1,
                event=recovered_pb.RecoveredEvent(
                    pdu=types_pb2.Pdu(event_id="$m", json=b"{}"), rejected=True
                ),
            ),
            Record(
                position=2,
                state_before=recovered_pb.StateBefore(event_id="$e", base_event_id="$b", entries=[entry]),
            ),
            verdict(3),
            Record(position=4, current_state=recovered_pb.CurrentState(entries=[entry], complete=True)),
            Record(position=5),  # of a newer service
            Record(
                position=6,
                servers=recovered_pb.RoomServers(
                    in_room=["b"], missed=["c"], optional_device_list_position=0
                ),
            ),
            end(6),
        ),
    )
    records = [record async for record in client.recovered_state("!r:a", 3, after_position=0)]
    event, before, final, current, servers, last = records
    assert isinstance(event, RecoveredEvent)
    assert (event.position, event.pdu.event_id, event.rejected) == (1, "$m", True)
    slot = (StateEntry("m.room.member", "@u:b", "$m"),)
    assert before == StateBefore(2, "$e", "$b", slot, complete=False)
    assert final == EventVerdict(3, "$3", accepted=True, flipped=False, rejection="")
    assert current == CurrentState(4, "", slot, complete=True)
    assert servers == RoomServers(6, ("b",), ("c",), 0, complete=False)
    assert last == LogEnd(6, 3, complete=True, event_count=0, verdict_count=0)


async def test_a_stream_of_records_goes_on_where_it_was_cut_off(fake, client):
    fake.on(
        "StreamRecoveredState",
        streaming(verdict(1), verdict(2), then=UNAVAILABLE),
        UNAVAILABLE,
        streaming(verdict(3), end(3)),
    )
    records = [record async for record in client.recovered_state("!r:a", 3)]
    assert [record.position for record in records] == [1, 2, 3, 3]
    after = [call.request.after_position for call in fake.calls("StreamRecoveredState")]
    assert after == [0, 2, 2]


async def test_following_ends_quietly_if_the_room_became_full_meanwhile(fake, client):
    fake.on("StreamRecoveredState", streaming(verdict(1), end(1), then=UNAVAILABLE), GONE)
    records = [record async for record in client.recovered_state("!r:a", 3, follow=True)]
    assert len(records) == 2


async def test_a_room_that_is_not_partial_is_told(fake, client):
    fake.on("StreamRecoveredState", GONE)
    with pytest.raises(RoomNotPartialError):
        await anext(client.recovered_state("!r:a", 3, follow=True))


async def test_a_room_that_was_joined_again_ends_the_stream(fake, client):
    stale = failing(grpc.StatusCode.FAILED_PRECONDITION, "STALE_GENERATION", given="3", current="9")
    fake.on("StreamRecoveredState", streaming(verdict(1), then=stale))
    records = client.recovered_state("!r:a", 3, follow=True)
    await anext(records)
    with pytest.raises(StaleGenerationError):
        await anext(records)


async def test_a_stream_that_stays_cut_off_gives_up(fake):
    fake.on("StreamRecoveredState", UNAVAILABLE)
    async with PartialStateClient(fake.target, retry_policy=NO_RETRIES) as client:
        with pytest.raises(UnavailableError):
            await anext(client.recovered_state("!r:a", 3))


async def test_leaving_a_stream_ends_its_call(fake, client):
    fake.on("StreamRecoveredState", streaming(verdict(1), then=stalling()))
    async with aclosing(client.recovered_state("!r:a", 3, follow=True)) as records:
        await anext(records)
    assert fake.calls("StreamRecoveredState")[0].ended.wait(10)


async def test_imports_are_acknowledged_and_confirmed(fake, client):
    token = types_pb2.StateToken(token="t1")
    fake.on(
        "AckImport", answering(recovered_pb.AckImportResponse(acknowledged_position=5, state_token=token))
    )
    assert (await client.ack_import("!r:a", 3, 4)).acknowledged_position == 5
    fake.on("ConfirmImport", answering(recovered_pb.ConfirmImportResponse(state_token=token)))
    assert await client.confirm_import("!r:a", 3, 5) == "t1"
    request = fake.calls("ConfirmImport")[0].request
    assert (request.room_id, request.generation, request.position) == ("!r:a", 3, 5)


async def test_a_watch_tells_changes_ends_and_bookmarks(fake, client):
    ended = watch_pb.RoomEnded(room_id="!r:a", generation=3, ending=types_pb2.ENDING_IMPORTED)
    fake.on(
        "Watch",
        streaming(
            change("t1"),
            watch_pb.WatchResponse(state_token=types_pb2.StateToken(token="t2"), ended=ended),
            watch_pb.WatchResponse(state_token=types_pb2.StateToken(token="t3")),
        ),
    )
    changed, over, bookmark = [change async for change in client.watch(StateToken("t0"), room_id="!r:a")]
    assert isinstance(changed, RoomChanged)
    assert (changed.room.room_id, changed.state_token) == ("!r:a", "t1")
    assert over == RoomEnded(StateToken("t2"), "!r:a", 3, Ending.IMPORTED)
    assert bookmark == Bookmark(StateToken("t3"))
    request = fake.calls("Watch")[0].request
    assert (request.optional_after.token, request.room_id) == ("t0", "!r:a")


@pytest.mark.parametrize(
    "failure", [UNAVAILABLE, failing(grpc.StatusCode.RESOURCE_EXHAUSTED, "READER_TOO_SLOW")]
)
async def test_a_watch_goes_on_after_its_last_token(fake, client, failure):
    fake.on("Watch", failure, streaming(change("t1"), change("t2"), then=failure), streaming(change("t3")))
    tokens = [change.state_token async for change in client.watch()]
    assert tokens == ["t1", "t2", "t3"]
    requests = [call.request for call in fake.calls("Watch")]
    assert [request.HasField("optional_after") for request in requests] == [False, False, True]
    assert requests[2].optional_after.token == "t2"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.OUT_OF_RANGE, "TOKEN_TOO_OLD"),
        (grpc.StatusCode.FAILED_PRECONDITION, "FOREIGN_TOKEN"),
    ],
)
async def test_a_watch_that_lost_its_place_says_to_list_again(fake, client, code, reason):
    fake.on("Watch", streaming(change("t1"), then=UNAVAILABLE), failing(code, reason))
    changes = client.watch(StateToken("t0"))
    await anext(changes)
    with pytest.raises(ListAgainError):
        await anext(changes)

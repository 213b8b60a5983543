"""The guarantees of Watch: ordered, unique, reliable, resumable, bookmarkable."""

import asyncio

import pytest
from partialstate.v1 import rooms_service_pb2 as rooms
from partialstate.v1 import types_pb2 as types
from partialstate.v1 import watch_service_pb2 as pb
from support.api import record, refused, running_api
from support.send_joins import sent_join


class Reader:
    """Reads changes; bookmarks are passed over unless asked for."""

    def __init__(self, api, **request) -> None:
        self._stream = api.watch.Watch(pb.WatchRequest(**request))

    async def bookmark(self) -> pb.WatchResponse:
        message = await asyncio.wait_for(self._stream.read(), 20)
        assert message.WhichOneof("event") is None
        return message

    async def change(self) -> pb.WatchResponse:
        while True:
            message = await asyncio.wait_for(self._stream.read(), 20)
            if message.WhichOneof("event") is not None:
                return message

    def close(self) -> None:
        self._stream.cancel()


def revision(message) -> int:
    return int(message.state_token.token.split(".")[1])


async def released(api, join, registered, reason) -> None:
    await api.rooms.ReleaseRoom(
        rooms.ReleaseRoomRequest(room_id=join.room_id, generation=registered.generation, reason=reason)
    )


async def test_the_life_of_a_room_is_seen_in_order(api):
    token = await api.token()
    reader = Reader(api, optional_after=token)
    join = sent_join()
    registered = await api.register(join)
    await api.rooms.RecordPartialEvents(record(join.room, join.room.message("@bob:b.example")))
    await released(api, join, registered, rooms.RELEASE_REASON_LEFT)
    await released(api, join, registered, rooms.RELEASE_REASON_PURGED)
    seen = [await reader.change() for _ in range(4)]
    assert [message.changed.status for message in seen[:3]] == [
        types.ROOM_STATUS_RESYNCING,
        types.ROOM_STATUS_RESYNCING,
        types.ROOM_STATUS_ABANDONED,
    ]
    assert seen[0].state_token == registered.state_token
    assert [message.changed.pending_event_count for message in seen[:2]] == [1, 2]
    assert seen[3].ended == pb.RoomEnded(
        room_id=join.room_id, generation=registered.generation, ending=types.ENDING_PURGED
    )
    revisions = [revision(message) for message in seen]
    assert revisions == sorted(set(revisions))
    reader.close()


async def test_a_stream_resumes_after_any_token(api):
    token = await api.token()
    joins = [sent_join() for _ in range(6)]
    for join in joins:
        await api.register(join)
    reader = Reader(api, optional_after=token)
    whole = [await reader.change() for _ in joins]
    reader.close()
    assert [message.changed.room_id for message in whole] == [join.room_id for join in joins]
    for index, message in enumerate(whole[:-1]):
        resumed = Reader(api, optional_after=message.state_token)
        assert await resumed.change() == whole[index + 1]
        resumed.close()


async def test_without_a_token_only_later_changes_are_seen(api):
    await api.register(sent_join())
    reader = Reader(api)
    assert (await reader.bookmark()).state_token == await api.token()
    later = sent_join()
    await api.register(later)
    assert (await reader.change()).changed.room_id == later.room_id
    reader.close()


async def test_one_room_can_be_watched(api):
    token = await api.token()
    watched, other = sent_join(), sent_join()
    reader = Reader(api, optional_after=token, room_id=watched.room_id)
    await api.register(other)
    await api.register(watched)
    assert (await reader.change()).changed.room_id == watched.room_id
    reader.close()


async def test_bookmarks_say_how_far_the_stream_is(api):
    token = await api.token()
    other = await api.register(sent_join())
    reader = Reader(api, optional_after=token, room_id="!quiet:a.example")
    while True:  # the first may have been made before the change
        bookmark = await reader.bookmark()
        if bookmark.state_token == other.state_token:
            break
    reader.close()


@pytest.mark.parametrize("text", ["", "x", "1.2", "a.b.c"])
async def test_a_token_that_is_none_is_refused(api, text):
    with refused() as refusal:
        await Reader(api, optional_after=types.StateToken(token=text)).change()
    assert refusal.reason == "INVALID_TOKEN"


async def test_a_token_of_another_store_is_refused(api, store_url):
    async with running_api(store_url) as other:
        token = await other.token()
    with refused() as refusal:
        await Reader(api, optional_after=token).change()
    assert refusal.reason == "FOREIGN_TOKEN"


async def test_a_token_of_a_lost_history_is_refused(api):
    store_id, number, _ = (await api.token()).token.split(".")
    for token in (f"{store_id}.{number}.ffffffffffffffff", f"{store_id}.{int(number) + 5}.0123456789abcdef"):
        with refused() as refusal:
            await Reader(api, optional_after=types.StateToken(token=token)).change()
        assert refusal.reason == "FOREIGN_TOKEN"

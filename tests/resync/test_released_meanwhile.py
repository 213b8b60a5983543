"""A room that is released while a worker reads what was recorded of it is no defect: the worker lets it go."""

import random

from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.rooms import ReleaseReason
from structlog.testing import capture_logs
from support.homeservers import eventually
from support.many_rooms import running_rooms
from support.resyncing import RoomOnStore, now_ms, working


async def test_a_room_that_ends_under_a_worker_is_let_go(store, tmp_path, monkeypatch):
    recorded_events = store.registry.recorded_events

    async def released_before(room_id, after):
        room = await store.registry.get(room_id)
        await store.registry.release(room_id, room.generation, ReleaseReason.PURGED, now_ms())
        return await recorded_events(room_id, after)

    monkeypatch.setattr(store.registry, "recorded_events", released_before)
    async with running_rooms([WorldSize(members=8, servers=2, messages=1)], random.Random(5)) as [running]:
        joined = await RoomOnStore(running, store).join()
        with capture_logs() as logs:
            async with working(running, store, tmp_path):

                async def is_let_go():
                    return bool(logs)

                await eventually(is_let_go)
    assert joined.room_id not in store.mirror.rooms
    assert [entry["log_level"] for entry in logs] == ["info"]
    assert "no longer ours" in logs[0]["event"]

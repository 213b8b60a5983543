"""Rooms become recovered, against real resident servers and a real store."""

import pytest
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.rooms import RoomStatus
from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings
from support.resyncing import recovered_state, resyncing

SMALL = WorldSize(members=40, servers=6, messages=3)


@pytest.fixture
async def store(tmp_path):
    async with open_store(StoreSettings(data_dir=tmp_path / "store")) as store:
        await store.registry.mark_reconciled()
        yield store


@pytest.mark.parametrize("version", ["6", "11", "12"])
async def test_a_room_is_recovered_with_exactly_its_full_state(store, tmp_path, version):
    async with resyncing(SMALL, store, tmp_path, version=version) as resync:
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert room.state_verified
        assert room.pending_events == 0
        assert await recovered_state(resync, joined) == dict(resync.running.world.room.current_state())

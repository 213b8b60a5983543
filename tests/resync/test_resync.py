"""Rooms become recovered, against real resident servers and a real store."""

import pytest
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.rooms import RoomStatus
from support.resyncing import assert_exact, resyncing

SMALL = WorldSize(members=40, servers=6, messages=3)


@pytest.mark.parametrize("version", ["6", "11", "12"])
async def test_a_room_is_recovered_with_exactly_its_full_state(store, tmp_path, version):
    async with resyncing(SMALL, store, tmp_path, version=version) as resync:
        joined = await resync.join()
        room = await resync.until(joined.room_id, RoomStatus.AWAITING_IMPORT)
        assert room.state_verified
        assert room.pending_events == 0
        await assert_exact(resync, joined)

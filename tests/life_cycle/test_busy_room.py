"""A room in which people keep talking while its state is imported becomes full all the same."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from partialstate import PartialStateClient, RecoveredRecord
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.ids import EventId
from support.homeservers import homeserver


async def converges(
    monkeypatch: pytest.MonkeyPatch, *, members: int, import_s: float, events_per_s: float
) -> None:
    """Let the import of the room's members take *import_s*, while events come in; the room must become full."""
    recovered_state = PartialStateClient.recovered_state

    async def slow_import(
        client: PartialStateClient, *arguments: Any, **options: Any
    ) -> AsyncGenerator[RecoveredRecord, None]:
        async for record in recovered_state(client, *arguments, **options):
            await asyncio.sleep(import_s / members)
            yield record

    monkeypatch.setattr(PartialStateClient, "recovered_state", slow_import)
    size = WorldSize(members=members, servers=6, messages=2)
    async with homeserver(size) as ours, ours.service(), ours.frontend() as frontend:
        await ours.join(frontend)
        ours.release_state()
        full = asyncio.ensure_future(frontend.full(ours.room_id))
        sent: list[EventId] = []
        async with asyncio.timeout(5 * import_s + 60):
            while not full.done():
                sent.append(await ours.send_to_us(f"message {len(sent)}"))
                await asyncio.wait({full}, timeout=1 / events_per_s)
        await full
        sent.append(await ours.send_to_us("the last one"))
        held = frontend.homeserver.room(ours.room_id)
        assert not held.partial_events
        assert len(sent) >= events_per_s * import_s / 2
        for event_id in sent:
            assert held.holds(event_id)
            assert set(held.before[event_id].values()) == set(ours.world.room.state_before(event_id).values())


async def test_a_busy_room_becomes_full(monkeypatch: pytest.MonkeyPatch) -> None:
    await converges(monkeypatch, members=1_000, import_s=3, events_per_s=10)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_busy_room_becomes_full_though_the_import_takes_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await converges(monkeypatch, members=10_000, import_s=60, events_per_s=10)

"""Processes die at the worst time, and nothing is lost: real processes, killed without a warning."""

import asyncio
import os
import shutil
import signal
import sys

import pytest
from partialstate_service.demo.frontend.frontend import ReferenceFrontend
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.endpoints import Endpoint
from support.homeservers import RunningHomeserver, eventually, homeserver, kill, store_process

UNABLE = "ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE"
SIZE = WorldSize(members=300, servers=10, messages=2)


async def has_begun(ours: RunningHomeserver) -> bool:
    """Whether a worker has asked for the room's state, and waits for it."""
    return ours.residents.log.count(Endpoint.STATE_IDS) > 0


async def becomes_exactly_full(ours: RunningHomeserver, frontend: ReferenceFrontend) -> None:
    ours.release_state()
    async with asyncio.timeout(60):
        await frontend.full(ours.room_id)
    held = frontend.homeserver.room(ours.room_id)
    assert not held.is_partial
    assert set(held.current_state().values()) == set(ours.world.room.current_state().values())


async def test_a_service_killed_in_the_middle_of_a_resync_goes_on_with_it() -> None:
    async with homeserver(SIZE) as ours, ours.service() as first, ours.frontend() as frontend:
        joined = await ours.join(frontend)
        said = await frontend.say(ours.room_id, "alice", "before the crash")
        await eventually(lambda: has_begun(ours))
        kill(first)
        await first.process.wait()
        async with ours.service():
            room = (await frontend.homeserver.service.get_partial_room(ours.room_id)).room
            assert (room.generation, room.join_confirmed) == (joined.generation, True)
            assert room.pending_event_count >= 2
            await becomes_exactly_full(ours, frontend)
            assert frontend.homeserver.room(ours.room_id).holds(said.event_id)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the store's process in /proc")
async def test_a_killed_store_loses_nothing_that_was_acknowledged() -> None:
    async with homeserver(SIZE) as ours, ours.service() as first, ours.frontend() as frontend:
        joined = await ours.join(frontend)
        await frontend.say(ours.room_id, "alice", "before the crash")
        await eventually(lambda: has_begun(ours))
        os.kill(store_process(first), signal.SIGKILL)
        kill(first)
        await first.process.wait()
        async with ours.service():
            room = (await frontend.homeserver.service.get_partial_room(ours.room_id)).room
            assert room.generation == joined.generation
            await becomes_exactly_full(ours, frontend)


async def test_without_the_service_a_frontend_refuses_what_needs_it_and_takes_events() -> None:
    async with homeserver(SIZE) as ours, ours.service() as first, ours.frontend() as frontend:
        joined = await ours.join(frontend)
        room = ours.room_id.replace("!", "%21").replace(":", "%3A")
        kill(first)
        await first.process.wait()
        refused = await ours.ask(f"state_ids/{room}?event_id={joined.event_id}")
        assert (refused.status, refused.errcode) == (403, UNABLE)
        newcomer = f"%40newcomer%3A{ours.member.name.replace(':', '%3A')}"
        unable = await ours.ask(f"make_join/{room}/{newcomer}?ver=11")
        assert (unable.status, unable.errcode) == (404, "M_NOT_FOUND")
        # A /send is never refused, though its event can only be recorded and persisted once the service is back.
        event_id = await ours.send_to_us("while the service is away")
        held = frontend.homeserver.room(ours.room_id)
        assert not held.holds(event_id)
        async with ours.service():

            async def is_held() -> bool:
                return held.holds(event_id)

            await eventually(is_held)
            assert event_id in held.partial_events


async def test_a_store_that_lost_everything_is_told_again_what_is_held() -> None:
    async with homeserver(SIZE) as ours, ours.service() as first, ours.frontend() as frontend:
        await ours.join(frontend)
        said = await frontend.say(ours.room_id, "alice", "before the loss")
        heard = await ours.send_to_us("from another server")
        first.process.terminate()  # not killed: the store must have ended before its files are deleted
        await first.process.wait()
        shutil.rmtree(ours.directory / "store")
        async with ours.service():
            room = ours.room_id.replace("!", "%21").replace(":", "%3A")
            service = frontend.homeserver.service

            async def is_told() -> bool:
                # Nothing leaks meanwhile: with an empty store there is no decision, and so it is refused.
                refused = await ours.ask(f"state_ids/{room}?event_id={said.event_id}")
                assert (refused.status, refused.errcode) == (403, UNABLE)
                rooms = [held async for page in service.list_partial_rooms() for held in page.rooms]
                return [held.pending_event_count for held in rooms] == [3]

            await eventually(is_told)
            await becomes_exactly_full(ours, frontend)
            assert frontend.homeserver.room(ours.room_id).holds(heard)

"""Servers that answer badly, and restarts in the middle: the resync goes on, with others or later."""

import asyncio
import random
from contextlib import aclosing

from partialstate import Endpoint, RoomChanged, RoomStatus
from partialstate_service.demo.resident.behaviour import Honest, Saying
from partialstate_service.demo.service_process import running_service
from partialstate_service.demo.simulated_server import reserve_server
from support.scenarios import SMALL, Person, connected
from support.worlds import running_world

MEMBER = "m.room.member"
NOTHING = Saying(b"{}")


async def test_a_server_that_says_nothing_is_left_for_another(room):
    """1325, SyncsUsingOtherHomeservers: the server joined through answers `{}`, another one gives the state."""
    residents = room.running.residents
    residents.behave(room.world.creator.name, NOTHING)
    joined = await room.join()
    await room.is_refused(joined.event_id)
    recovered = await room.recovered(joined)
    room.matches(recovered, joined.event_id)
    found = (await room.client.get_partial_room(joined.room_id)).room
    outcomes = {record.server_name: record.outcome for record in found.resync.servers}
    assert outcomes[room.world.creator.name] == "invalid"
    assert "ok" in outcomes.values()
    await room.confirm(joined, recovered)
    await room.is_answered(joined.event_id)


async def test_a_room_whose_servers_all_say_nothing_stalls_until_one_does(room):
    """1325 with nobody left to ask: the room is STALLED, still refused, and recovered as soon as one server answers."""
    room.behave(NOTHING)
    joined = await room.join()
    changes = room.client.watch(joined.registration.state_token, room_id=joined.room_id)
    async with asyncio.timeout(20), aclosing(changes):
        async for change in changes:
            if isinstance(change, RoomChanged) and change.room.status is RoomStatus.STALLED:
                break
    await room.is_refused(joined.event_id)
    room.behave(Honest())
    await room.client.retry_resync(joined.room_id)
    room.matches(await room.recovered(joined), joined.event_id)


async def test_the_event_before_the_join_is_of_a_server_that_nobody_knows(room):
    """Of no Complement test: a membership that no key verifies is left out of the state, not waited for for ever."""
    ghost = reserve_server("127.30.0.1", random.Random(7))
    try:
        casper = Person(ghost, ghost.user("casper"))
        entered = room.say(casper, MEMBER, {"membership": "join"}, casper.user_id)
        joined = await room.join()
        recovered = await room.recovered(joined)
    finally:
        ghost.reserved.close()
    expected = dict(room.resident.state_before(joined.event_id))
    del expected[MEMBER, casper.user_id]
    assert recovered.before[joined.event_id] == expected
    assert recovered.verdicts[joined.event_id].accepted
    found = (await room.client.get_partial_room(joined.room_id)).room
    assert found.resync.unverified_event_ids == (room.id_of(entered),)
    assert ghost.name not in {name for servers in recovered.servers for name in servers.in_room}


async def test_a_badly_signed_leave_before_the_join_leaves_nobody_in_the_room(room):
    """Of no Complement test: whether Derek left is unknown, so he does not count as joined by his event before."""
    forger = Person(room.charlie.server, room.derek.user_id)
    room.say(forger, MEMBER, {"membership": "leave"}, room.derek.user_id)
    joined = await room.join()
    recovered = await room.recovered(joined)
    expected = dict(room.resident.state_before(joined.event_id))
    del expected[MEMBER, room.derek.user_id]
    assert recovered.before[joined.event_id] == expected


async def test_a_restart_in_the_middle(tmp_path_factory):
    """1274, ContinuesAfterRestart: the first request dies with the service; a new one comes, and the room is full."""
    directory = tmp_path_factory.mktemp("restart")
    async with running_world(SMALL) as running:
        homeserver = running.homeserver
        (directory / "ca.pem").write_bytes(running.authority.pem)
        settings = {
            "FEDERATION_CA_FILE": str(directory / "ca.pem"),
            "FEDERATION_ALLOWED_NETWORKS": "127.0.0.0/8",
            "RESYNC_PROCESSES": "1",
        }
        async with (
            running_service(homeserver.name, homeserver.key, directory, settings) as target,
            connected(running, target) as room,
        ):
            first = room.latch()
            joined = await room.join()
            message = room.say(room.derek, "m.room.message", {"body": "meanwhile"})
            await room.record(joined, message)
            async with asyncio.timeout(20):
                await first.arrived.wait()
        second = room.latch()
        first.released.set()
        async with (
            running_service(homeserver.name, homeserver.key, directory, settings) as target,
            connected(running, target) as room,
        ):
            async with asyncio.timeout(20):
                await second.arrived.wait()
            assert room.count(Endpoint.STATE_IDS) >= 2
            await room.becomes_full(joined, second, message)

"""The simulated resident servers answer as the specification says, and misbehave as they are told."""

import asyncio
import gzip
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest
from partialstate_service.demo.resident import behaviour, breaking, lies
from partialstate_service.demo.world import WorldSize
from partialstate_service.demo.x_matrix import PeerResponse
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import RoomId
from partialstate_service.matrix.keys import parse_server_keys
from partialstate_service.matrix.parsing import parse_event
from partialstate_service.matrix.room_versions import ROOM_VERSIONS
from partialstate_service.matrix.signatures import verify_event
from partialstate_service.matrix.signing import sign_event
from support.worlds import NOW_MS, RunningWorld, names_of, running_world

SMALL = WorldSize(members=30, servers=5, messages=3)


def state_path(running: RunningWorld, event_id: str, endpoint: str = "state_ids") -> str:
    return f"{endpoint}/{quote(running.world.room.room_id, safe='')}?event_id={quote(event_id, safe='')}"


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_every_event_of_a_world_is_well_formed_and_signed(version: str) -> None:
    async with running_world(SMALL, version=version) as running:
        await running.join_partially()
        room = running.world.room
        servers = (*running.world.servers, running.homeserver)
        keys = {
            server.name: parse_server_keys(server.published_keys(NOW_MS), server.name) for server in servers
        }
        for event_id, event in room.events.items():
            parsed = parse_event(event.raw, room.version, room_id=RoomId(room.room_id))
            assert parsed.event_id == event_id
            assert parsed.hash_matches
            assert verify_event(parsed, keys).is_valid


async def test_a_partial_join_omits_members_and_names_the_servers_before_it() -> None:
    async with running_world(SMALL) as running:
        join = await running.join_partially()
        room = running.world.room
        body = orjson.loads(join.response)
        assert body["members_omitted"] is True
        assert body["servers_in_room"] == sorted(server.name for server in running.world.servers)
        assert "m.room.member" not in {event["type"] for event in body["state"]}
        assert room.event(join.event_id).state_key == running.user
        # The creator's membership is needed to authorise the power levels, so it is in the auth chain.
        assert [event["type"] for event in body["auth_chain"]].count("m.room.member") == 1


async def test_state_and_state_ids_are_the_state_before_the_event() -> None:
    async with running_world(SMALL) as running:
        join = await running.join_partially()
        room, resident = running.world.room, running.world.servers[1]
        prev = room.event(join.event_id).prev_event_ids[0]
        ids = (await running.get(resident, state_path(running, prev))).json
        full = (await running.get(resident, state_path(running, prev, "state"))).json
        assert set(ids["pdu_ids"]) == set(room.state_before(prev).values())
        parsed = {parse_event(event, room.version).event_id for event in full["pdus"]}
        assert parsed == set(ids["pdu_ids"])
        needed = {auth for event_id in ids["pdu_ids"] for auth in room.event(event_id).auth_event_ids}
        assert needed <= set(ids["auth_chain_ids"]) | set(ids["pdu_ids"])
        assert running.residents.log.count(Endpoint.STATE_IDS, resident.name) == 1


async def test_who_is_not_in_the_room_gets_nothing() -> None:
    async with running_world(SMALL) as running:
        tip = running.world.room.extremities[0]
        answer = await running.get(running.world.creator, state_path(running, tip))
        assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")


async def test_an_unsigned_request_is_refused() -> None:
    async with running_world(SMALL) as running:
        uri = f"https://{running.world.creator.name}/_matrix/federation/v1/event/$x"
        connector = aiohttp.TCPConnector(ssl=running.authority.client_context())
        async with aiohttp.ClientSession(connector=connector) as session, session.get(uri) as answer:
            assert answer.status == 401


async def test_dead_servers_refuse_connections_but_their_keys_are_known_to_notaries() -> None:
    async with running_world(SMALL, dead=[2]) as running:
        (dead,) = names_of(running.world, [2])
        with pytest.raises(aiohttp.ClientConnectorError):
            await running.client.request("GET", dead, "/_matrix/key/v2/server")
        body: dict[str, Any] = {"server_keys": {dead: {}}}
        answer = await running.client.request(
            "POST", running.world.creator.name, "/_matrix/key/v2/query", body
        )
        (keys,) = answer.json["server_keys"]
        assert parse_server_keys(keys, dead).verify_keys
        assert running.world.creator.name in keys["signatures"]


async def test_events_sent_to_a_resident_enter_the_room_and_forks_are_resolved() -> None:
    async with running_world(SMALL) as running:
        join = await running.join_partially()
        room = running.world.room
        member = running.world.servers[1]
        ours = room.template(running.user, "m.room.message", {"body": "hello"}, None, running.world.tick())
        theirs = running.world.message(member, "at the same time")
        signed = orjson.loads(room_event(running, ours))
        answer = await running.client.request(
            "PUT", member.name, "/_matrix/federation/v1/send/1", {"pdus": [signed], "edus": []}
        )
        assert answer.status == 200
        assert len(room.extremities) == 2
        assert theirs["prev_events"] == signed["prev_events"] == [join.event_id]
        merge = running.world.message(member, "after both")
        assert len(merge["prev_events"]) == 2
        assert len(room.current_state()) == SMALL.members + 7 + 1


def room_event(running: RunningWorld, template: dict[str, Any]) -> bytes:
    homeserver = running.homeserver
    return orjson.dumps(sign_event(template, running.world.room.version, homeserver.name, homeserver.key))


async def test_behaviours_are_what_they_are_called() -> None:
    async with running_world(SMALL) as running:
        join = await running.join_partially()
        prev = running.world.room.event(join.event_id).prev_event_ids[0]
        path = state_path(running, prev, "state")
        server = running.world.servers[1]

        async def ask(treatment: behaviour.Behaviour) -> PeerResponse:
            running.residents.behave(server.name, treatment)
            return await asyncio.wait_for(running.get(server, path), 10)

        first = behaviour.AtFirst(1, behaviour.unable())
        assert (await ask(first)).errcode == behaviour.UNABLE_ERRCODE
        assert (await ask(first)).status == 200
        assert (await ask(behaviour.rate_limited(3))).status == 429
        assert (await ask(behaviour.Lying(lies.says_nothing))).json == {}
        truth = (await ask(behaviour.Honest())).json
        for lie in (
            lies.names_wrong_room,
            lies.breaks_signatures,
            lies.changes_membership,
            lies.repeats_events,
        ):
            assert (await ask(behaviour.Lying(lie))).json != truth
        assert len((await ask(behaviour.Lying(lies.OmitsMembers(3)))).json["pdus"]) == len(truth["pdus"]) - 3
        bomb = behaviour.Saying(gzip.compress(b"0" * 1000), headers={"Content-Encoding": "gzip"})
        assert (await ask(bomb)).body == b"0" * 1000
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(breaking.Truncating())
        with pytest.raises(aiohttp.ClientError):
            await ask(breaking.HangingUp())
        held = behaviour.Held(asyncio.Event())
        running.residents.behave(server.name, held)
        answer = asyncio.ensure_future(running.get(server, path))
        held.released.set()
        assert (await answer).status == 200


async def test_an_endless_answer_goes_on_until_the_reader_leaves() -> None:
    async with running_world(SMALL) as running:
        server = running.world.servers[1]
        running.residents.behave(server.name, breaking.Endless(), Endpoint.KEY_SERVER)
        connector = aiohttp.TCPConnector(ssl=running.authority.client_context())
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"https://{server.name}/_matrix/key/v2/server") as answer,
        ):
            read = 0
            while read < 1_000_000:
                read += len(await answer.content.readany())

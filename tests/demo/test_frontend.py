"""The reference frontend, with the service as a real process and real resident servers."""

import asyncio
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from aiohttp import web
from partialstate import PartialStateClient
from partialstate_service.demo.frontend.joining import JoinFailedError
from partialstate_service.demo.resident.answers import ResidentAnswers
from partialstate_service.demo.resident.behaviour import Behaviour, HonestAnswer, Lying
from partialstate_service.demo.world import WorldSize
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.matrix.hashes import event_id_of
from partialstate_service.matrix.signing import sign_event
from support.homeservers import RunningHomeserver, homeserver

SIZE = WorldSize(members=40, servers=4, messages=2)


class OmittingNobody(Behaviour):
    """Answers send_join with all members, as a server does that does not know `omit_members`."""

    def __init__(self, ours: RunningHomeserver) -> None:
        self._world = ours.world

    async def answer(self, request: web.Request, honest: HonestAnswer) -> web.StreamResponse:
        join = orjson.loads(await request.read())
        answers = ResidentAnswers(self._world)
        return web.Response(body=answers.send_join(self._world.creator, join, omit_members=False))


def no_members(body: dict[str, Any]) -> None:
    """Leave out of the response even what vouches for the state: the memberships in the auth chain."""
    body["auth_chain"] = []


async def partial_room_count(service: PartialStateClient) -> int:
    return sum([len(page.rooms) async for page in service.list_partial_rooms()])


async def test_a_join_that_omits_nobody_is_an_ordinary_one() -> None:
    async with homeserver(SIZE) as ours, ours.service(), ours.frontend() as frontend:
        ours.residents.behave(ours.world.creator.name, OmittingNobody(ours), Endpoint.SEND_JOIN_V2)
        joined = await ours.join(frontend)
        assert joined.generation == 0
        assert await partial_room_count(frontend.homeserver.service) == 0
        held = frontend.homeserver.room(ours.room_id)
        assert set(held.current_state().values()) == set(ours.world.room.current_state().values())
        sent = await frontend.say(ours.room_id, "alice", "hello")
        assert sent.delivered == {server.name for server in ours.world.servers}


async def test_a_join_that_cannot_be_authorised_leaves_no_partial_room_behind() -> None:
    async with homeserver(SIZE) as ours, ours.service(), ours.frontend() as frontend:
        ours.residents.behave(ours.world.creator.name, Lying(no_members), Endpoint.SEND_JOIN_V2)
        with pytest.raises(JoinFailedError):
            await ours.join(frontend)
        assert await partial_room_count(frontend.homeserver.service) == 0


async def test_forks_while_partial_end_in_the_same_state_as_everybody_has() -> None:
    async with homeserver(SIZE) as ours, ours.service(), ours.frontend() as frontend:
        await ours.join(frontend)
        heard = [await ours.send_to_us("one"), await ours.send_to_us("two")]
        sent = await frontend.say(ours.room_id, "alice", "three")
        held = frontend.homeserver.room(ours.room_id)
        assert {*heard, sent.event_id} <= held.partial_events
        ours.release_state()
        async with asyncio.timeout(60):
            await frontend.full(ours.room_id)
        truth = ours.world.room
        for event_id in (*heard, sent.event_id):
            assert set(held.before[event_id].values()) == set(truth.state_before(event_id).values())


async def test_another_server_joins_through_us_once_the_room_is_full() -> None:
    async with homeserver(SIZE) as ours, ours.service(), ours.frontend() as frontend:
        await ours.join(frontend)
        ours.release_state()
        async with asyncio.timeout(60):
            await frontend.full(ours.room_id)
        user = ours.world.by_name[ours.member.name].user("newcomer")
        path = f"make_join/{quote(ours.room_id, safe='')}/{quote(user, safe='')}?ver=11"
        template = await ours.ask(path)
        assert template.status == 200
        other_version = await ours.ask(path.replace("ver=11", "ver=2"))
        assert (other_version.status, other_version.errcode) == (400, "M_INCOMPATIBLE_ROOM_VERSION")
        answer = await send_join(ours, template.json["event"])
        assert len(answer["state"]) == SIZE.members + 7 + 1
        held = frontend.homeserver.room(ours.room_id)
        assert ("m.room.member", user) in held.current_state()


async def send_join(ours: RunningHomeserver, template: dict[str, Any]) -> Any:
    """Sign a join as the member that asks us, and send it to us."""
    member = ours.world.by_name[ours.member.name]
    event = sign_event(template, ours.world.room.version, member.name, member.key)
    event_id = event_id_of(event, ours.world.room.version)
    room, event_path = quote(ours.room_id, safe=""), quote(event_id, safe="")
    uri = f"/_matrix/federation/v2/send_join/{room}/{event_path}"
    answer = await ours.member.request("PUT", ours.ours.name, uri, event)
    assert answer.status == 200, answer.body
    return answer.json

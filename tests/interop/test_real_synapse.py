"""The life cycle of a partial join against real Synapses: one as the resident server, one that asks us questions."""

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from partialstate import CurrentState, LogEnd, PartialStateClient, RoomStatus, StateBefore, StateEntry
from partialstate_service.demo.certificates import CertificateAuthority
from partialstate_service.demo.frontend.frontend import ReferenceFrontend, running_frontend
from partialstate_service.demo.resident.behaviour import unable
from partialstate_service.demo.resident.listener import SimulatedResidents, residents_listening
from partialstate_service.demo.service_process import running_service
from partialstate_service.demo.simulated_server import SimulatedServer, reserve_server
from partialstate_service.demo.world import World, WorldSize, generated_world
from partialstate_service.demo.x_matrix import PeerResponse, SignedClient
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.matrix.ed25519 import KeyId
from partialstate_service.matrix.keys import parse_server_keys
from support.homeservers import eventually
from support.judge import synapse_python
from support.synapses import Synapse, running_synapse

PYTHON = synapse_python()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(PYTHON is None, reason="no Synapse here: `make interop-env`"),
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("synapse"),
]

SIZE = WorldSize(members=320, servers=8, messages=3)
UNABLE = "ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE"
# The simulated servers and ourselves, but not the Synapses: until the service may reach these, the room stays partial.
CLOSED = "127.10.0.0/16,127.20.0.0/16"
OPEN = "127.0.0.0/8"


@dataclass(frozen=True, slots=True)
class Federation:
    """Two Synapses, resident in one big room, and the means to be a third server in it."""

    resident: Synapse
    asker: Synapse
    as_asker: SignedClient
    world: World
    simulated: SimulatedResidents
    ours: SimulatedServer
    authority: CertificateAuthority
    ca_file: Path
    directory: Path

    def service(self, networks: str) -> Any:
        """Run the service; the second time it goes on with the same store."""
        settings = {"FEDERATION_CA_FILE": str(self.ca_file), "FEDERATION_ALLOWED_NETWORKS": networks}
        return running_service(self.ours.name, self.ours.key, self.directory, settings)


@asynccontextmanager
async def federation(python: Path, directory: Path) -> AsyncIterator[Federation]:
    """Make a room of simulated members, and let both Synapses join it and become real residents of it."""
    rng = random.Random(7)
    authority = CertificateAuthority()
    ca_file = authority.write_pem(directory / "ca.pem")
    async with AsyncExitStack() as stack:
        ours = reserve_server("127.20.0.1", rng)
        stack.callback(ours.reserved.close)
        connector = aiohttp.TCPConnector(ssl=authority.client_context())
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        resident, asker = await start_synapses(stack, python, directory, authority, ca_file)
        world = stack.enter_context(generated_world(SIZE, rng, now_ms=time.time_ns() // 1_000_000))
        simulated = await stack.enter_async_context(
            residents_listening(world, authority, published_key(session))
        )
        yield Federation(
            resident=resident,
            asker=asker,
            as_asker=SignedClient(asker.name, asker.key, session),
            world=world,
            simulated=simulated,
            ours=ours,
            authority=authority,
            ca_file=ca_file,
            directory=directory,
        )


async def start_synapses(
    stack: AsyncExitStack, python: Path, directory: Path, authority: CertificateAuthority, ca_file: Path
) -> list[Synapse]:
    """Start both at once: each takes seconds."""
    managers = [
        running_synapse(python, directory / name, authority, ca_file, address)
        for name, address in (("resident", "127.30.0.1"), ("asker", "127.30.0.2"))
    ]
    return await asyncio.gather(*map(stack.enter_async_context, managers))


def published_key(session: aiohttp.ClientSession) -> Callable[[ServerName, KeyId], Awaitable[bytes | None]]:
    """Return a lookup of the keys that servers publish."""

    async def lookup(server: ServerName, key_id: KeyId) -> bytes | None:
        async with session.get(f"https://{server}/_matrix/key/v2/server") as response:
            return parse_server_keys(await response.json(), server).verify_keys.get(key_id)

    return lookup


async def recovered_current_state(
    service: PartialStateClient, room_id: RoomId, generation: int
) -> set[EventId]:
    """Return the current state that the service's log tells, read as its documentation says."""
    before: dict[str, dict[tuple[str, str], str]] = {}
    building: dict[tuple[str, str], str] = {}
    current: dict[tuple[str, str], str] = {}
    async for record in service.recovered_state(room_id, generation, follow=True):
        match record:
            case StateBefore():
                if not building:
                    building = dict(before.get(record.base_event_id, {}))
                change(building, record.entries)
                if record.complete:
                    before[record.event_id], building = building, {}
            case CurrentState():
                if record.base_event_id:
                    current = dict(before[record.base_event_id])
                change(current, record.entries)
            case LogEnd(complete=True):
                return set(map(EventId, current.values()))
            case _:
                pass
    raise AssertionError("the log ended before it was complete")


def change(state: dict[tuple[str, str], str], entries: tuple[StateEntry, ...]) -> None:
    for entry in entries:
        if entry.event_id:
            state[entry.type, entry.state_key] = entry.event_id
        else:
            state.pop((entry.type, entry.state_key), None)


def lose_transactions(
    frontend: ReferenceFrontend, server: ServerName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lose what is sent to *server* from now on, as networks do."""
    request = SignedClient.request

    async def lossy(
        client: SignedClient, method: str, to: ServerName, uri: str, content: dict[str, Any] | None = None
    ) -> PeerResponse:
        if to == server and "/send/" in uri and client is frontend.homeserver.peers:
            raise aiohttp.ClientConnectionError
        return await request(client, method, to, uri, content)

    monkeypatch.setattr(SignedClient, "request", lossy)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a short path: there will be a socket in it."""
    with tempfile.TemporaryDirectory(prefix="interop-") as path:
        yield Path(path)


async def test_a_partial_join_to_a_real_synapse(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PYTHON is not None
    async with federation(PYTHON, directory) as there:
        world, room_id, ours = there.world, there.world.room.room_id, there.ours
        room_path, federation_path = quote(room_id, safe=""), "/_matrix/federation/v1"
        anna = await there.resident.register("anna")
        await anna.join(room_id, world.creator.name)
        assert len(await anna.joined_members(room_id)) == SIZE.members + 1
        bert = await there.asker.register("bert")
        await bert.join(room_id, there.resident.name)
        assert len(await bert.joined_members(room_id)) == SIZE.members + 2
        # From here on only the Synapses tell the room's state; the simulated servers still publish their keys.
        for server in world.servers:
            there.simulated.behave(
                server.name, unable(), Endpoint.STATE, Endpoint.STATE_IDS, Endpoint.EVENT, Endpoint.EVENT_AUTH
            )

        async with AsyncExitStack() as closed:
            target = await closed.enter_async_context(there.service(CLOSED))
            async with running_frontend(ours, there.authority, there.ca_file, target) as frontend:
                homeserver, service = frontend.homeserver, frontend.homeserver.service
                joined = await frontend.join(room_id, "alice", there.resident.name)
                held = homeserver.room(room_id)
                assert joined.generation
                assert len(held.current_state()) < 20

                async def is_stalled() -> bool:
                    room = (await service.get_partial_room(room_id)).room
                    return room.state_verified and room.status is RoomStatus.STALLED

                await eventually(is_stalled)

                async def as_asker(path: str) -> tuple[int, str | None]:
                    answer = await there.as_asker.request("GET", ours.name, f"{federation_path}/{path}")
                    return answer.status, answer.errcode

                # The asking Synapse misses one of our events; when the next one comes it asks us for the gap.
                with monkeypatch.context() as losing:
                    lose_transactions(frontend, there.asker.name, losing)
                    lost = await frontend.say(room_id, "alice", "lost on its way")
                assert there.asker.name in lost.failed
                assert there.resident.name in lost.delivered
                sent = await frontend.say(room_id, "alice", "what was lost comes before this")
                assert there.asker.name in sent.delivered

                async def has_both() -> bool:
                    return {"lost on its way", "what was lost comes before this"} <= set(
                        await bert.messages(room_id)
                    )

                await eventually(has_both)
                gaps = [
                    request.status
                    for request in homeserver.answered
                    if request.origin == there.asker.name and request.endpoint is Endpoint.GET_MISSING_EVENTS
                ]
                assert gaps == [200]

                # Our verdicts, asked with the asking Synapse's own key.
                at_join = quote(joined.event_id, safe="")
                of_ours = quote(sent.event_id, safe="")
                assert await as_asker(f"state_ids/{room_path}?event_id={at_join}") == (403, UNABLE)
                assert await as_asker(f"state/{room_path}?event_id={at_join}") == (403, UNABLE)
                assert await as_asker(f"event_auth/{room_path}/{at_join}") == (403, UNABLE)
                assert await as_asker(f"event_auth/{room_path}/{of_ours}") == (200, None)
                assert await as_asker(f"event/{of_ours}") == (200, None)
                newcomer = quote(f"@newcomer:{there.asker.name}", safe="")
                assert await as_asker(f"make_join/{room_path}/{newcomer}?ver=11") == (404, "M_NOT_FOUND")

                # What the Synapses say meanwhile is taken, though their users' memberships are unknown to us.
                said = [await bert.say(room_id, "while you are partial"), await anna.say(room_id, "me too")]

                async def holds_what_was_said() -> bool:
                    return all(held.holds(event_id) and event_id not in held.rejected for event_id in said)

                await eventually(holds_what_was_said)
                assert set(said) <= held.partial_events

                # The service is started anew, and may reach the Synapses now. The room is still there.
                await closed.aclose()
                async with there.service(OPEN):
                    before = (await service.get_partial_room(room_id)).room
                    assert before.generation == joined.generation
                    recovered = asyncio.ensure_future(
                        recovered_current_state(service, room_id, joined.generation)
                    )
                    async with asyncio.timeout(60):
                        # The log is gone once its import is confirmed, so the import waits until it is read here.
                        async with held.writing:
                            await service.retry_resync(room_id)
                            current = await recovered
                        imported = await frontend.full(room_id)
                    assert imported >= SIZE.members
                    assert not held.partial_events

                    # One more event: the state before it is the state that was recovered.
                    last = await anna.say(room_id, "and now?")

                    async def holds_last() -> bool:
                        return held.holds(last)

                    await eventually(holds_last)
                    uri = f"{federation_path}/state_ids/{room_path}?event_id={quote(last, safe='')}"
                    truth = await homeserver.peers.request("GET", there.resident.name, uri)
                    assert truth.status == 200, truth.body
                    expected = set(truth.json["pdu_ids"])
                    assert len(expected) == SIZE.members + 7 + 3
                    assert current == expected
                    assert set(held.before[last].values()) == expected
                    # And the Synapse gets the same from us.
                    ours_now = await there.as_asker.request("GET", ours.name, uri)
                    assert ours_now.status == 200, ours_now.body
                    assert set(ours_now.json["pdu_ids"]) == expected

                    sends = [r.status for r in homeserver.answered if r.endpoint is Endpoint.SEND]
                    assert sends
                    assert set(sends) == {200}

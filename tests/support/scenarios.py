"""A homeserver's life with a partial room: the real gRPC API and client, real workers, real HTTPS resident servers.

async with scenario(store_url, tmp_path) as room:
    joined = await room.join()
    event = room.say(room.derek, "m.room.message", {"body": "hello"})
    await room.record(joined, event)
    recovered = await room.recovered(joined)
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from partialstate import (
    CheckRequest,
    Deadlines,
    Decision,
    Endpoint,
    PartialEvent,
    PartialJoin,
    PartialStateClient,
    Pdu,
    ProvisionalVerdict,
    RecordedEvents,
    RecordOutcome,
    Registration,
    ReleaseReason,
    RoomStatus,
    Verdict,
    event_json,
)
from partialstate_service.app import servicers
from partialstate_service.demo.resident.behaviour import Behaviour
from partialstate_service.demo.signed_room import SignedRoom
from partialstate_service.demo.simulated_server import SimulatedServer
from partialstate_service.demo.world import World, WorldSize
from partialstate_service.domain.endpoints import Endpoint as ServedEndpoint
from partialstate_service.domain.ids import UserId
from partialstate_service.matrix.hashes import event_id_of
from partialstate_service.matrix.room_versions import EventIdFormat
from partialstate_service.matrix.signing import sign_event
from partialstate_service.metrics import Metrics
from partialstate_service.rpc.server import ServerConfig
from partialstate_service.settings import Settings
from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings
from support.latch import Latch
from support.recovered import Recovered
from support.resyncing import resyncing
from support.serving import running_server
from support.worlds import RunningWorld

SMALL = WorldSize(members=9, servers=3, messages=2)
# Tests share the machine with others: a deadline that passes here says nothing about the service.
_PATIENT = Deadlines(check_s=20, read_s=20, write_s=30)
ACCEPTED, REJECTED = ProvisionalVerdict.ACCEPTED, ProvisionalVerdict.REJECTED


@dataclass(frozen=True, slots=True)
class Person:
    """A user of a simulated server."""

    server: SimulatedServer
    user_id: UserId


@dataclass(frozen=True, slots=True)
class JoinedRoom:
    """A registered partial join."""

    registration: Registration
    join: PartialJoin
    response: bytes
    """The body of the send_join response."""

    @property
    def room_id(self) -> str:
        return self.join.room_id

    @property
    def generation(self) -> int:
        return self.registration.generation

    @property
    def event_id(self) -> str:
        return self.registration.join_event_id


@dataclass(slots=True)
class Scenario:
    """The homeserver under test in a running world."""

    running: RunningWorld
    client: PartialStateClient

    @property
    def world(self) -> World:
        return self.running.world

    @property
    def resident(self) -> SignedRoom:
        """The room as its resident servers hold it."""
        return self.world.room

    @property
    def charlie(self) -> Person:
        """The room's creator."""
        return self._person(0)

    @property
    def derek(self) -> Person:
        return self._person(1)

    @property
    def elsie(self) -> Person:
        return self._person(2)

    @property
    def alice(self) -> Person:
        """The homeserver's user who joins."""
        return Person(self.running.homeserver, self.running.user)

    def _person(self, number: int) -> Person:
        server = self.world.servers[number]
        return Person(server, server.user(f"u{number}"))

    # --- what the resident servers do

    def latch(self) -> Latch:
        """Let every server hold requests for the state from now on."""
        latch = Latch()
        self.behave(latch)
        return latch

    def behave(self, behaviour: Behaviour, *endpoints: Endpoint) -> None:
        """Let every server treat requests (for the state, unless told otherwise) in this way from now on."""
        asked = [ServedEndpoint[endpoint.name] for endpoint in endpoints]
        for server in self.world.servers:
            self.running.residents.behave(server.name, behaviour, *asked)

    def count(self, endpoint: Endpoint) -> int:
        """Return how often the servers were asked."""
        return self.running.residents.log.count(ServedEndpoint[endpoint.name])

    def say(
        self,
        person: Person,
        event_type: str,
        content: Mapping[str, Any],
        state_key: str | None = None,
        *,
        prev: Iterable[str] | None = None,
        auth: Iterable[str] | None = None,
        enters: bool = True,
    ) -> dict[str, Any]:
        """Return a signed event of *person*: at the room's end, unless *prev* and *auth* say otherwise.

        An event that *enters* the room is part of it for its servers; they judge nothing, so one that they would
        reject must not.
        """
        now_ms = self.world.tick()
        raw = self.resident.template(person.user_id, event_type, content, state_key, now_ms)
        if prev is not None:
            raw["prev_events"] = self._references(prev)
        if auth is not None:
            raw["auth_events"] = self._references(auth)
        if self.resident.version.event_ids is EventIdFormat.GIVEN:
            raw["event_id"] = f"$said-{now_ms}:{person.server.name}"
        signed = sign_event(raw, self.resident.version, person.server.name, person.server.key)
        return self.resident.put(signed).raw if enters else signed

    def _references(self, event_ids: Iterable[str]) -> list[Any]:
        """Return references to events, be they in the room or not: nobody looks at the hashes of versions 1 and 2."""
        if self.resident.version.event_ids is EventIdFormat.GIVEN:
            return [[event_id, {"sha256": "A" * 43}] for event_id in event_ids]
        return list(event_ids)

    def cited(self, *event_ids: str) -> list[str]:
        """Return auth events beside the create event, which from version 12 no event lists."""
        if self.resident.version.room_ids_as_hashes:
            return list(event_ids)
        return [self.state("m.room.create"), *event_ids]

    def member(self, person: Person) -> str:
        """Return the id of the member event of *person* in the room as it is now."""
        return self.state("m.room.member", person.user_id)

    def state(self, event_type: str, state_key: str = "") -> str:
        """Return the id of a state event of the room as it is now."""
        return self.resident.current_state()[event_type, state_key]

    def id_of(self, raw: Mapping[str, Any]) -> str:
        return event_id_of(raw, self.resident.version)

    # --- what the homeserver does

    async def join(self, *, localpart: str = "alice") -> JoinedRoom:
        """Let a user join the room with omit_members, register and confirm that."""
        made = await self.running.join_partially(localpart=localpart)
        join = PartialJoin(
            room_id=self.resident.room_id,
            room_version=str(self.resident.version),
            join_event=event_json(made.event),
            joined_via=made.joined_via,
        )
        registration = await self.client.register_partial_join(join, made.response)
        assert registration.join_event_id == made.event_id
        await self.client.confirm_join(join.room_id, registration.generation)
        return JoinedRoom(registration, join, made.response)

    async def try_record(
        self, joined: JoinedRoom, *events: Mapping[str, Any], verdict: ProvisionalVerdict = ACCEPTED
    ) -> RecordedEvents:
        """Record events that came in, oldest first."""
        given = [PartialEvent(Pdu(event_json(event)), verdict) for event in events]
        return await self.client.record_partial_events(joined.room_id, given)

    async def record(
        self, joined: JoinedRoom, *events: Mapping[str, Any], verdict: ProvisionalVerdict = ACCEPTED
    ) -> None:
        """Record events that are partial."""
        recorded = await self.try_record(joined, *events, verdict=verdict)
        assert set(recorded.outcomes) == {RecordOutcome.RECORDED}
        assert recorded.generation == joined.generation

    async def leave(self, joined: JoinedRoom) -> str:
        """Let the user who joined leave, as a homeserver does: record the event, persist it, say that we left."""
        leave = self.say(self.alice, "m.room.member", {"membership": "leave"}, self.alice.user_id)
        await self.record(joined, leave)
        await self.client.release_room(joined.room_id, joined.generation, ReleaseReason.LEFT)
        return self.id_of(leave)

    async def status(self) -> RoomStatus:
        """Return where the room stands."""
        return (await self.client.get_partial_room(self.resident.room_id)).room.status

    async def check(self, event_id: str, endpoint: Endpoint = Endpoint.STATE_IDS) -> Decision:
        """Ask what to answer to the creator's server."""
        request = CheckRequest(endpoint, self.world.creator.name, self.resident.room_id, (event_id,))
        return await self.client.check(request)

    async def is_refused(self, event_id: str) -> None:
        """Assert that `/state_ids` gets MSC3895's error."""
        decision = await self.check(event_id)
        assert decision.verdict is Verdict.REFUSE
        assert decision.error is not None
        assert decision.error.http_status == 403
        assert decision.error.errcode.endswith("UNABLE_DUE_TO_PARTIAL_STATE")

    async def is_answered(self, event_id: str) -> None:
        """Assert that the room counts as full."""
        assert (await self.check(event_id)).verdict is Verdict.PROCEED

    async def recovered(self, joined: JoinedRoom, *, timeout_s: float = 30) -> Recovered:
        """Follow the log until every recorded event has its full state, and return what it says."""
        found = Recovered()
        stream = self.client.recovered_state(joined.room_id, joined.generation, follow=True)
        async with asyncio.timeout(timeout_s), aclosing(stream):
            async for record in stream:
                found.take(record)
                if found.end is not None and found.end.complete:
                    break
        return found

    async def confirm(self, joined: JoinedRoom, recovered: Recovered) -> None:
        """End the partial state."""
        await self.client.confirm_import(joined.room_id, joined.generation, recovered.position)

    def matches(self, recovered: Recovered, *event_ids: str) -> None:
        """Assert that the state before each event is exactly what the room's servers say, and that it is all there."""
        for event_id in event_ids:
            before = recovered.before[event_id]
            assert before == dict(self.resident.state_before(event_id)), event_id
            held = recovered.events.keys() | recovered.verdicts.keys()
            assert held >= set(before.values())
            assert recovered.verdicts[event_id].accepted

    async def becomes_full(self, joined: JoinedRoom, latch: Latch, *events: Mapping[str, Any]) -> Recovered:
        """Complement's common check: refused while the state is awaited, then exactly the room's own state."""
        ids = [joined.event_id, *map(self.id_of, events)]
        for event_id in ids:
            await self.is_refused(event_id)
        latch.released.set()
        recovered = await self.recovered(joined)
        self.matches(recovered, *ids)
        assert recovered.current == dict(self.resident.current_state())
        await self.is_refused(ids[-1])
        await self.confirm(joined, recovered)
        await self.is_answered(ids[-1])
        return recovered


@asynccontextmanager
async def scenario(
    store_url: str, tmp_path: Path, size: WorldSize = SMALL, **options: Any
) -> AsyncIterator[Scenario]:
    """Run a world, a service with a store of its own at *store_url*, and a client; *options* as of `resyncing`."""
    store_settings = StoreSettings(data_dir=tmp_path, url=store_url, key_prefix=uuid4().hex)
    async with (
        open_store(store_settings) as store,
        resyncing(size, store, tmp_path, **options) as resync,
    ):
        running = resync.running
        context = running.authority.server_context(running.homeserver.address)
        settings = Settings(server_name=running.homeserver.name, signing_key_path=Path("unused"))
        config = ServerConfig(listen="127.0.0.1:0", drain_grace_s=1)
        async with (
            # A homeserver publishes its keys, also to itself.
            running.residents.listening(running.homeserver, context),
            running_server(servicers(settings, store, Metrics()), config) as address,
            connected(running, address) as connection,
        ):
            yield connection


@asynccontextmanager
async def connected(running: RunningWorld, target: str) -> AsyncIterator[Scenario]:
    """Connect the homeserver of a running world to its service, whose store is fresh or not."""
    async with PartialStateClient(target, deadlines=_PATIENT) as client:
        token = (await anext(client.list_partial_rooms())).state_token
        await client.reconcile_rooms(token, ())
        yield Scenario(running, client)

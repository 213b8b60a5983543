"""The story that the demo tells, for real: every request is HTTPS, every call is gRPC, every event is signed."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import Protocol

import aiohttp
from partialstate import PartialRoom, RoomChanged, RoomNotPartialError, StateToken

from partialstate_service.demo.cast import Cast, chosen_roles
from partialstate_service.demo.certificates import CertificateAuthority
from partialstate_service.demo.frontend.frontend import ReferenceFrontend, running_frontend
from partialstate_service.demo.inquiries import (
    Inquiry,
    ask,
    inquiries_when_full,
    inquiries_while_partial,
    inquiry_of_the_denied,
)
from partialstate_service.demo.resident.listener import residents_listening
from partialstate_service.demo.service_process import running_service
from partialstate_service.demo.simulated_server import reserve_server
from partialstate_service.demo.summary import Asked, Summary
from partialstate_service.demo.world import World, WorldSize, generated_world
from partialstate_service.demo.x_matrix import SignedClient
from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.matrix.ed25519 import KeyId

OUR_ADDRESS = "127.20.0.1"
DENIED_ADDRESS = "127.66.0.1"
USER = "alice"
_POLL_S = 0.05


class Audience(Protocol):
    """Who the story is told to, as it happens."""

    def chapter(self, title: str) -> None:
        """Hear what comes next."""

    def note(self, text: str) -> None:
        """Hear what happened."""

    def asked(self, asked: Asked) -> None:
        """See one request and its answer."""

    def progress(self, room: PartialRoom | None) -> None:
        """See how far the resync is; None: the room is full."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """Everything that runs while the story is told."""

    world: World
    cast: Cast
    frontend: ReferenceFrontend
    member: SignedClient
    denied: SignedClient
    summary: Summary
    audience: Audience


async def tell(size: WorldSize, directory: Path, audience: Audience, *, seed: int) -> Summary:
    """Tell the story in a room of *size*; files go into *directory*. Ends by itself."""
    clock = asyncio.get_running_loop().time
    began = clock()
    async with _set_stage(size, directory, audience, random.Random(seed)) as stage:  # noqa: S311 - no secrets
        summary = stage.summary
        summary.figure("setting_up", clock() - began, "s")
        await _play(stage, clock)
        summary.requests = stage.cast.residents.log.by_endpoint()
    summary.figure("whole_demo", clock() - began, "s")
    return summary


async def _play(stage: _Stage, clock: Callable[[], float]) -> None:
    summary, audience, frontend, world = stage.summary, stage.audience, stage.frontend, stage.world
    room_id, service = world.room.room_id, frontend.homeserver.service
    before_join = (await anext(service.list_partial_rooms())).state_token

    audience.chapter(f"Joining a room of {summary.members:,} members with omit_members=true")
    began = clock()
    joined = await frontend.join(room_id, USER, world.creator.name)
    join_s = clock() - began
    summary.figure("join", join_s * 1000, "ms")
    summary.figure("register_partial_join", joined.registered_in_s * 1000, "ms")
    audience.note(
        f"joined in {join_s * 1000:.0f} ms, of which {joined.registered_in_s * 1000:.0f} ms to register the partial "
        f"join durably; {_held_members(frontend, stage)} of {summary.members:,} memberships known"
    )
    sent = await frontend.say(room_id, USER, "Hello, whoever you are")
    audience.note(f"said hello to {len(sent.delivered)} servers; {len(sent.failed)} cannot be reached")
    await _state_is_verified(stage, before_join)

    audience.chapter("Other servers ask us while we do not know who is in the room")
    stranger = stage.cast.member.user("newcomer")
    for inquiry in inquiries_while_partial(room_id, joined.event_id, sent.event_id, stranger):
        await _ask(stage, stage.member, inquiry, phase="partial", by="a server in the room")
    denied = inquiry_of_the_denied(room_id, joined.event_id)
    await _ask(stage, stage.denied, denied, phase="partial", by="a server that the ACL denies")

    audience.chapter("The service recovers the state, past dead and refusing servers")
    began = clock()
    stage.cast.let_them_answer()
    imported = await _show_progress(stage)
    summary.figure("resync_and_import", clock() - began, "s")
    summary.figure("imported_events", imported, "events")

    audience.chapter("The room is full")
    await _compare(stage, sent.event_id, stranger)


async def _compare(stage: _Stage, sent: EventId, stranger: str) -> None:
    """Ask the homeserver for its state, and compare it with the true one."""
    world, summary = stage.world, stage.summary
    truth = set(world.room.state_before(sent).values())
    for inquiry in inquiries_when_full(world.room.room_id, sent, stranger, truth):
        await _ask(stage, stage.member, inquiry, phase="full", by="a server in the room")
    held = set(stage.frontend.homeserver.room(world.room.room_id).before[sent].values())
    summary.missing_events, summary.surplus_events = len(truth - held), len(held - truth)
    stage.audience.note(
        f"{len(held):,} state events: {summary.missing_events} missing, {summary.surplus_events} too many"
    )


async def _ask(stage: _Stage, client: SignedClient, inquiry: Inquiry, *, phase: str, by: str) -> None:
    asked = await ask(client, stage.frontend.homeserver.name, inquiry, phase=phase, by=by)
    stage.summary.asked.append(asked)
    stage.audience.asked(asked)


async def _state_is_verified(stage: _Stage, since: StateToken) -> None:
    """Wait until the service has verified the non-member state: before that it refuses what would need it."""
    watch = stage.frontend.homeserver.service.watch(since, room_id=stage.world.room.room_id)
    async with aclosing(watch) as changes:
        async for change in changes:
            if isinstance(change, RoomChanged) and change.room.state_verified:
                return


async def _show_progress(stage: _Stage) -> int:
    """Wait until the room is full; return how many events were imported."""
    service, room_id = stage.frontend.homeserver.service, stage.world.room.room_id
    full = asyncio.ensure_future(stage.frontend.full(room_id))
    while not full.done():
        with suppress(RoomNotPartialError):
            room = (await service.get_partial_room(room_id)).room
            stage.audience.progress(room)
            stage.summary.outcomes = {server.server_name: server.outcome for server in room.resync.servers}
        await asyncio.wait({full}, timeout=_POLL_S)
    stage.audience.progress(None)
    return await full


def _held_members(frontend: ReferenceFrontend, stage: _Stage) -> int:
    state = frontend.homeserver.room(stage.world.room.room_id).current_state()
    return sum(kind == "m.room.member" for kind, _ in state)


@asynccontextmanager
async def _set_stage(
    size: WorldSize, directory: Path, audience: Audience, rng: random.Random
) -> AsyncIterator[_Stage]:
    """Start the world, the service and the frontend; end them in the reverse order."""
    authority = CertificateAuthority()
    ca_file = authority.write_pem(directory / "ca.pem")
    async with AsyncExitStack() as stack:
        ours, denied = reserve_server(OUR_ADDRESS, rng), reserve_server(DENIED_ADDRESS, rng)
        stack.callback(ours.reserved.close)
        stack.callback(denied.reserved.close)
        audience.chapter("Setting up: a room, its servers, the service on its embedded store")
        world = stack.enter_context(generated_world(size, rng, now_ms=time_ns() // 1_000_000))

        async def our_key(server: ServerName, key_id: KeyId) -> bytes | None:
            return ours.key.public if (server, key_id) == (ours.name, ours.key.key_id) else None

        roles = chosen_roles(world)
        residents = await stack.enter_async_context(
            residents_listening(world, authority, our_key, dead=roles.dead)
        )
        cast = Cast(world, roles, residents)
        # The denied server is no part of the room; it has to publish its key, as every server does.
        await stack.enter_async_context(residents.listening(denied, authority.server_context(denied.address)))
        settings = {"FEDERATION_CA_FILE": str(ca_file), "FEDERATION_ALLOWED_NETWORKS": "127.0.0.0/8"}
        target = await stack.enter_async_context(running_service(ours.name, ours.key, directory, settings))
        frontend = await stack.enter_async_context(running_frontend(ours, authority, ca_file, target))
        connector = aiohttp.TCPConnector(ssl=authority.client_context())
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        summary = Summary(size.members, size.servers, roles.failing)
        audience.note(f"{size.members:,} members on {size.servers} servers; of these {roles.described}")
        yield _Stage(
            world,
            cast,
            frontend,
            SignedClient(cast.member.name, cast.member.key, session),
            SignedClient(denied.name, denied.key, session),
            summary,
            audience,
        )

"""Joining a room through a resident server, with most of its members omitted."""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from partialstate import PartialJoin, ReleaseReason, ResponseNotPartialError, ResyncPriority, event_json

from partialstate_service.demo.frontend.held_room import HeldRoom
from partialstate_service.demo.frontend.homeserver import Homeserver
from partialstate_service.demo.frontend.verification import hold_outliers, verified_events
from partialstate_service.domain.ids import EventId, RoomId, ServerName, UserId, parse_server_name
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.event_auth import AuthRejectionError, check_auth
from partialstate_service.matrix.hashes import event_id_of
from partialstate_service.matrix.room_versions import ROOM_VERSIONS, EventIdFormat, RoomVersion, room_version
from partialstate_service.matrix.shared_state import SharedState
from partialstate_service.matrix.signing import sign_event

MAX_KEY_WITNESSES = 3


class JoinFailedError(Exception):
    """The room was not joined; the text says why."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A join: the room is held, and partial if *generation* is not 0."""

    event_id: EventId
    generation: int
    registered_in_s: float
    """How long the service took to register the partial join, durably."""


async def join_room(homeserver: Homeserver, room_id: RoomId, user: UserId, via: ServerName) -> Joined:
    """Join *room_id* through *via*. Raises `JoinFailedError`; what the service raises means to try again later."""
    version, join = await _make_join(homeserver, room_id, user, via)
    event_id = event_id_of(join, version)
    uri = f"/_matrix/federation/v2/send_join/{_quoted(room_id)}/{_quoted(event_id)}?omit_members=true"
    answer = await homeserver.peers.request("PUT", via, uri, join)
    if answer.status != 200:  # noqa: PLR2004 - OK
        raise JoinFailedError(f"{via} answered {answer.status} {answer.errcode} to send_join")

    clock = asyncio.get_running_loop().time
    began = clock()
    # Before anything is persisted: from here on no frontend of this homeserver takes the room for a full one.
    try:
        registration = await homeserver.service.register_partial_join(
            PartialJoin(
                room_id=room_id,
                room_version=version.version,
                join_event=event_json(join),
                joined_via=via,
                priority=ResyncPriority.USER_WAITING,
            ),
            answer.body,
        )
        generation = registration.generation
    except ResponseNotPartialError:
        generation = 0  # the resident server omitted nobody: an ordinary, full join
    registered_in_s = clock() - began
    try:
        room = await _persist_join(homeserver, room_id, version, join, answer.json, via, generation)
    except JoinFailedError:
        if generation:
            await homeserver.service.release_room(room_id, generation, ReleaseReason.JOIN_FAILED)
        raise
    homeserver.rooms[room_id] = room
    if generation:
        await homeserver.service.confirm_join(room_id, generation)
    return Joined(event_id, generation, registered_in_s)


async def _make_join(
    homeserver: Homeserver, room_id: RoomId, user: UserId, via: ServerName
) -> tuple[RoomVersion, dict[str, Any]]:
    versions = "&".join(f"ver={version}" for version in ROOM_VERSIONS)
    uri = f"/_matrix/federation/v1/make_join/{_quoted(room_id)}/{_quoted(user)}?{versions}"
    answer = await homeserver.peers.request("GET", via, uri)
    if answer.status != 200:  # noqa: PLR2004 - OK
        raise JoinFailedError(f"{via} answered {answer.status} {answer.errcode} to make_join")
    version = room_version(answer.json["room_version"])
    template = answer.json["event"]
    # Of the template only what a join may say is taken over; a resident server does not get to choose the rest.
    join = {name: template[name] for name in ("auth_events", "prev_events", "depth")}
    join |= {"type": "m.room.member", "room_id": room_id, "sender": user, "state_key": user}
    join |= {"content": {"membership": "join"}, "origin_server_ts": homeserver.now_ms()}
    voucher = template["content"].get("join_authorised_via_users_server")
    if voucher is not None:
        join["content"]["join_authorised_via_users_server"] = voucher
    if version.event_ids is EventIdFormat.GIVEN:
        join["event_id"] = f"${homeserver.now_ms()}:{homeserver.name}"
    return version, sign_event(join, version, homeserver.name, homeserver.key)


async def _persist_join(
    homeserver: Homeserver,
    room_id: RoomId,
    version: RoomVersion,
    join: dict[str, Any],
    response: dict[str, Any],
    via: ServerName,
    generation: int,
) -> HeldRoom:
    raws = [*response["state"], *response["auth_chain"], response.get("event", join)]
    servers = frozenset(map(parse_server_name, response.get("servers_in_room", ())))
    also_ask = [via, *sorted(servers)[:MAX_KEY_WITNESSES]]
    events = await verified_events(homeserver, raws, version, room_id, also_ask=also_ask)
    if not events or events[-1].event_id != event_id_of(join, version):
        raise JoinFailedError(f"{via} did not return our join")
    event_id = events[-1].event_id
    room = HeldRoom(room_id, version, SharedState(), event_id, via, servers, generation)
    hold_outliers(room, events[:-1])
    in_state = {event_id_of(raw, version) for raw in response["state"]}
    room.seed = SharedState().with_changes(
        {
            (event.type, event.state_key): event_id
            for event_id, event in room.events.items()
            if event_id in in_state and event.state_key is not None and event_id not in room.rejected
        }
    )
    _authorise(events[-1], room)
    room.persist(events[-1], room.seed, accepted=True, partial=generation != 0)
    return room


def _authorise(join: Event, room: HeldRoom) -> None:
    try:
        check_auth(join, {slot: room.events[event_id] for slot, event_id in room.seed.items()})
    except AuthRejectionError as error:
        raise JoinFailedError(f"the room's state does not allow our join: {error}") from error


def _quoted(text: str) -> str:
    return quote(text, safe="")

"""Events of our own users: recorded, persisted, and sent to every server in the room."""

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp
from partialstate import NoAnswerError, RoomNotPartialError, SentEvent

from partialstate_service.demo.frontend.held_room import HeldRoom
from partialstate_service.demo.frontend.homeserver import Homeserver
from partialstate_service.demo.frontend.persisting import persist_event
from partialstate_service.demo.signed_room import auth_slots
from partialstate_service.domain.ids import EventId, RoomId, ServerName, UserId
from partialstate_service.matrix.event import Event, JsonObject
from partialstate_service.matrix.parsing import parse_event
from partialstate_service.matrix.room_versions import EventIdFormat
from partialstate_service.matrix.signing import sign_event

SEND_TIMEOUT_S = 10.0
MAX_PREV_EVENTS = 10
_transactions = count(1)


class NotAllowedError(Exception):
    """The room's rules do not let our user send the event."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An event of ours, and who took it and who could not be reached."""

    event_id: EventId
    delivered: frozenset[ServerName]
    failed: frozenset[ServerName]


async def send_event(
    homeserver: Homeserver, room_id: RoomId, user: UserId, event_type: str, content: JsonObject
) -> Sent:
    """Let one of our users say something in a room, partial or full."""
    room = homeserver.room(room_id)
    event = _new_event(homeserver, room, user, event_type, content)
    if not await persist_event(homeserver, room, event):
        raise NotAllowedError(event.event_id)
    destinations = await _destinations(homeserver, room)
    # Before sending: whoever gets the event may ask for its auth events at once, and then we are obliged to answer.
    # Should this fail the event goes out all the same; the price is a needless error to such a request.
    sent = SentEvent(event.event_id, tuple(sorted(destinations)))
    if room.is_partial:
        try:
            await homeserver.service.record_sent_events(room_id, [sent])
        except NoAnswerError:
            return await _deliver(homeserver, event, destinations, repeat=sent)
    return await _deliver(homeserver, event, destinations)


async def _destinations(homeserver: Homeserver, room: HeldRoom) -> set[ServerName]:
    if room.is_partial:
        try:
            answer = await homeserver.service.get_destinations(room.room_id)
        except RoomNotPartialError:
            pass  # it became full meanwhile, so its own state tells
        else:
            return {ServerName(server) for server in answer.servers} - {homeserver.name}
    return room.servers(room.current_state()) - {homeserver.name}


async def _deliver(
    homeserver: Homeserver, event: Event, destinations: set[ServerName], *, repeat: SentEvent | None = None
) -> Sent:
    transaction = f"{homeserver.now_ms()}.{next(_transactions)}"
    body = {
        "origin": homeserver.name,
        "origin_server_ts": homeserver.now_ms(),
        "pdus": [event.raw],
        "edus": [],
    }

    async def to(server: ServerName) -> bool:
        return await _sent_to(homeserver, server, f"/_matrix/federation/v1/send/{transaction}", body)

    servers = sorted(destinations)
    outcomes = await asyncio.gather(*map(to, servers))
    if repeat is not None:
        await homeserver.service.record_sent_events(event.room_id, [repeat])
    delivered = frozenset(server for server, done in zip(servers, outcomes, strict=True) if done)
    return Sent(event.event_id, delivered, frozenset(servers) - delivered)


async def _sent_to(homeserver: Homeserver, server: ServerName, uri: str, body: dict[str, Any]) -> bool:
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            answer = await homeserver.peers.request("PUT", server, uri, body)
    except (aiohttp.ClientError, TimeoutError):
        return False  # a larger homeserver would keep the event and try again
    return answer.status == 200  # noqa: PLR2004 - OK


def _new_event(
    homeserver: Homeserver, room: HeldRoom, user: UserId, event_type: str, content: JsonObject
) -> Event:
    prevs = tuple(room.extremities)[-MAX_PREV_EVENTS:]
    state = room.resolved([room.after(prev) for prev in prevs])
    slots = auth_slots(user, event_type, content, None, room.version)
    raw: dict[str, Any] = {
        "room_id": room.room_id,
        "type": event_type,
        "sender": user,
        "content": content,
        "origin_server_ts": homeserver.now_ms(),
        "depth": 1 + max(room.events[prev].depth for prev in prevs),
        "prev_events": list(prevs),
        "auth_events": [state[slot] for slot in slots if slot in state],
    }
    if room.version.event_ids is EventIdFormat.GIVEN:
        raise NotAllowedError("this frontend sends nothing in rooms of version 1 and 2")
    return parse_event(sign_event(raw, room.version, homeserver.name, homeserver.key), room.version)

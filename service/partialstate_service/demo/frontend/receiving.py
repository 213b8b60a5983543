"""Events that other servers send us. They are taken while the room is partial as at any other time."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
from partialstate import NoAnswerError

from partialstate_service.demo.frontend.held_room import HeldRoom
from partialstate_service.demo.frontend.homeserver import Homeserver, NotInRoomError
from partialstate_service.demo.frontend.persisting import persist_event
from partialstate_service.demo.frontend.verification import hold_outliers, verified_events
from partialstate_service.demo.x_matrix import PeerResponse
from partialstate_service.domain.acl import parse_server_acl
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.matrix.auth_graph import MissingEventError
from partialstate_service.matrix.event import Event, JsonObject
from partialstate_service.matrix.hashes import event_id_of

MAX_MISSING_EVENTS = 20
ACL = ("m.room.server_acl", "")


class _NotTakenError(Exception):
    """One event is not taken; the text is what its sender is told."""


async def take_transaction(
    homeserver: Homeserver, origin: ServerName, transaction: JsonObject
) -> dict[str, Any]:
    """Take the events of a `/send` transaction; return the body of the answer, which always is a 200."""
    results: dict[str, dict[str, str]] = {}
    for raw in transaction.get("pdus", ()):
        try:
            event_id, error = await take_event(homeserver, origin, raw)
        except NoAnswerError:
            # It cannot be recorded now, hence not be persisted; its sender has done its part all the same.
            event_id, error = _staged(homeserver, origin, raw)
        if event_id:
            results[event_id] = {"error": error} if error else {}
    return {"pdus": results}


async def take_event(homeserver: Homeserver, origin: ServerName, raw: Any) -> tuple[str, str]:
    """Take one event; return its id (empty: it has none) and what its sender is told (empty: it is taken).

    Raises `NoAnswerError` where it has to be recorded first and the service does not answer.
    """
    event_id = ""
    try:
        room = homeserver.room(raw["room_id"])
        event_id = event_id_of(raw, room.version)
        await _receive(homeserver, room, raw, origin)
    except (KeyError, TypeError, ValueError):
        return event_id, "not an event"
    except (NotInRoomError, _NotTakenError) as error:
        return event_id, str(error)
    except MissingEventError:
        return event_id, "its auth events cannot be had"
    return event_id, ""


def _staged(homeserver: Homeserver, origin: ServerName, raw: JsonObject) -> tuple[str, str]:
    event_id = event_id_of(raw, homeserver.room(raw["room_id"]).version)
    try:
        homeserver.staged.put_nowait((origin, raw))
    except asyncio.QueueFull:
        return event_id, "too many events wait here"
    return event_id, ""


async def _receive(homeserver: Homeserver, room: HeldRoom, raw: JsonObject, origin: ServerName) -> None:
    if not allows_server(room, origin):
        raise _NotTakenError("your server is denied by the room's ACL")
    (event,) = await _verified(homeserver, room, [raw], origin) or (None,)
    if event is None:
        raise _NotTakenError("malformed, or its signatures cannot be verified")
    if room.holds(event.event_id):
        return
    if not all(map(room.holds, event.prev_event_ids)):
        for earlier in await _missing_events(homeserver, room, event, origin):
            await _hold_auth_events(homeserver, room, earlier, origin)
            await persist_event(homeserver, room, earlier)
        if not room.is_partial and not all(map(room.holds, event.prev_event_ids)):
            # A larger homeserver would ask for the state at the gap; this one waits for a later event to close it.
            raise _NotTakenError("the events before it cannot be had")
    await _hold_auth_events(homeserver, room, event, origin)
    await persist_event(homeserver, room, event)


async def _missing_events(
    homeserver: Homeserver, room: HeldRoom, event: Event, origin: ServerName
) -> Sequence[Event]:
    """Return events between what we hold and *event*, oldest first, as far as *origin* gives them."""
    body = {
        "earliest_events": list(room.extremities),
        "latest_events": [event.event_id],
        "limit": MAX_MISSING_EVENTS,
    }
    answer = await _ask(homeserver, "POST", origin, f"get_missing_events/{_quoted(room.room_id)}", body)
    raws = [] if answer is None else answer.json.get("events", ())
    events = await _verified(homeserver, room, raws[:MAX_MISSING_EVENTS], origin)
    new = [earlier for earlier in events if not room.holds(earlier.event_id)]
    if not room.is_partial:
        known = {*room.before, *(earlier.event_id for earlier in new)}
        new = [earlier for earlier in new if known.issuperset(earlier.prev_event_ids)]
    return sorted(new, key=lambda earlier: earlier.depth)


async def _hold_auth_events(homeserver: Homeserver, room: HeldRoom, event: Event, origin: ServerName) -> None:
    """Fetch the auth events of *event* that are not held: memberships that our join omitted, as a rule."""
    if all(auth in room.events for auth in event.auth_event_ids):
        return
    path = f"event_auth/{_quoted(room.room_id)}/{_quoted(event.event_id)}"
    answer = await _ask(homeserver, "GET", origin, path, None)
    raws = [] if answer is None else answer.json.get("auth_chain", ())
    events = await _verified(homeserver, room, raws, origin)
    async with room.writing:
        hold_outliers(room, events)
    missing = next((auth for auth in event.auth_event_ids if auth not in room.events), None)
    if missing is not None:
        raise MissingEventError(missing)


async def _verified(
    homeserver: Homeserver, room: HeldRoom, raws: Iterable[JsonObject], origin: ServerName
) -> list[Event]:
    return await verified_events(homeserver, raws, room.version, room.room_id, also_ask=[origin])


async def _ask(
    homeserver: Homeserver, method: str, server: ServerName, path: str, body: dict[str, Any] | None
) -> PeerResponse | None:
    try:
        answer = await homeserver.peers.request(method, server, f"/_matrix/federation/v1/{path}", body)
    except (aiohttp.ClientError, TimeoutError):
        return None
    return answer if answer.status == 200 else None  # noqa: PLR2004 - OK


def allows_server(room: HeldRoom, server: ServerName) -> bool:
    """Return whether the room's current ACL allows *server*."""
    acl_id: EventId | None = room.current_state().get(ACL)
    return acl_id is None or not parse_server_acl(room.events[acl_id].content).denies(server)


def _quoted(text: RoomId | EventId) -> str:
    return quote(text, safe="")

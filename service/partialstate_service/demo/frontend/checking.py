"""From a federation request to the question for the service, and what the request names."""

from collections.abc import Iterable
from typing import Any

import orjson
from aiohttp import web
from partialstate import Candidate, CheckRequest
from partialstate import Endpoint as CheckedEndpoint

from partialstate_service.demo.frontend.held_room import HeldRoom
from partialstate_service.demo.frontend.homeserver import Homeserver
from partialstate_service.demo.resident.refusals import FederationRefusedError
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import EventId, ServerName

MAX_NAMED_EVENTS = 20
MAX_WALK = 100
HISTORY_VISIBILITY = ("m.room.history_visibility", "")


async def named_events(endpoint: Endpoint, request: web.Request) -> list[EventId]:
    """Return the events that a request names; refuse one that names too many, or none where it must."""
    named: Any
    match endpoint:
        case Endpoint.STATE | Endpoint.STATE_IDS:
            named = request.query.getall("event_id", [])[:1]
        case Endpoint.BACKFILL:
            named = request.query.getall("v", [])
        case Endpoint.GET_MISSING_EVENTS:
            named = (await json_body(request)).get("latest_events", [])
        case Endpoint.EVENT | Endpoint.EVENT_AUTH:
            named = [request.match_info["eventId"]]
        case _:
            return []
    event_ids = strings(named)
    if not 0 < len(event_ids) <= MAX_NAMED_EVENTS:
        raise FederationRefusedError(400, "M_INVALID_PARAM", "No events are named, or too many")
    return event_ids


def strings(value: object) -> list[EventId]:
    """Return the strings in what should be a list of event ids."""
    return [EventId(item) for item in value if isinstance(item, str)] if isinstance(value, list) else []


def room_id_of(homeserver: Homeserver, request: web.Request, event_ids: list[EventId]) -> str:
    """Return the room that a request concerns. For `/event` that is the event's, which must be looked up first."""
    if "roomId" in request.match_info:
        return request.match_info["roomId"]
    if not event_ids:
        return ""
    for room in homeserver.rooms.values():
        if event_ids[0] in room.events:
            return room.room_id
    raise FederationRefusedError(404, "M_NOT_FOUND", "No such event")


def check_request(
    endpoint: Endpoint,
    origin: ServerName,
    room_id: str,
    event_ids: list[EventId],
    request: web.Request,
    walked: Iterable[Candidate],
) -> CheckRequest:
    """Return the question for the service."""
    return CheckRequest(
        endpoint=CheckedEndpoint(endpoint.name),
        origin=origin,
        room_id=room_id,
        event_ids=tuple(event_ids),
        user_id=request.match_info.get("userId", ""),
        candidates=tuple(walked),
    )


def walk(
    room: HeldRoom, start: Iterable[EventId], limit: int, *, stop: Iterable[EventId] = ()
) -> list[EventId]:
    """Return events of the timeline from *start* backwards, the deepest first, as far as we hold them."""
    found: dict[EventId, None] = {}
    todo, ends = {event_id for event_id in start if room.holds(event_id)}, set(stop)
    while todo and len(found) < min(limit, MAX_WALK):
        event_id = max(todo, key=lambda held: room.events[held].depth)
        todo.discard(event_id)
        found[event_id] = None
        todo.update(
            prev
            for prev in room.events[event_id].prev_event_ids
            if room.holds(prev) and prev not in found and prev not in ends
        )
    return list(found)


def candidates(room: HeldRoom, event_ids: Iterable[EventId]) -> list[Candidate]:
    """Return what the service wants to know of events that could be shown."""
    return [
        Candidate(event_id, room.events[event_id].sender, _visibility_at(room, event_id))
        for event_id in event_ids
    ]


def _visibility_at(room: HeldRoom, event_id: EventId) -> str:
    visibility_id = room.before[event_id].get(HISTORY_VISIBILITY)
    if visibility_id is None:
        return "shared"  # what the specification says for a room without such an event
    visibility = room.events[visibility_id].content.get("history_visibility")
    return visibility if isinstance(visibility, str) else ""


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the JSON object that is the body of *request*, or refuse it."""
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise FederationRefusedError(400, "M_NOT_JSON", "The body is not a JSON object")
    return body

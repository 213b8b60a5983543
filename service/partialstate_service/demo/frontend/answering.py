"""Requests of other servers about rooms: a decision is asked for first, then what it says is done."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from aiohttp import web
from partialstate import Decision, ErrorResponse, NotReconciledError, Verdict, decision_without_service

from partialstate_service.demo.frontend import answers
from partialstate_service.demo.frontend.checking import (
    candidates,
    check_request,
    json_body,
    named_events,
    room_id_of,
    strings,
    walk,
)
from partialstate_service.demo.frontend.held_room import HeldRoom
from partialstate_service.demo.frontend.homeserver import Homeserver
from partialstate_service.demo.frontend.receiving import allows_server, take_transaction
from partialstate_service.demo.frontend.reconciling import reconcile
from partialstate_service.demo.resident.refusals import FederationRefusedError
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import EventId, RoomId, ServerName


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose decision is to answer it."""

    endpoint: Endpoint
    origin: ServerName
    room: HeldRoom
    event_ids: list[EventId]
    """The events that the request names; each is held, and in the room."""
    shown: list[EventId]
    """For get_missing_events and backfill: the events to show, the latest first."""
    request: web.Request
    decision: Decision


Answer: TypeAlias = Callable[[Homeserver, Asked], Awaitable[dict[str, Any]]]

_ANSWERS: Mapping[Endpoint, Answer] = {
    Endpoint.STATE: lambda _, asked: answers.state(asked.room, asked.event_ids[0]),
    Endpoint.STATE_IDS: lambda _, asked: answers.state_ids(asked.room, asked.event_ids[0]),
    Endpoint.EVENT: lambda server, asked: answers.event(server, asked.room, asked.event_ids[0]),
    Endpoint.EVENT_AUTH: lambda _, asked: answers.event_auth(asked.room, asked.event_ids[0]),
    Endpoint.BACKFILL: lambda server, asked: answers.backfill(server, asked.room, asked.shown),
    Endpoint.GET_MISSING_EVENTS: lambda _, asked: answers.missing_events(asked.room, asked.shown),
    Endpoint.MAKE_JOIN: lambda server, asked: answers.make_join(server, asked.room, asked.request),
    Endpoint.SEND_JOIN_V2: lambda server, asked: answers.send_join(server, asked.room, asked.request),
}
ROOM_ENDPOINTS: Collection[Endpoint] = frozenset(
    {*_ANSWERS, Endpoint.MAKE_KNOCK, Endpoint.SEND_KNOCK, Endpoint.MAKE_LEAVE, Endpoint.SEND_LEAVE_V2}
    | {Endpoint.SEND_JOIN_V1, Endpoint.SEND_LEAVE_V1, Endpoint.TIMESTAMP_TO_EVENT, Endpoint.HIERARCHY}
    | {Endpoint.EXTREMITIES}
)
"""Endpoints that a decision is asked for. What is not among `_ANSWERS` this frontend cannot do for any room."""
DEFAULT_LIMIT = 10
_JOINS = frozenset({Endpoint.MAKE_JOIN, Endpoint.SEND_JOIN_V2})


async def answer_room_request(
    homeserver: Homeserver, endpoint: Endpoint, origin: ServerName, request: web.Request
) -> dict[str, Any]:
    """Return the body of a 200, or raise `FederationRefusedError`."""
    event_ids = await named_events(endpoint, request)
    room_id = room_id_of(homeserver, request, event_ids)
    room = homeserver.rooms.get(RoomId(room_id))
    walked = [] if room is None else await _walked(endpoint, room, event_ids, request)
    question = check_request(
        endpoint, origin, room_id, event_ids, request, [] if room is None else candidates(room, walked)
    )
    decision = await homeserver.service.decide(question)
    if isinstance(decision.failure, NotReconciledError):
        # The service's store is fresh or has lost writes: it needs to be told what we hold, and then decides again.
        await reconcile(homeserver)
        decision = await homeserver.service.decide(question)
    if decision.verdict is Verdict.PROCEED and room is not None and room.partial_events:
        # The service holds no such partial room but we hold partial events: it has forgotten. Then nothing is decided.
        decision = decision_without_service(question)

    if decision.verdict is Verdict.REFUSE:
        raise _refusal(decision.error)
    if room is None:
        raise FederationRefusedError(404, "M_NOT_FOUND", "This server is not in that room")
    if decision.verdict is Verdict.PROCEED:
        _check_as_usual(endpoint, room, origin, decision)
    # No verdict waives this: a named event must be one of the named room.
    if not all(event_id in room.events for event_id in event_ids):
        raise FederationRefusedError(404, "M_NOT_FOUND", "No such event in that room")
    if endpoint not in _ANSWERS:
        raise FederationRefusedError(404, "M_UNRECOGNIZED", "This server does not do that")
    shown = walked
    if decision.verdict is Verdict.ANSWER_FILTERED:
        visible = set(decision.visible_event_ids)
        walked = await _walked(endpoint, room, map(EventId, decision.walk_from_event_ids), request)
        shown = [event_id for event_id in walked if event_id in visible]
    asked = Asked(endpoint, origin, room, event_ids, shown, request, decision)
    return await _ANSWERS[endpoint](homeserver, asked)


async def answer_send(homeserver: Homeserver, origin: ServerName, request: web.Request) -> dict[str, Any]:
    """Take a transaction. It needs no decision: events are always taken, whatever the room's state."""
    return await take_transaction(homeserver, origin, await json_body(request))


async def _walked(
    endpoint: Endpoint, room: HeldRoom, event_ids: Iterable[EventId], request: web.Request
) -> list[EventId]:
    """Return what an answer could show, the latest first: the walk comes before the question."""
    if endpoint is Endpoint.BACKFILL:
        limit = request.query.get("limit", "")
        return walk(room, event_ids, int(limit) if limit.isascii() and limit.isdecimal() else DEFAULT_LIMIT)
    if endpoint is Endpoint.GET_MISSING_EVENTS:
        body = await json_body(request)
        size, latest = body.get("limit"), set(event_ids)
        size = size if isinstance(size, int) and size > 0 else DEFAULT_LIMIT
        found = walk(room, latest, size + len(latest), stop=strings(body.get("earliest_events")))
        return [event_id for event_id in found if event_id not in latest]
    return []


def _check_as_usual(endpoint: Endpoint, room: HeldRoom, origin: ServerName, decision: Decision) -> None:
    """Do what a homeserver does for any room whose full state it has."""
    if endpoint is not Endpoint.EVENT and not allows_server(room, origin):
        raise FederationRefusedError(403, "M_FORBIDDEN", "Your server is denied by the room's ACL")
    if endpoint not in _JOINS and origin not in room.servers(room.current_state()):
        if decision.error_instead_of_forbidden is not None:
            raise _refusal(decision.error_instead_of_forbidden)
        raise FederationRefusedError(403, "M_FORBIDDEN", "Your server is not in this room")


def _refusal(error: ErrorResponse | None) -> FederationRefusedError:
    assert error is not None, "a refusal comes with its error"
    return FederationRefusedError(error.http_status, error.errcode, error.error)

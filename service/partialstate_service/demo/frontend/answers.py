"""The bodies of answers about rooms, for requests that were decided to be answered."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from partialstate_service.demo.frontend.checking import json_body
from partialstate_service.demo.frontend.held_room import HeldRoom
from partialstate_service.demo.frontend.homeserver import Homeserver
from partialstate_service.demo.frontend.persisting import persist_event
from partialstate_service.demo.frontend.verification import verified_events
from partialstate_service.demo.resident.refusals import FederationRefusedError
from partialstate_service.demo.signed_room import auth_slots
from partialstate_service.domain.ids import EventId, InvalidIdError, parse_user_id, server_of
from partialstate_service.matrix.shared_state import SharedState

_JOIN_RULES = ("m.room.join_rules", "")


async def state_ids(room: HeldRoom, event_id: EventId) -> dict[str, Any]:
    """Return the body of `/state_ids`."""
    state = list(_state_before(room, event_id).values())
    return {"pdu_ids": state, "auth_chain_ids": sorted(room.auth_chain(state))}


async def state(room: HeldRoom, event_id: EventId) -> dict[str, Any]:
    """Return the body of `/state`."""
    event_ids = list(_state_before(room, event_id).values())
    return {"pdus": _raws(room, event_ids), "auth_chain": _raws(room, room.auth_chain(event_ids))}


async def event(homeserver: Homeserver, room: HeldRoom, event_id: EventId) -> dict[str, Any]:
    """Return the body of `/event`."""
    return {**_head(homeserver), "pdus": _raws(room, [event_id])}


async def event_auth(room: HeldRoom, event_id: EventId) -> dict[str, Any]:
    """Return the body of `/event_auth`."""
    return {"auth_chain": _raws(room, room.auth_chain([event_id]))}


async def backfill(homeserver: Homeserver, room: HeldRoom, shown: Iterable[EventId]) -> dict[str, Any]:
    """Return the body of `/backfill`, the latest events first."""
    return {**_head(homeserver), "pdus": _raws(room, shown)}


async def missing_events(room: HeldRoom, shown: list[EventId]) -> dict[str, Any]:
    """Return the body of `/get_missing_events`, the oldest events first."""
    return {"events": _raws(room, reversed(shown))}


async def make_join(homeserver: Homeserver, room: HeldRoom, request: web.Request) -> dict[str, Any]:
    """Return the body of `/make_join`. Only public rooms are joined through this frontend."""
    if room.version.version not in request.query.getall("ver", ["1"]):
        raise FederationRefusedError(
            400,
            "M_INCOMPATIBLE_ROOM_VERSION",
            "Your server does not support the version of this room",
            {"room_version": room.version.version},
        )
    try:
        user = parse_user_id(request.match_info["userId"])
    except InvalidIdError as error:
        raise FederationRefusedError(400, "M_INVALID_PARAM", str(error)) from error
    current = room.current_state()
    rules = current.get(_JOIN_RULES)
    if rules is None or room.events[rules].content.get("join_rule") != "public":
        raise FederationRefusedError(403, "M_FORBIDDEN", "The room is not public")
    join = {"membership": "join"}
    slots = auth_slots(user, "m.room.member", join, user, room.version)
    return {
        "room_version": room.version.version,
        "event": {
            "type": "m.room.member",
            "room_id": room.room_id,
            "sender": user,
            "state_key": user,
            "content": join,
            "origin": server_of(user),
            "origin_server_ts": homeserver.now_ms(),
            "depth": 1 + max(room.events[prev].depth for prev in room.extremities),
            "prev_events": list(room.extremities),
            "auth_events": [current[slot] for slot in slots if slot in current],
        },
    }


async def send_join(homeserver: Homeserver, room: HeldRoom, request: web.Request) -> dict[str, Any]:
    """Take a join and return the body of `/send_join` (v2), with all members."""
    raw = await json_body(request)
    joins = await verified_events(homeserver, [raw], room.version, room.room_id, also_ask=[])
    if not joins or joins[0].event_id != request.match_info["eventId"] or not _is_join(joins[0].raw):
        raise FederationRefusedError(400, "M_BAD_JSON", "Not a signed join with that id")
    (join,) = joins
    if not await persist_event(homeserver, room, join):
        raise FederationRefusedError(403, "M_FORBIDDEN", "The room's rules do not allow this join")
    before = list(_state_before(room, join.event_id).values())
    chain = room.auth_chain([join.event_id, *before])
    return {
        "origin": homeserver.name,
        "members_omitted": False,
        "state": _raws(room, before),
        "auth_chain": _raws(room, chain),
        "event": dict(join.raw),
    }


def _is_join(raw: Any) -> bool:
    is_own = raw.get("type") == "m.room.member" and raw.get("state_key") == raw.get("sender")
    return bool(is_own and raw["content"].get("membership") == "join")


def _state_before(room: HeldRoom, event_id: EventId) -> SharedState:
    """Return the full state before an event; it is asked for only in rooms that are full."""
    if not room.holds(event_id):
        raise FederationRefusedError(404, "M_NOT_FOUND", "The state at that event is not known here")
    return room.before[event_id]


def _head(homeserver: Homeserver) -> dict[str, Any]:
    return {"origin": homeserver.name, "origin_server_ts": homeserver.now_ms()}


def _raws(room: HeldRoom, event_ids: Iterable[EventId]) -> list[dict[str, Any]]:
    return [dict(room.events[event_id].raw) for event_id in event_ids]

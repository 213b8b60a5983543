"""The honest answers of a resident server, by endpoint (specification v1.19, server-server API)."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson

from partialstate_service.demo.resident.refusals import FederationRefusedError
from partialstate_service.demo.signed_room import SignedEvent, SignedRoom, UnknownEventError
from partialstate_service.demo.simulated_server import SimulatedServer
from partialstate_service.demo.world import World
from partialstate_service.domain.acl import parse_server_acl
from partialstate_service.domain.ids import EventId, ServerName, parse_user_id, server_of
from partialstate_service.matrix.signing import sign_event, sign_json

MAX_BACKFILL: Final = 100
MAX_MISSING_EVENTS: Final = 20
_ACL = ("m.room.server_acl", "")
_KEPT_BODIES: Final = 4


class ResidentAnswers:
    """What the servers of a world answer. Each holds the whole room, so they share these answers and what they cost."""

    def __init__(self, world: World) -> None:
        self._world = world
        # Who is in the room costs a walk through the state, so it is kept until the state is another one.
        self._members_of: object = None
        self._members: set[ServerName] = set()
        self._bodies: OrderedDict[tuple[str, EventId], bytes] = OrderedDict()

    @property
    def _room(self) -> SignedRoom:
        return self._world.room

    def state(self, event_id: str) -> bytes:
        """Return the body of `/state`: the events of the state before an event, and of its auth chain."""
        return self._kept("state", event_id, self._state_body)

    def state_ids(self, event_id: str) -> bytes:
        """Return the body of `/state_ids`."""
        return self._kept("state_ids", event_id, self._state_ids_body)

    def event(self, event_id: str) -> bytes:
        """Return the body of `/event`."""
        event = self._event(event_id)
        head = {"origin": self._world.creator.name, "origin_server_ts": self._world.now_ms}
        return orjson.dumps({**head, "pdus": [orjson.Fragment(event.json)]})

    def event_auth(self, event_id: str) -> bytes:
        """Return the body of `/event_auth`."""
        chain = self._room.auth_chain([self._event(event_id).event_id])
        return orjson.dumps({"auth_chain": self._fragments(chain)})

    def backfill(self, event_ids: Iterable[str], limit: int) -> bytes:
        """Return the body of `/backfill`: the given events and what came before them."""
        found: dict[EventId, None] = {}
        todo = [self._event(event_id) for event_id in event_ids]
        while todo and len(found) < min(limit, MAX_BACKFILL):
            latest = max(todo, key=lambda event: event.depth)
            todo = [event for event in todo if event is not latest]
            found[latest.event_id] = None
            todo.extend(
                event
                for prev in latest.prev_event_ids
                if (event := self._room.events[prev]) not in todo and prev not in found
            )
        return orjson.dumps({"pdus": self._fragments(found)})

    def missing_events(self, body: dict[str, Any]) -> bytes:
        """Return the body of `/get_missing_events`: from the latest events back to the earliest, oldest first."""
        earliest = set(body.get("earliest_events", ()))
        limit = min(int(body.get("limit", 10)), MAX_MISSING_EVENTS)
        found: dict[EventId, None] = {}
        todo = [
            prev
            for event_id in body.get("latest_events", ())
            for prev in self._event(event_id).prev_event_ids
        ]
        while todo and len(found) < limit:
            event_id = todo.pop(0)
            if event_id not in found and event_id not in earliest:
                found[event_id] = None
                todo.extend(self._room.events[event_id].prev_event_ids)
        return orjson.dumps({"events": self._fragments(reversed(found))})

    def make_join(self, user_id: str, versions: Iterable[str]) -> bytes:
        """Return the body of `/make_join`: the template of a join event."""
        version = str(self._room.version)
        if version not in versions:
            text = "Your server does not support the version of this room"
            raise FederationRefusedError(400, "M_INCOMPATIBLE_ROOM_VERSION", text, {"room_version": version})
        user = parse_user_id(user_id)
        join = {"membership": "join"}
        template = self._room.template(user, "m.room.member", join, user, self._world.tick())
        return orjson.dumps({"room_version": version, "event": {**template, "origin": server_of(user)}})

    def send_join(self, resident: SimulatedServer, join: dict[str, Any], *, omit_members: bool) -> bytes:
        """Take a join event into the room and return the body of `/send_join` (v2)."""
        signed = sign_event(join, self._room.version, resident.name, resident.key)
        try:
            event = self._room.put(signed)
        except UnknownEventError as error:
            raise FederationRefusedError(400, "M_BAD_JSON", str(error)) from None
        state = self._room.state_before(event.event_id)
        shown = [
            event_id
            for (kind, _), event_id in state.items()
            if not (omit_members and kind == "m.room.member")
        ]
        chain = self._room.auth_chain([event.event_id, *shown]) - set(shown)
        response: dict[str, Any] = {
            "origin": resident.name,
            "members_omitted": omit_members,
            "state": self._fragments(shown),
            "auth_chain": self._fragments(chain),
            "event": orjson.Fragment(event.json),
        }
        if omit_members:
            response["servers_in_room"] = sorted(self._room.servers(state))
        return orjson.dumps(response)

    def take(self, transaction: dict[str, Any]) -> bytes:
        """Take the events of a `/send` transaction into the room and return the answer's body."""
        results: dict[str, dict[str, str]] = {}
        for pdu in transaction.get("pdus", ()):
            try:
                results[self._room.put(pdu).event_id] = {}
            except UnknownEventError as error:
                results[error.event_id] = {"error": str(error)}
        return orjson.dumps({"pdus": results})

    def server_keys(self, server: SimulatedServer) -> bytes:
        """Return the body of `/key/v2/server`."""
        return orjson.dumps(server.published_keys(self._world.now_ms))

    def known_keys(self, notary: SimulatedServer, names: Iterable[str]) -> bytes:
        """Return the body of `/key/v2/query`: as a notary, the keys of the world's servers, dead or alive."""
        known = self._world.by_name
        wanted = [known[ServerName(name)] for name in names if name in known]
        keys = [
            sign_json(server.published_keys(self._world.now_ms), notary.name, notary.key) for server in wanted
        ]
        return orjson.dumps({"server_keys": keys})

    def require_in_room(self, room_id: str) -> None:
        """Refuse a room other than the world's."""
        if room_id != self._room.room_id:
            raise FederationRefusedError(404, "M_NOT_FOUND", "This server is not in that room")

    def require_member(self, origin: ServerName) -> None:
        """Refuse a server that has no member in the room."""
        state = self._room.current_state()
        if state is not self._members_of:
            self._members_of, self._members = state, self._room.servers(state)
        if origin not in self._members:
            raise FederationRefusedError(403, "M_FORBIDDEN", "Your server is not in this room")

    def require_allowed(self, origin: ServerName) -> None:
        """Refuse a server that the room's server ACL denies."""
        acl_id = self._room.current_state().get(_ACL)
        if acl_id and parse_server_acl(self._room.event(acl_id).raw["content"]).denies(origin):
            raise FederationRefusedError(403, "M_FORBIDDEN", "Your server is denied by the room's ACL")

    def _state_body(self, event_id: EventId) -> bytes:
        state = self._room.state_before(event_id).to_dict().values()
        chain = self._room.auth_chain(state)
        return orjson.dumps({"pdus": self._fragments(state), "auth_chain": self._fragments(chain)})

    def _state_ids_body(self, event_id: EventId) -> bytes:
        state = list(self._room.state_before(event_id).to_dict().values())
        return orjson.dumps({"pdu_ids": state, "auth_chain_ids": sorted(self._room.auth_chain(state))})

    def _kept(self, kind: str, event_id: str, make: Callable[[EventId], bytes]) -> bytes:
        """Return a big body, made anew only when it was not asked for lately."""
        event = self._event(event_id)
        body = self._bodies.pop((kind, event.event_id), None) or make(event.event_id)
        self._bodies[kind, event.event_id] = body
        if len(self._bodies) > _KEPT_BODIES:
            self._bodies.popitem(last=False)
        return body

    def _event(self, event_id: str) -> SignedEvent:
        try:
            return self._room.event(event_id)
        except UnknownEventError as error:
            raise FederationRefusedError(404, "M_NOT_FOUND", str(error)) from None

    def _fragments(self, event_ids: Iterable[EventId]) -> list[orjson.Fragment]:
        return [orjson.Fragment(self._room.events[event_id].json) for event_id in event_ids]

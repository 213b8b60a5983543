"""Events of a world's room elsewhere than at its end, and lies about what is in the room's state."""

from typing import Any

from partialstate_service.demo.signed_room import SignedEvent
from partialstate_service.demo.simulated_server import SimulatedServer
from partialstate_service.demo.world import World
from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.hashes import event_id_of
from partialstate_service.matrix.signing import sign_event


def say_after(world: World, server: SimulatedServer, *prevs: EventId) -> SignedEvent:
    """Let the first user of *server* say something that follows *prevs*, and put it into the room."""
    place = world.servers.index(server)
    content = {"msgtype": "m.text", "body": f"After {len(prevs)}"}
    raw = world.room.template(server.user(f"u{place}"), "m.room.message", content, None, world.tick())
    raw["prev_events"] = list(prevs)
    raw["depth"] = 1 + max(world.room.event(prev).depth for prev in prevs)
    return world.room.put(sign_event(raw, world.room.version, server.name, server.key))


class LeavesOut:
    """A lie: leaves the *count* latest members out of the state; what remains is consistent, and wrong."""

    def __init__(self, world: World, count: int) -> None:
        members = [event for event in world.room.events.values() if event.membership == "join"][-count:]
        self._ids = {event.event_id for event in members}
        self._users = {event.state_key for event in members}

    def __call__(self, body: dict[str, Any]) -> None:
        """Change *body*, of `/state` or `/state_ids`."""
        if "pdus" in body:
            body["pdus"] = [
                event
                for event in body["pdus"]
                if not (event["type"] == "m.room.member" and event["state_key"] in self._users)
            ]
        if "pdu_ids" in body:
            body["pdu_ids"] = [event_id for event_id in body["pdu_ids"] if event_id not in self._ids]


class Adds:
    """A lie: adds an event to the state that its author signed and that the room does not have."""

    def __init__(
        self, world: World, author: SimulatedServer, sender: str, kind: str, state_key: str, **content: Any
    ) -> None:
        raw = world.room.template(author.user(sender), kind, content, state_key, world.tick())
        self.raw = sign_event(raw, world.room.version, author.name, author.key)
        self.event_id = event_id_of(self.raw, world.room.version)

    def __call__(self, body: dict[str, Any]) -> None:
        """Change *body*, of `/state` or `/state_ids`."""
        if "pdus" in body:
            body["pdus"].append(self.raw)
        if "pdu_ids" in body:
            body["pdu_ids"].append(self.event_id)

"""Changes to honest answers of `/state`, `/state_ids` and `/event`, for `Lying`.

Each works on both forms of the state: events (`pdus`, `auth_chain`) and ids (`pdu_ids`, `auth_chain_ids`).
"""

from typing import Any

from partialstate_service.demo.signed_room import SignedRoom
from partialstate_service.domain.ids import EventId

_LISTS = ("pdus", "pdu_ids", "auth_chain", "auth_chain_ids")
FOREIGN_ROOM = "!elsewhere:127.10.0.1:1"


def says_nothing(body: dict[str, Any]) -> None:
    """Leave `{}`."""
    body.clear()


def names_wrong_room(body: dict[str, Any]) -> None:
    """Put every event into another room."""
    for event in body.get("pdus", ()):
        event["room_id"] = FOREIGN_ROOM


def breaks_signatures(body: dict[str, Any]) -> None:
    """Let every signature be one of other bytes."""
    for event in body.get("pdus", ()):
        for by_server in event.get("signatures", {}).values():
            for key_id in by_server:
                by_server[key_id] = "A" * 86


def changes_content(body: dict[str, Any]) -> None:
    """Change what members are called: the content hashes no longer match, ids and signatures still do."""
    for event in body.get("pdus", ()):
        if "displayname" in event["content"]:
            event["content"]["displayname"] = "Somebody else"


def changes_membership(body: dict[str, Any]) -> None:
    """Turn every join into a ban: the ids are other ones then, and no signature fits."""
    for event in body.get("pdus", ()):
        if event["content"].get("membership") == "join":
            event["content"]["membership"] = "ban"


def repeats_events(body: dict[str, Any]) -> None:
    """Name the last event of the state twice."""
    for name in ("pdus", "pdu_ids"):
        if name in body:
            body[name].append(body[name][-1])


def omits_auth_chain(body: dict[str, Any]) -> None:
    """Send no auth events, and none of the events that are both state and needed for auth."""
    for name in ("auth_chain", "auth_chain_ids"):
        if name in body:
            body[name] = []


def sends_garbage(body: dict[str, Any]) -> None:
    """Let the lists hold what are no events and no ids."""
    for name in _LISTS:
        if name in body:
            body[name] = [None, 7, "", [], {}]


class OmitsMembers:
    """Leaves the last *count* entries out of the state: what remains is consistent, and wrong."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, body: dict[str, Any]) -> None:
        """Change *body*."""
        for name in ("pdus", "pdu_ids"):
            if name in body:
                del body[name][-self._count :]


class AddsToState:
    """Adds an event of the room to the state, be it no state event at all or an old one."""

    def __init__(self, room: SignedRoom, event_id: EventId) -> None:
        self._event = room.event(event_id)

    def __call__(self, body: dict[str, Any]) -> None:
        """Change *body*."""
        if "pdus" in body:
            body["pdus"].append(self._event.raw)
        if "pdu_ids" in body:
            body["pdu_ids"].append(self._event.event_id)

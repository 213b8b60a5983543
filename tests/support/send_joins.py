"""Partial joins for tests of the registration: a room, our user's join, and the response of a resident server."""

import json
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from partialstate_service.domain.ids import RoomId, ServerName
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.room_versions import room_version
from partialstate_service.ownership.send_join import JoinHeader
from support.rooms import RoomBuilder

US = ServerName("us.example")
USER = "@alice:us.example"
RESIDENT = ServerName("a.example")

_names = count(1)


@dataclass
class SentJoin:
    """A join, and what came back; change `response` or the other fields before they are used."""

    room: RoomBuilder
    join: Event
    response: dict[str, Any]
    joined_via: ServerName = RESIDENT
    omit_members_requested: bool = True
    version: str = field(init=False)

    def __post_init__(self) -> None:
        self.version = self.room.version.version

    @property
    def room_id(self) -> RoomId:
        return self.room.room_id

    @property
    def join_event(self) -> bytes:
        return json.dumps(self.join.raw).encode()

    @property
    def body(self) -> bytes:
        return json.dumps(self.response).encode()

    @property
    def header(self) -> JoinHeader:
        return JoinHeader(
            room_id=self.room_id,
            version=room_version(self.version),
            join_event=self.join_event,
            joined_via=self.joined_via,
            omit_members_requested=self.omit_members_requested,
        )


def sent_join(
    version: str = "11", *, acl: dict[str, Any] | None = None, visibility: str | None = None, name: str = ""
) -> SentJoin:
    """Return the join of our user to a new public room of 3 remote users, with the events that checks look at."""
    room = RoomBuilder(version, room_name=name or f"joined{next(_names)}")
    room.join("@bob:b.example")
    room.join("@carol:c.example")
    if acl is not None:
        room.send("m.room.server_acl", room.creator, acl, "")
    if visibility is not None:
        room.send("m.room.history_visibility", room.creator, {"history_visibility": visibility}, "")
    before = dict(room.state)
    join = room.join(USER)
    state = [room.events[event_id] for (kind, _), event_id in before.items() if kind != "m.room.member"]
    held = {event.event_id for event in state}
    chain = [
        event
        for event in room.events.values()
        if event.type == "m.room.member" and event.sender == room.creator and event.event_id not in held
    ]
    response = {
        "origin": RESIDENT,
        "event": dict(join.raw),
        "members_omitted": True,
        "servers_in_room": ["a.example", "b.example", "c.example"],
        "state": [dict(event.raw) for event in state],
        "auth_chain": [dict(event.raw) for event in chain],
    }
    return SentJoin(room, join, response)

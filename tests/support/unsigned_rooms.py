"""Rooms without hashes and signatures: what event auth, state resolution and replay look at, and nothing else.

Event ids are words, so that a test reads like the picture of its DAG.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from partialstate_service.domain.ids import EventId, RoomId, UserId
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.event_auth import auth_state_keys
from partialstate_service.matrix.room_versions import room_version

ALICE = "@alice:a.example"
BOB = "@bob:b.example"
CHARLIE = "@charlie:c.example"
DEREK = "@derek:d.example"
ELSIE = "@elsie:e.example"


class UnsignedRoom:
    """Events of one room, linked by names; `events` holds all that were made."""

    def __init__(self, version: str = "11") -> None:
        self.version = room_version(version)
        self.events: dict[EventId, Event] = {}
        self.room_id = RoomId("!create" if self.version.room_ids_as_hashes else "!room:a.example")
        # The state that an event finds its auth events in, unless it is told them.
        self.state: dict[StateKey, EventId] = {}
        self._clock = 0

    def event(
        self,
        name: str,
        event_type: str,
        sender: str,
        content: dict[str, Any] | None = None,
        *,
        state_key: str | None = None,
        prev: Sequence[str] = (),
        auth: Iterable[str] | None = None,
        ts: int | None = None,
        enter: bool = True,
    ) -> Event:
        """Make the event `$name`. Without *auth* its auth events come from `state`, which it enters unless told not to."""
        self._clock += 1
        prev_ids = tuple(EventId("$" + p) for p in prev)
        depths = [self.events[p].depth for p in prev_ids if p in self.events]
        event = Event(
            event_id=EventId("$" + name),
            room_id=self.room_id,
            type=event_type,
            state_key=state_key,
            sender=UserId(sender),
            depth=max(depths, default=0) + 1,
            origin_server_ts=self._clock if ts is None else ts,
            prev_event_ids=prev_ids,
            auth_event_ids=tuple(EventId("$" + a) for a in auth) if auth is not None else (),
            content=content or {},
            raw={},
            room_version=self.version,
        )
        if auth is None:
            keys = auth_state_keys(event)
            if self.version.room_ids_as_hashes:
                keys = tuple(key for key in keys if key[0] != "m.room.create")
            found = tuple(self.state[key] for key in keys if key in self.state)
            event = replace(event, auth_event_ids=found)
        self.events[event.event_id] = event
        if enter and event.state_key is not None:
            self.state[(event.type, event.state_key)] = event.event_id
        return event

    def create(self, sender: str = ALICE) -> Event:
        """Make `$create`."""
        content = {"room_version": self.version.version, "creator": sender}
        return self.event("create", "m.room.create", sender, content, state_key="")

    def member(self, name: str, user: str, membership: str, *, by: str | None = None, **rest: Any) -> Event:
        """Make a membership event of *user*, sent by themselves or *by* another."""
        return self.event(
            name, "m.room.member", by or user, {"membership": membership}, state_key=user, **rest
        )

    def power(self, name: str, sender: str, users: dict[str, int], **rest: Any) -> Event:
        """Make a power levels event."""
        return self.event(name, "m.room.power_levels", sender, {"users": users}, state_key="", **rest)

    def join_rules(self, name: str, sender: str, rule: str, **rest: Any) -> Event:
        """Make a join rules event."""
        return self.event(name, "m.room.join_rules", sender, {"join_rule": rule}, state_key="", **rest)

    def begin(self, *joined: str, power: dict[str, int] | None = None) -> list[Event]:
        """Make `$create`, the creator's `$join0`, `$power`, `$rules` (public) and joins `$join1`… of *joined*."""
        users = {} if self.version.privileged_creators else {ALICE: 100}
        made = [
            self.create(),
            self.member("join0", ALICE, "join", prev=["create"]),
            self.power("power", ALICE, {**users, **(power or {})}, prev=["join0"]),
            self.join_rules("rules", ALICE, "public", prev=["power"]),
        ]
        last = "rules"
        for number, user in enumerate(joined, start=1):
            made.append(self.member(f"join{number}", user, "join", prev=[last]))
            last = f"join{number}"
        return made

"""Rooms for tests: a builder that makes well-formed events, signed or not, of any room version.

    room = RoomBuilder("11")                 # create, the creator's join, power levels, join rules
    room.join("@bob:b.example")
    fork = room.fork()                       # same events and state so far, a head of its own
    fork.ban("@bob:b.example")
    room.message("@bob:b.example")
    merge = room.send("m.room.topic", room.creator, {}, "", prev=[room.head, fork.head], state=resolved)

The builder checks nothing: an event that the rules reject is built, and becomes the current state, like any other.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import count
from typing import Any

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.matrix.ed25519 import SigningKey, signing_key_from_seed
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.event_auth import auth_state_keys
from partialstate_service.matrix.hashes import content_hash
from partialstate_service.matrix.parsing import parse_event
from partialstate_service.matrix.room_versions import EventIdFormat, room_version
from partialstate_service.matrix.signing import sign_event
from unpaddedbase64 import encode_base64

FIRST_TS = 1_700_000_000_000
CREATOR = "@creator:a.example"


def server_signing_key(server: str) -> SigningKey:
    """Return the key with which *server* signs in tests, the same in every run."""
    return signing_key_from_seed("test", sha256(server.encode()).digest())


def domain(identifier: str) -> str:
    """Return what follows the first colon."""
    return identifier.partition(":")[2]


class RoomBuilder:
    """A room that grows event by event from one head; `events` is shared between the forks of a room."""

    def __init__(
        self,
        version: str = "10",
        *,
        creator: str = CREATOR,
        signed: bool = False,
        bare: bool = False,
        join_rule: str = "public",
        create_content: Mapping[str, Any] | None = None,
        room_name: str = "room",
        first_number: int = 0,
    ) -> None:
        """Make the room's first events, or with *bare* none of them.

        Events are numbered from *first_number*; in versions 1 and 2 that tells the events of two rooms apart.
        """
        self.version = room_version(version)
        self.creator = creator
        self.signed = signed
        self.room_name = room_name
        self.events: dict[EventId, Event] = {}
        self.state: dict[StateKey, EventId] = {}
        self.head: EventId | None = None
        self.room_id = RoomId(f"!{room_name}:{domain(creator)}")
        self._numbers = count(first_number)
        if bare:
            return
        self.create(create_content)
        self.join(creator)
        self.power_levels({} if self.version.privileged_creators else {creator: 100})
        self.join_rules(join_rule)

    def fork(self) -> "RoomBuilder":
        """Return a builder of the same room that goes on from here by itself."""
        fork = RoomBuilder(
            self.version.version,
            creator=self.creator,
            signed=self.signed,
            bare=True,
            room_name=self.room_name,
        )
        fork.room_id, fork.head, fork.state = self.room_id, self.head, dict(self.state)
        fork.events, fork._numbers = self.events, self._numbers
        return fork

    # Events by what they are for.

    def create(self, content: Mapping[str, Any] | None = None) -> Event:
        """Send the create event; from version 12 it also names the room."""
        content = {"room_version": self.version.version, **(content or {})}
        if not self.version.implicit_room_creator:
            content.setdefault("creator", self.creator)
        event = self.send("m.room.create", self.creator, content, "", prev=[])
        self.room_id = event.room_id
        return event

    def member(self, sender: str, target: str, membership: str, **content: Any) -> Event:
        """Set the membership of *target*."""
        return self.send("m.room.member", sender, {"membership": membership, **content}, target)

    def join(self, user: str, **content: Any) -> Event:
        """Let *user* join."""
        return self.member(user, user, "join", **content)

    def leave(self, user: str) -> Event:
        """Let *user* leave."""
        return self.member(user, user, "leave")

    def invite(self, target: str, sender: str | None = None) -> Event:
        """Invite *target*."""
        return self.member(sender or self.creator, target, "invite")

    def kick(self, target: str, sender: str | None = None) -> Event:
        """Kick *target*, or lift a ban."""
        return self.member(sender or self.creator, target, "leave")

    def ban(self, target: str, sender: str | None = None) -> Event:
        """Ban *target*."""
        return self.member(sender or self.creator, target, "ban")

    def power_levels(self, users: Mapping[str, Any], sender: str | None = None, **levels: Any) -> Event:
        """Set the power levels of *users*, and single levels or maps by name."""
        content = {"users": dict(users), **levels}
        return self.send("m.room.power_levels", sender or self.creator, content, "")

    def join_rules(self, join_rule: str, sender: str | None = None) -> Event:
        """Set the join rule."""
        return self.send("m.room.join_rules", sender or self.creator, {"join_rule": join_rule}, "")

    def message(self, sender: str, body: str = "hello") -> Event:
        """Send a message."""
        return self.send("m.room.message", sender, {"msgtype": "m.text", "body": body})

    # Any event.

    def send(
        self,
        kind: str,
        sender: str,
        content: Mapping[str, Any],
        state_key: str | None = None,
        *,
        prev: Sequence[EventId] | None = None,
        auth: Sequence[EventId] | None = None,
        state: Mapping[StateKey, EventId] | None = None,
        ts: int | None = None,
        **fields: Any,
    ) -> Event:
        """Build an event after *prev* (default: the head), make it the head and part of the state.

        *state* is the state before it (default: this builder's), from which the auth events are selected unless
        *auth* names them. *fields* replace top-level fields; one that is None is left out.
        """
        if state is not None:
            self.state = dict(state)
        event = self.build(kind, sender, content, state_key, prev=prev, auth=auth, ts=ts, **fields)
        self.add(event)
        return event

    def build(
        self,
        kind: str,
        sender: str,
        content: Mapping[str, Any],
        state_key: str | None = None,
        *,
        prev: Sequence[EventId] | None = None,
        auth: Sequence[EventId] | None = None,
        ts: int | None = None,
        **fields: Any,
    ) -> Event:
        """Return an event as `send` would, without adding it to the room."""
        number = next(self._numbers)
        if prev is None:
            prev = [] if self.head is None else [self.head]
        raw: dict[str, Any] = {
            "type": kind,
            "room_id": self.room_id,
            "sender": sender,
            "content": dict(content),
            "depth": 1
            + max((self.events[event_id].depth for event_id in prev if event_id in self.events), default=0),
            "origin_server_ts": FIRST_TS + 1000 * number if ts is None else ts,
            "prev_events": self._references(prev),
            "auth_events": [],
        }
        if state_key is not None:
            raw["state_key"] = state_key
        if self.version.event_ids is EventIdFormat.GIVEN:
            raw["event_id"] = f"${self.room_name}-{number}:{domain(sender)}"
        if self.version.room_ids_as_hashes and kind == "m.room.create":
            del raw["room_id"]
        raw.update(fields)
        raw = {name: value for name, value in raw.items() if value is not None}
        if auth is None:
            auth = self.auth_event_ids(self._finished(raw))
        raw["auth_events"] = self._references(auth)
        return self._finished(raw)

    def add(self, event: Event) -> None:
        """Make *event* the head of the room and part of its state."""
        self.events[event.event_id] = event
        self.head = event.event_id
        if event.state_key is not None:
            self.state[event.type, event.state_key] = event.event_id

    def auth_event_ids(self, event: Event) -> tuple[EventId, ...]:
        """Return the auth events that the current state has for *event*."""
        implied = self.version.room_ids_as_hashes
        keys = (key for key in auth_state_keys(event) if not (implied and key == ("m.room.create", "")))
        return tuple(self.state[key] for key in keys if key in self.state)

    # What tests look at.

    @property
    def full_state(self) -> dict[StateKey, Event]:
        """The current state with its events."""
        return {key: self.events[event_id] for key, event_id in self.state.items()}

    def current(self, kind: str, state_key: str = "") -> Event:
        """Return the current event of one slot of the state."""
        return self.events[self.state[kind, state_key]]

    def auth_events(self, event: Event) -> list[Event]:
        """Return the auth events that *event* claims."""
        return [self.events[event_id] for event_id in event.auth_event_ids]

    def auth_chain(self, event_ids: Iterable[EventId]) -> set[EventId]:
        """Return the auth events of *event_ids*, theirs, and so on; from version 12 with the create event."""
        chain: set[EventId] = set()
        waiting = [auth_id for event_id in event_ids for auth_id in self.events[event_id].auth_event_ids]
        while waiting:
            if (event_id := waiting.pop()) not in chain:
                chain.add(event_id)
                waiting.extend(self.events[event_id].auth_event_ids)
        if self.version.room_ids_as_hashes:
            chain.add(self.state["m.room.create", ""])
        return chain

    def _references(self, event_ids: Iterable[EventId]) -> list[Any]:
        if self.version.event_ids is EventIdFormat.GIVEN:
            return [
                [event_id, {"sha256": encode_base64(sha256(event_id.encode()).digest())}]
                for event_id in event_ids
            ]
        return list(event_ids)

    def _finished(self, raw: Mapping[str, Any]) -> Event:
        if self.signed:
            server = ServerName(domain(raw["sender"]))
            complete = sign_event(raw, self.version, server, server_signing_key(server))
            voucher = raw["content"].get("join_authorised_via_users_server")
            if isinstance(voucher, str) and domain(voucher) != server:
                voucher_server = ServerName(domain(voucher))
                complete = sign_event(
                    complete, self.version, voucher_server, server_signing_key(voucher_server)
                )
        else:
            digest = encode_base64(content_hash(raw, self.version))
            complete = {**raw, "hashes": {"sha256": digest}, "signatures": {}}
        return parse_event(complete, self.version)

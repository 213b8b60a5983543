"""A room of properly signed events, as every server of the simulated federation holds it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from unpaddedbase64 import encode_base64

from partialstate_service.demo.simulated_server import SimulatedServer
from partialstate_service.domain.ids import EventId, RoomId, ServerName, UserId, server_of
from partialstate_service.matrix.event import Event, JsonObject, StateKey, StateMap
from partialstate_service.matrix.hashes import event_id_of, reference_hash
from partialstate_service.matrix.parsing import parse_event
from partialstate_service.matrix.room_versions import EventIdFormat, RoomVersion
from partialstate_service.matrix.shared_state import SharedState
from partialstate_service.matrix.signing import sign_event
from partialstate_service.matrix.state_res import resolve

CREATE: StateKey = ("m.room.create", "")
POWER_LEVELS: StateKey = ("m.room.power_levels", "")
JOIN_RULES: StateKey = ("m.room.join_rules", "")


class UnknownEventError(LookupError):
    """The room has no such event."""

    def __init__(self, event_id: str) -> None:
        self.event_id = event_id
        super().__init__(f"no event {event_id!a}")


@dataclass(frozen=True, slots=True, eq=False)
class SignedEvent:
    """One event: its JSON as servers send it, and the parts by which the room is walked."""

    event_id: EventId
    type: str
    state_key: str | None
    sender: UserId
    membership: str | None
    depth: int
    prev_event_ids: tuple[EventId, ...]
    auth_event_ids: tuple[EventId, ...]
    json: bytes

    @property
    def raw(self) -> dict[str, Any]:
        """The event's JSON object, a new one each time."""
        event: dict[str, Any] = orjson.loads(self.json)
        return event


class SignedRoom:
    """The room's event graph with the state after each event. Not a judge: what is put in is taken as accepted."""

    def __init__(self, version: RoomVersion, room_id: RoomId) -> None:
        """Make an empty room; where the id follows from the create event, *room_id* is replaced by that."""
        self.version = version
        self.room_id = room_id
        self.events: dict[EventId, SignedEvent] = {}
        self._after: dict[EventId, SharedState] = {}
        self._extremities: dict[EventId, None] = {}

    @property
    def extremities(self) -> tuple[EventId, ...]:
        """The events that no other event of the room names as its prev event."""
        return tuple(self._extremities)

    def event(self, event_id: str) -> SignedEvent:
        """Return one event, or raise `UnknownEventError`."""
        try:
            return self.events[EventId(event_id)]
        except KeyError:
            raise UnknownEventError(event_id) from None

    def state_before(self, event_id: str) -> SharedState:
        """Return the state before an event, or raise `UnknownEventError`."""
        return self._state_after_all(self.event(event_id).prev_event_ids)

    def state_after(self, event_id: str) -> SharedState:
        """Return the state after an event, or raise `UnknownEventError`."""
        return self._after[self.event(event_id).event_id]

    def current_state(self) -> SharedState:
        """Return the resolution of the states after the forward extremities."""
        return self._state_after_all(self.extremities)

    def servers(self, state: StateMap) -> set[ServerName]:
        """Return the servers with a joined member in *state*."""
        return {
            server_of(UserId(state_key))
            for (kind, state_key), event_id in state.items()
            if kind == "m.room.member" and self.events[event_id].membership == "join"
        }

    def auth_chain(self, event_ids: Iterable[EventId]) -> set[EventId]:
        """Return the auth events of the given events, theirs, and so on; the given ones only where others need them."""
        chain: set[EventId] = set()
        todo = [auth for event_id in event_ids for auth in self.events[event_id].auth_event_ids]
        while todo:
            event_id = todo.pop()
            if event_id not in chain:
                chain.add(event_id)
                todo.extend(self.events[event_id].auth_event_ids)
        return chain

    def template(
        self, sender: UserId, event_type: str, content: JsonObject, state_key: str | None, now_ms: int
    ) -> dict[str, Any]:
        """Return an event at the room's end, not yet hashed and signed."""
        state = self.current_state()
        slots = auth_slots(sender, event_type, content, state_key, self.version)
        is_create = (event_type, state_key) == CREATE
        raw: dict[str, Any] = {
            "type": event_type,
            "sender": sender,
            "content": content,
            "origin_server_ts": now_ms,
            "depth": 1 + max((self.events[prev].depth for prev in self._extremities), default=0),
            "prev_events": self._references(self.extremities),
            "auth_events": self._references(state[slot] for slot in slots if slot in state),
        }
        if not (is_create and self.version.room_ids_as_hashes):
            raw["room_id"] = self.room_id
        if state_key is not None:
            raw["state_key"] = state_key
        return raw

    def say(
        self,
        author: SimulatedServer,
        sender: UserId,
        event_type: str,
        content: JsonObject,
        state_key: str | None = None,
        *,
        now_ms: int,
    ) -> SignedEvent:
        """Make an event at the room's end, sign it as *author*, and put it into the room."""
        raw = self.template(sender, event_type, content, state_key, now_ms)
        if self.version.event_ids is EventIdFormat.GIVEN:
            raw["event_id"] = f"${len(self.events)}:{author.name}"
        signed = sign_event(raw, self.version, author.name, author.key)
        if (event_type, state_key) == CREATE and self.version.room_ids_as_hashes:
            self.room_id = RoomId("!" + event_id_of(signed, self.version)[1:])
        return self.put(signed)

    def put(self, raw: JsonObject) -> SignedEvent:
        """Put a signed event into the room; putting it again changes nothing.

        Raises `UnknownEventError` where a prev or auth event is not in the room.
        """
        event = _signed_event(raw, self.version)
        if event.event_id in self.events:
            return self.events[event.event_id]
        for needed in (*event.prev_event_ids, *event.auth_event_ids):
            self.event(needed)
        state = self._state_after_all(event.prev_event_ids)
        if event.state_key is not None:
            state = state.with_changes({(event.type, event.state_key): event.event_id})
        self.events[event.event_id] = event
        self._after[event.event_id] = state
        for prev in event.prev_event_ids:
            self._extremities.pop(prev, None)
        self._extremities[event.event_id] = None
        return event

    def _state_after_all(self, event_ids: tuple[EventId, ...]) -> SharedState:
        states = [self._after[self.event(event_id).event_id] for event_id in event_ids]
        if len(states) <= 1:
            return states[0] if states else SharedState()
        return SharedState.of(resolve(self.version, states, _ParsedEvents(self)))

    def _references(self, event_ids: Iterable[EventId]) -> list[Any]:
        if self.version.event_ids is not EventIdFormat.GIVEN:
            return list(event_ids)
        return [
            [event_id, {"sha256": encode_base64(reference_hash(self.events[event_id].raw, self.version))}]
            for event_id in event_ids
        ]


def auth_slots(
    sender: UserId, event_type: str, content: JsonObject, state_key: str | None, version: RoomVersion
) -> tuple[StateKey, ...]:
    """Return the slots of the state that a new event's auth events are taken from (restricted joins aside)."""
    if (event_type, state_key) == CREATE:
        return ()
    slots = [POWER_LEVELS, ("m.room.member", sender)]
    if not version.room_ids_as_hashes:  # there the room's id says which create event it is
        slots.insert(0, CREATE)
    if event_type == "m.room.member" and state_key is not None:
        slots.append(("m.room.member", state_key))
        if content.get("membership") in {"join", "invite", "knock"}:
            slots.append(JOIN_RULES)
    return tuple(dict.fromkeys(slots))


def _signed_event(raw: JsonObject, version: RoomVersion) -> SignedEvent:
    content = raw["content"]
    return SignedEvent(
        event_id=event_id_of(raw, version),
        type=raw["type"],
        state_key=raw.get("state_key"),
        sender=UserId(raw["sender"]),
        membership=content.get("membership") if raw["type"] == "m.room.member" else None,
        depth=raw["depth"],
        prev_event_ids=tuple(_ids(raw["prev_events"])),
        auth_event_ids=tuple(_ids(raw["auth_events"])),
        json=orjson.dumps(raw),
    )


def _ids(references: Iterable[Any]) -> Iterator[EventId]:
    """Yield the ids of a list of references, which in room versions 1 and 2 are pairs of an id and hashes."""
    for reference in references:
        yield EventId(reference if isinstance(reference, str) else reference[0])


class _ParsedEvents(Mapping[EventId, Event]):
    """The room's events as state resolution wants them, parsed when they are asked for."""

    def __init__(self, room: SignedRoom) -> None:
        self._room = room
        self._parsed: dict[EventId, Event] = {}

    def __getitem__(self, event_id: EventId) -> Event:
        if event_id not in self._parsed:
            self._parsed[event_id] = parse_event(self._room.events[event_id].raw, self._room.version)
        return self._parsed[event_id]

    def __iter__(self) -> Iterator[EventId]:
        return iter(self._room.events)

    def __len__(self) -> int:
        return len(self._room.events)

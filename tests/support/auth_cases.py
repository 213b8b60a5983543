"""The cases of event authorisation: data in `tests/cases/event_auth/*.json`, built into rooms.

A case says in which room versions (`versions`, default all) which rule rejects `event` (`rule`: a name of
`AuthRule`, or null where the event is allowed):

* `base`: `{"bare": true}` for a room without events, `{"create": {…}}` for content of the create event; the default
  room has a create event, the creator's join, power levels of 100 for the creator and the join rule public.
* `state`: what happens before; `["join", USER]` and the like, `["levels", CONTENT]`, `["join_rule", RULE]`,
  `["create", CONTENT]` or `["state", TYPE, STATE_KEY, SENDER, CONTENT]`.
* `without`, `foreign_state`: event types whose state, under the empty state key, is taken away before the check, or
  replaced by that of another room.
* `event`: type, sender, content, state_key; `prev` of "create", "head" (default) or "create and head"; `fields` to
  replace other fields; `unparsed_raw` for what parsing would not let through. A content field
  `{"absent": true}` is left out where the builder would add it.
* `check`: "auth" (default) or "auth_events": the list of auth events, by default the selected ones; then
  `auth_events`, `rejected` and `foreign_auth_events` name state as TYPE or `[TYPE, STATE_KEY]`, or "message".
* `deviation`: the section of DEVIATIONS.md that the case proves.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.event_auth import AuthRejectionError, AuthRule, check_auth, check_auth_events
from partialstate_service.matrix.room_versions import ROOM_VERSIONS
from support.rooms import RoomBuilder

CASES = Path(__file__).parent.parent / "cases" / "event_auth"
_ABSENT = {"absent": True}


@dataclass(frozen=True)
class AuthCase:
    """One row of the data, for one room version."""

    topic: str
    version: str
    row: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.topic}-v{self.version}-{self.row['name']}"

    @property
    def expected(self) -> AuthRule | None:
        """The rule that rejects the event; None where it is allowed."""
        return None if self.row["rule"] is None else AuthRule[self.row["rule"]]

    def outcome(self) -> AuthRule | None:
        """Check the event, and return the rule that rejects it."""
        try:
            built_check(self)()
        except AuthRejectionError as rejection:
            return rejection.rule
        return None


@cache
def auth_cases() -> tuple[AuthCase, ...]:
    """Return every case in every room version that it holds for."""
    return tuple(
        AuthCase(path.stem, version, row)
        for path in sorted(CASES.glob("*.json"))
        for row in json.loads(path.read_text())
        for version in _versions(row.get("versions", "1-12"))
    )


@cache
def _rooms(version: str, base: str) -> RoomBuilder:
    options = json.loads(base)
    return RoomBuilder(
        version,
        bare=options.get("bare", False),
        create_content=options.get("create"),
        room_name=options.get("room_name", "room"),
    )


_checks: dict[str, Callable[[], None]] = {}


def built_check(case: AuthCase) -> Callable[[], None]:
    """Return the check of the case as a function that may be called again and again; the room is built once."""
    if (check := _checks.get(str(case))) is None:
        check = _checks[str(case)] = _build(case)
    return check


def _build(case: AuthCase) -> Callable[[], None]:
    room, event = case_room(case)
    if case.row.get("check") == "auth_events":
        auth_events = room.auth_events(event)
        rejected = {_named(name, room).event_id for name in case.row.get("rejected", [])}
        return lambda: check_auth_events(event, auth_events, rejected)
    state = case_state(case, room)
    return lambda: check_auth(event, state)


def case_room(case: AuthCase) -> tuple[RoomBuilder, Event]:
    """Return the room of the case as it is before the event, and the event; `events` has its auth events."""
    room = _rooms(case.version, json.dumps(case.row.get("base", {}))).fork()
    room.events = dict(room.events)
    for step in case.row.get("state", []):
        _take(step, room)
    event = _event(case.row["event"], room)
    if (auth := _claimed(case, room, event)) is not None:
        event = _event(case.row["event"], room, auth)
    return room, event


def _claimed(case: AuthCase, room: RoomBuilder, event: Event) -> list[EventId] | None:
    names, foreign_names = case.row.get("auth_events"), case.row.get("foreign_auth_events", [])
    if names is None and not foreign_names:
        return None
    named = room.auth_events(event) if names is None else [_named(name, room) for name in names]
    foreign = [_named(name, _foreign(case.version)) for name in foreign_names]
    room.events |= {auth_event.event_id: auth_event for auth_event in [*named, *foreign]}
    return [auth_event.event_id for auth_event in [*named, *foreign]]


def case_state(case: AuthCase, room: RoomBuilder) -> dict[StateKey, Event]:
    """Return the state that the event is checked against."""
    state = room.full_state
    for kind in case.row.get("without", []):
        del state[kind, ""]
    for kind in case.row.get("foreign_state", []):
        state[kind, ""] = _foreign(case.version).current(kind)
    return state


def _versions(span: str) -> Iterator[str]:
    first, _, last = span.partition("-")
    return (version for version in ROOM_VERSIONS if int(first) <= int(version) <= int(last or first))


def _foreign(version: str) -> RoomBuilder:
    return _rooms(version, json.dumps({"room_name": "another", "create": {"org.example.room": "another"}}))


def _named(name: str | list[str], room: RoomBuilder) -> Event:
    if name == "message":
        return room.build("m.room.message", room.creator, {})
    kind, state_key = (name, "") if isinstance(name, str) else name
    return room.current(kind, state_key)


def _take(step: list[Any], room: RoomBuilder) -> None:
    match step:
        case ["join" | "leave" | "knock" as membership, user]:
            room.member(user, user, membership)
        case ["invite" | "ban" as membership, user]:
            room.member(room.creator, user, membership)
        case ["levels", content]:
            room.send("m.room.power_levels", room.creator, content, "")
        case ["join_rule", rule]:
            room.join_rules(rule)
        case ["create", *content]:
            room.create(*content)
        case ["state", kind, state_key, sender, content]:
            room.send(kind, sender, content, state_key)
        case _:
            raise AssertionError(f"no such step: {step}")


def _event(data: dict[str, Any], room: RoomBuilder, auth: Sequence[EventId] | None = None) -> Event:
    content, fields = dict(data["content"]), dict(data.get("fields", {}))
    prev = None
    if data["type"] == "m.room.create":
        prev = [] if room.head is None else [room.head]
        content = {"room_version": room.version.version, "creator": room.creator, **content}
    elif "prev" in data:
        assert room.head is not None
        create = room.current("m.room.create").event_id
        prev = {"create": [create], "head": [room.head], "create and head": [create, room.head]}[data["prev"]]
    content = {name: value for name, value in content.items() if value != _ABSENT}
    event = room.build(
        data["type"], data["sender"], content, data.get("state_key"), prev=prev, auth=auth, **fields
    )
    if "unparsed_raw" in data:
        event = replace(event, raw={**event.raw, **data["unparsed_raw"]})
    return event

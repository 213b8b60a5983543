"""The decision cases of tests/cases/decisions, as typed data for the pure tests and for those through the API.

A case is an object with `name`, `source` (where the expected answer comes from), `endpoint` and `expect`. All else has
a default: `origin` is origin.example, `room` is the one partial room, `rooms` (the partial rooms there are, each with
`verified`, `acls`, `join_rules` and `history_visibilities`) is that room, verified and closed. `row` is the row of the
table in protos/MSC3895.md. `in_full_allow_room`, `invited_or_joined` and `can_issue_invite` are left unsaid by default.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partialstate_service.domain.acl import parse_server_acl
from partialstate_service.domain.checks import Candidate, CheckRequest, Facts, RoomView, UnableSpelling
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import (
    Generation,
    RoomId,
    parse_event_id,
    parse_room_id,
    parse_server_name,
    parse_user_id,
)

CASES_DIR = Path(__file__).parents[1] / "cases" / "decisions"
PARTIAL_ROOM = RoomId("!partial:resident.example")
GENERATION = Generation(7)

_FIELDS = {
    "name", "source", "row", "endpoint", "origin", "room", "events", "user", "candidates", "allow_rooms",
    "in_full_allow_room", "invited_or_joined", "can_issue_invite", "rooms", "event_rooms", "sent", "spelling", "expect",
}  # fmt: skip
_ROOM_FIELDS = {"verified", "acls", "join_rules", "history_visibilities"}


@dataclass(frozen=True)
class DecisionCase:
    """One case: a request, what is known, and what must come out."""

    name: str
    source: str
    row: int | None
    request: CheckRequest
    facts: Facts
    spelling: UnableSpelling
    expect: dict[str, Any]
    rooms: dict[RoomId, dict[str, Any]]
    """The partial rooms as they stand in the file, for tests that must bring a real registry into that state."""


def load_decision_cases() -> list[DecisionCase]:
    """Return every case of every file; a case with an unknown field is an error."""
    return [
        _case(path, entry)
        for path in sorted(CASES_DIR.glob("*.json"))
        for entry in json.loads(path.read_text())
    ]


def _case(path: Path, entry: dict[str, Any]) -> DecisionCase:
    name = f"{path.stem}: {entry['name']}"
    assert entry.keys() <= _FIELDS, f"{name}: unknown fields {entry.keys() - _FIELDS}"
    rooms = {parse_room_id(room): view for room, view in entry.get("rooms", {PARTIAL_ROOM: {}}).items()}
    room = entry.get("room", PARTIAL_ROOM)
    user = entry.get("user")
    request = CheckRequest(
        endpoint=Endpoint[entry["endpoint"]],
        origin=parse_server_name(entry.get("origin", "origin.example")),
        room_id=None if room is None else parse_room_id(room),
        event_ids=tuple(map(parse_event_id, entry.get("events", ()))),
        user_id=None if user is None else parse_user_id(user),
        candidates=tuple(
            Candidate(parse_event_id(c["event_id"]), parse_user_id(c["sender"]), c.get("history_visibility"))
            for c in entry.get("candidates", ())
        ),
        allow_room_ids=tuple(map(parse_room_id, entry.get("allow_rooms", ()))),
        user_in_a_full_allow_room=entry.get("in_full_allow_room"),
        user_invited_or_joined=entry.get("invited_or_joined"),
        can_issue_invite=entry.get("can_issue_invite"),
    )
    facts = Facts(
        rooms={room_id: _view(name, room_id, view) for room_id, view in rooms.items()},
        event_rooms={
            parse_event_id(event): parse_room_id(room_id)
            for event, room_id in entry.get("event_rooms", {}).items()
        },
        sent=frozenset(map(parse_event_id, entry.get("sent", ()))),
    )
    return DecisionCase(
        name=name,
        source=entry["source"],
        row=entry.get("row"),
        request=request,
        facts=facts,
        spelling=UnableSpelling(entry.get("spelling", "unstable")),
        expect=entry["expect"],
        rooms=rooms,
    )


def _view(name: str, room_id: RoomId, view: dict[str, Any]) -> RoomView:
    assert view.keys() <= _ROOM_FIELDS, f"{name}: unknown fields {view.keys() - _ROOM_FIELDS}"
    return RoomView(
        room_id=room_id,
        generation=GENERATION,
        verified=view.get("verified", True),
        acls=tuple(map(parse_server_acl, view.get("acls", ()))),
        join_rules=tuple(view.get("join_rules", ("invite",))),
        history_visibilities=tuple(view.get("history_visibilities", ("shared",))),
    )

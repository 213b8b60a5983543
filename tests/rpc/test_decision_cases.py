"""Every decision case of tests/cases/decisions, asked through the real API over a real store.

Each case brings the registry into its state under ids of its own, so that all cases share one server.
"""

import json
import time
from typing import Any
from uuid import uuid4

import pytest
from partialstate.v1 import check_service_pb2 as pb
from partialstate_service.domain.checks import UnableSpelling
from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.domain.rooms import Priority, StateSummary
from partialstate_service.store.protocol import PartialJoin, RecordedEvent
from support.api import Api, refused, running_api
from support.decision_cases import DecisionCase, load_decision_cases

CASES = load_decision_cases()
NOW_MS = int(time.time() * 1000)
_FLAWS = {
    "ROOM_ID_MISSING": "INVALID_FIELD",
    "EVENT_IDS_MISSING": "INVALID_FIELD",
    "TOO_MANY_EVENT_IDS": "TOO_LARGE",
    "TOO_MANY_CANDIDATES": "TOO_LARGE",
    "TOO_MANY_ALLOW_ROOMS": "TOO_LARGE",
}


class Renamed:
    """Ids of one case that no other case has."""

    def __init__(self, number: int) -> None:
        self._mark = f"case{number}x"

    def room(self, room_id: str) -> RoomId:
        return RoomId(f"!{self._mark}{room_id[1:]}")

    def event(self, event_id: str) -> EventId:
        return EventId(f"${self._mark}{event_id[1:]}")


async def bring_about(api: Api, case: DecisionCase, names: Renamed) -> None:
    """Register the case's rooms, let them know its events, and note what was sent."""
    generations: dict[RoomId, int] = {}
    for room_id, view in case.rooms.items():
        room = names.room(room_id)
        generations[room] = await register(api, room, summary_of(view))
        if view.get("verified", True):
            await api.verify(room)
    for event_id, room_id in case.facts.event_rooms.items():
        room = names.room(room_id)
        if room_id == case.request.room_id and room_id not in case.rooms:
            continue  # a full room: the registry knows none of its events
        if room not in generations:  # known to the registry, but not one that the request names
            generations[room] = await register(api, room, StateSummary())
        await api.store.registry.record_partial_events(room, [recorded(names.event(event_id))], NOW_MS)
    if case.facts.sent and case.request.room_id is not None:
        sent = [(names.event(event_id), [case.request.origin]) for event_id in sorted(case.facts.sent)]
        await api.store.ledger.record(names.room(case.request.room_id), sent)


async def register(api: Api, room: RoomId, summary: StateSummary) -> int:
    join = PartialJoin(
        room_id=room,
        room_version="11",
        join=recorded(EventId(f"$join-of-{uuid4().hex}")),
        joined_via=ServerName("resident.example"),
        servers=(ServerName("resident.example"),),
        summary=summary,
        priority=Priority.NORMAL,
        device_list_position=None,
    )
    return (await api.store.registry.register(join, [], NOW_MS)).generation


def recorded(event_id: EventId) -> RecordedEvent:
    return RecordedEvent(event_id, b"{}", accepted=True, prev_event_ids=())


def summary_of(view: dict[str, Any]) -> StateSummary:
    return StateSummary(
        acls=tuple(view.get("acls", ())),
        join_rules=tuple({"join_rule": rule} for rule in view.get("join_rules", ("invite",))),
        history_visibilities=tuple(view.get("history_visibilities", ("shared",))),
    )


def message_of(case: DecisionCase, names: Renamed) -> pb.CheckRequest:
    request = case.request
    return pb.CheckRequest(
        endpoint=pb.Endpoint.Value(f"ENDPOINT_{request.endpoint.name}"),
        origin=request.origin,
        room_id="" if request.room_id is None else names.room(request.room_id),
        event_ids=map(names.event, request.event_ids),
        user_id=request.user_id or "",
        candidates=[
            pb.Candidate(
                event_id=names.event(candidate.event_id),
                sender=candidate.sender,
                history_visibility=candidate.history_visibility or "",
            )
            for candidate in request.candidates
        ],
        allow_room_ids=map(names.room, request.allow_room_ids),
        optional_user_in_a_full_allow_room=request.user_in_a_full_allow_room,
        optional_user_invited_or_joined=request.user_invited_or_joined,
        optional_can_issue_invite=request.can_issue_invite,
    )


def shown(response: pb.CheckResponse) -> dict[str, Any]:
    """Return a response in the words of the cases; what is empty is left out."""
    said: dict[str, Any] = {
        "verdict": pb.Verdict.Name(response.verdict).removeprefix("VERDICT_"),
        "reason": pb.Reason.Name(response.reason).removeprefix("REASON_"),
        "visible": list(response.visible_event_ids),
        "walk_from": list(response.walk_from_event_ids),
    }
    for name, field in (
        ("error", "optional_error"),
        ("error_instead_of_forbidden", "optional_error_instead_of_forbidden"),
    ):
        if response.HasField(field):
            error = getattr(response, field)
            said[name] = [error.http_status, error.errcode]
    return {name: value for name, value in said.items() if value}


@pytest.mark.parametrize("spelling", UnableSpelling)
async def test_the_api_decides_every_case_as_it_should(store_url, spelling):
    cases = [(number, case) for number, case in enumerate(CASES) if case.spelling is spelling]
    assert cases
    async with running_api(store_url, errcode=spelling) as api:
        batch = []
        for number, case in cases:
            names = Renamed(number)
            await bring_about(api, case, names)
            message = message_of(case, names)
            if "invalid" in case.expect:
                with refused() as refusal:
                    await api.check.Check(message)
                assert refusal.reason == _FLAWS[case.expect["invalid"]], case.name
            else:
                response = await api.check.Check(message)
                assert shown(response) == expected(case, names), f"{case.name} ({case.source})"
            batch.append(message)
        await a_batch_says_the_same(api, cases, batch)


async def a_batch_says_the_same(api: Api, cases: list[tuple[int, DecisionCase]], batch) -> None:
    answer = await api.check.BatchCheck(pb.BatchCheckRequest(requests=batch))
    for (number, case), result in zip(cases, answer.results, strict=True):
        if "invalid" in case.expect:
            assert result.error.reason == _FLAWS[case.expect["invalid"]], case.name
        else:
            assert shown(result.decision) == expected(case, Renamed(number)), case.name


def expected(case: DecisionCase, names: Renamed) -> dict[str, Any]:
    expect = json.loads(json.dumps(case.expect))
    for name in ("visible", "walk_from"):
        if name in expect:
            expect[name] = [names.event(event_id) for event_id in expect[name]]
    return {name: value for name, value in expect.items() if value}

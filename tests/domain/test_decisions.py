"""Every decision case, as data, through the pure `decide`; and that no endpoint is without rule, row or case."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partialstate import no_decision
from partialstate.no_decision import NO_DECISION, NoDecision
from partialstate_service.domain.checks import (
    MAX_ALLOW_ROOMS,
    MAX_CANDIDATES,
    MAX_EVENT_IDS,
    Candidate,
    CheckRequest,
    Decision,
    Facts,
    InvalidCheck,
    InvalidCheckError,
    MatrixError,
    Reason,
    RoomView,
    UnableSpelling,
    Verdict,
)
from partialstate_service.domain.decisions import decide, needs, validate
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import EventId, Generation, RoomId, ServerName, UserId
from partialstate_service.domain.outcomes import join_family, no_membership_needed
from partialstate_service.domain.rules import RULES
from support.decision_cases import GENERATION, PARTIAL_ROOM, DecisionCase, load_decision_cases

CASES = load_decision_cases()
ORIGIN = ServerName("origin.example")
ROWS_OF_THE_TABLE = 36
DOCUMENT = Path(__file__).parents[2] / "protos" / "MSC3895.md"


def _decide(case: DecisionCase) -> Decision:
    return decide(case.request, case.facts, case.spelling)


def _code(error: MatrixError | None) -> list[object] | None:
    return None if error is None else [error.http_status, error.errcode]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: DecisionCase) -> None:
    """The decision is the case's, to the last field."""
    if "invalid" in case.expect:
        with pytest.raises(InvalidCheckError) as caught:
            _decide(case)
        assert caught.value.reason is InvalidCheck[case.expect["invalid"]]
        return
    decision = _decide(case)
    assert (decision.verdict, decision.reason) == (
        Verdict[case.expect["verdict"]],
        Reason[case.expect["reason"]],
    )
    assert _code(decision.error) == case.expect.get("error")
    assert _code(decision.optional_error_instead_of_forbidden) == case.expect.get(
        "error_instead_of_forbidden"
    )
    assert decision.visible_event_ids == tuple(case.expect.get("visible", ()))
    assert decision.walk_from == tuple(case.expect.get("walk_from", ()))
    assert decision.generation == (GENERATION if case.request.room_id in case.facts.rooms else None)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_needs_are_enough(case: DecisionCase) -> None:
    """Only what `needs` names has to be looked up: the decision is the same with nothing else known."""
    if "invalid" in case.expect:
        return
    wanted = needs(case.request)
    sent = set(wanted.sent) if case.request.room_id in case.facts.rooms else set()
    least = Facts(
        rooms={room: view for room, view in case.facts.rooms.items() if room in wanted.rooms},
        event_rooms={
            event: room for event, room in case.facts.event_rooms.items() if event in wanted.event_rooms
        },
        sent=case.facts.sent & sent,
    )
    assert decide(case.request, least, case.spelling) == _decide(case)


def test_names_are_unique() -> None:
    """A failing case is found by its name."""
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []


def test_every_case_has_a_source() -> None:
    """Each expected answer says where it comes from."""
    assert [case.name for case in CASES if not case.source.strip()] == []


def test_every_endpoint_has_a_rule_a_no_decision_row_and_a_case() -> None:
    """No endpoint is forgotten in any of the three."""
    assert set(RULES) == set(Endpoint)
    assert set(NO_DECISION) == set(Endpoint.__members__)
    decided = {case.request.endpoint for case in CASES if "invalid" not in case.expect}
    assert decided == set(Endpoint)


def test_every_row_of_the_table_has_a_case() -> None:
    """Each row of the table in protos/MSC3895.md is shown by a case."""
    assert {case.row for case in CASES if case.row is not None} == set(range(1, ROWS_OF_THE_TABLE + 1))


def test_every_reason_and_verdict_has_a_case() -> None:
    """Each reason is reachable."""
    expected = [case.expect for case in CASES if "invalid" not in case.expect]
    assert {e["reason"] for e in expected} == set(Reason.__members__)
    assert {e["verdict"] for e in expected} == set(Verdict.__members__)


def test_document_names_every_endpoint_reason_and_row() -> None:
    """The document has the table as built."""
    text = DOCUMENT.read_text()
    assert [e.name for e in Endpoint if f"`{e.name}`" not in text] == []
    assert [r.name for r in Reason if f"`{r.name}`" not in text] == []
    assert {int(row) for row in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)} == set(
        range(1, ROWS_OF_THE_TABLE + 1)
    )


def test_no_decision_agrees_with_the_rules() -> None:
    """Without a decision: what needs no membership proceeds, the join family gets 404, all else is refused."""
    for endpoint, rule in RULES.items():
        expected = NoDecision.UNABLE
        if rule.outcome is no_membership_needed:
            expected = NoDecision.PROCEED
        elif rule.outcome is join_family:
            expected = NoDecision.NOT_FOUND
        assert NO_DECISION[endpoint.name] is expected, endpoint


def test_both_sides_spell_the_error_alike() -> None:
    """The client's constants are the service's spellings."""
    assert UnableSpelling.UNSTABLE.errcode == no_decision.UNSTABLE_ERRCODE
    assert UnableSpelling.STABLE.errcode == no_decision.STABLE_ERRCODE


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (
            CheckRequest(
                Endpoint.BACKFILL,
                ORIGIN,
                PARTIAL_ROOM,
                tuple(EventId(f"${i}") for i in range(MAX_EVENT_IDS + 1)),
            ),
            InvalidCheck.TOO_MANY_EVENT_IDS,
        ),
        (
            CheckRequest(
                Endpoint.BACKFILL,
                ORIGIN,
                PARTIAL_ROOM,
                (EventId("$e"),),
                candidates=(Candidate(EventId("$c"), UserId("@u:x.example")),) * (MAX_CANDIDATES + 1),
            ),
            InvalidCheck.TOO_MANY_CANDIDATES,
        ),
        (
            CheckRequest(
                Endpoint.MAKE_JOIN,
                ORIGIN,
                PARTIAL_ROOM,
                allow_room_ids=(RoomId("!a"),) * (MAX_ALLOW_ROOMS + 1),
            ),
            InvalidCheck.TOO_MANY_ALLOW_ROOMS,
        ),
    ],
)
def test_oversized_requests_are_not_decided(request_: CheckRequest, reason: InvalidCheck) -> None:
    """Every list has a limit."""
    with pytest.raises(InvalidCheckError) as caught:
        validate(request_)
    assert caught.value.reason is reason


_EVENTS = st.sampled_from([EventId(f"${name}") for name in "abcd"])
_ROOMS = st.sampled_from([RoomId(f"!{name}:x.example") for name in "pqr"])
_VISIBILITIES = st.sampled_from(["world_readable", "shared", "invited", "joined"])
_MAYBE = st.sampled_from([None, True, False])


@st.composite
def _views(draw: st.DrawFn) -> RoomView:
    return RoomView(
        room_id=draw(_ROOMS),
        generation=Generation(draw(st.integers(1, 9))),
        verified=draw(st.booleans()),
        join_rules=tuple(draw(st.lists(st.sampled_from(["public", "invite", "restricted"]), max_size=2))),
        history_visibilities=tuple(draw(st.lists(_VISIBILITIES, max_size=2))),
    )


_REQUESTS = st.builds(
    CheckRequest,
    endpoint=st.sampled_from(Endpoint),
    origin=st.just(ORIGIN),
    room_id=st.none() | _ROOMS,
    event_ids=st.lists(_EVENTS, max_size=3).map(tuple),
    candidates=st.lists(
        st.builds(Candidate, _EVENTS, st.just(UserId("@u:x.example")), st.none() | _VISIBILITIES), max_size=4
    ).map(tuple),
    allow_room_ids=st.lists(_ROOMS, max_size=2).map(tuple),
    user_in_a_full_allow_room=_MAYBE,
    user_invited_or_joined=_MAYBE,
    can_issue_invite=_MAYBE,
)
_FACTS = st.builds(
    Facts,
    rooms=st.lists(_views(), max_size=3).map(lambda views: {view.room_id: view for view in views}),
    event_rooms=st.dictionaries(_EVENTS, _ROOMS, max_size=3),
    sent=st.sets(_EVENTS),
)


@given(_REQUESTS, _FACTS, st.sampled_from(UnableSpelling))
def test_a_decision_is_whole_whatever_is_asked(
    request_: CheckRequest, facts: Facts, spelling: UnableSpelling
) -> None:
    """A refusal carries its error and nothing to show; what is shown is sent or world-readable; walks are obliged."""
    try:
        decision = decide(request_, facts, spelling)
    except InvalidCheckError:
        return
    assert (decision.error is not None) == (decision.verdict is Verdict.REFUSE)
    assert decision.optional_error_instead_of_forbidden is None or decision.verdict is Verdict.PROCEED
    partial = request_.room_id in facts.rooms
    assert (decision.generation is not None) == partial
    assert partial != (decision.verdict is Verdict.PROCEED) or decision.verdict is Verdict.REFUSE
    assert set(decision.walk_from) <= set(request_.event_ids) & facts.sent
    assert bool(decision.walk_from) == (decision.verdict is Verdict.ANSWER_FILTERED)
    open_events = {c.event_id for c in request_.candidates if c.history_visibility == "world_readable"}
    assert set(decision.visible_event_ids) <= {c.event_id for c in request_.candidates} & (
        facts.sent | open_events
    )
    assert request_.endpoint is not Endpoint.SEND or decision.verdict is not Verdict.REFUSE


@given(_REQUESTS, _FACTS)
def test_knowing_less_never_opens_more(request_: CheckRequest, facts: Facts) -> None:
    """Without the ledger, or with unverified state, nothing is served that was refused."""
    less = Facts(
        rooms={room: RoomView(room, view.generation, verified=False) for room, view in facts.rooms.items()},
        event_rooms=facts.event_rooms,
    )
    try:
        known = decide(request_, facts, UnableSpelling.UNSTABLE)
    except InvalidCheckError:
        return
    unknown = decide(request_, less, UnableSpelling.UNSTABLE)
    if known.verdict is Verdict.REFUSE:
        assert unknown.verdict is Verdict.REFUSE
    assert set(unknown.visible_event_ids) <= set(known.visible_event_ids)

"""What is decided for a partial room: one function per kind of endpoint.

Each takes a question whose origin passed the server ACL and whose events are not known to be of another room.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from partialstate_service.domain.checks import (
    CheckRequest,
    Decision,
    Facts,
    MatrixError,
    Reason,
    RoomView,
    UnableSpelling,
    Verdict,
)
from partialstate_service.domain.ids import EventId
from partialstate_service.domain.refusals import JOIN_FAMILY, unable

_WORLD_READABLE = frozenset({"world_readable"})
# Server-server API, /hierarchy: rooms that the requester could join or knock on may be shown to it.
_SUMMARY_JOIN_RULES = frozenset({"public", "knock", "knock_restricted"})


@dataclass(frozen=True, slots=True)
class Question:
    """A request about a partial room, with all that is known."""

    request: CheckRequest
    room: RoomView
    facts: Facts
    spelling: UnableSpelling

    def refuse(self, reason: Reason, error: MatrixError) -> Decision:
        """Return a refusal with *error*."""
        return Decision(Verdict.REFUSE, reason, self.room.generation, error=error)

    def refuse_unable(self, reason: Reason) -> Decision:
        """Return a refusal with MSC3895's error."""
        return self.refuse(reason, unable(self.spelling))

    def answer(self, reason: Reason) -> Decision:
        """Return the verdict that the request is served although the room is partial."""
        return Decision(Verdict.ANSWER, reason, self.room.generation)


Outcome: TypeAlias = Callable[[Question], Decision]


def no_membership_needed(question: Question) -> Decision:
    """Serve: neither the origin's membership nor the room's full state matters to the endpoint."""
    return question.answer(Reason.NO_MEMBERSHIP_NEEDED)


def join_family(question: Question) -> Decision:
    """Send the requester to another resident server: on a 404 it asks the next one."""
    return question.refuse(Reason.JOIN_FAMILY, JOIN_FAMILY)


def state_unknown(question: Question) -> Decision:
    """Refuse: we lack the state that is asked for.

    So also for an event whose own state is full already: that the origin is in the room now cannot be proven.
    """
    return question.refuse_unable(Reason.STATE_UNKNOWN)


def membership_unknown(question: Question) -> Decision:
    """Refuse: that the origin is in the room cannot be proven."""
    return question.refuse_unable(Reason.MEMBERSHIP_UNKNOWN)


def sent_event(question: Question) -> Decision:
    """Serve an event, or its auth chain, that we sent to the origin ourselves; it was in the room then."""
    if all(event in question.facts.sent for event in question.request.event_ids):
        return question.answer(Reason.SENT_BY_US)
    return membership_unknown(question)


def missing_events(question: Question) -> Decision:
    """Serve get_missing_events from those of its `latest_events` that we sent to the origin, if there is one.

    An empty answer is fine here: the requester goes on with what it has, and asks elsewhere.
    """
    obliged = _distinct(event for event in question.request.event_ids if event in question.facts.sent)
    if not obliged:
        return membership_unknown(question)
    return _filtered(question, obliged)


def backfill(question: Question) -> Decision:
    """Serve backfill if we sent every one of its `v` to the origin.

    Requesters stop at the first 200, even an empty one, and ask the next server on a 403: an answer with nothing to
    show is therefore refused. Before the walk (no candidates yet) that is not known.
    """
    named = _distinct(question.request.event_ids)
    if not all(event in question.facts.sent for event in named):
        return membership_unknown(question)
    decision = _filtered(question, named)
    if question.request.candidates and not decision.visible_event_ids:
        return question.refuse_unable(Reason.NOTHING_VISIBLE)
    return decision


def world_readable(question: Question) -> Decision:
    """Serve where the room's history is open to everybody."""
    if not question.room.verified:
        return question.refuse_unable(Reason.ROOM_UNVERIFIED)
    if _all_in(question.room.history_visibilities, _WORLD_READABLE):
        return question.answer(Reason.WORLD_READABLE)
    return membership_unknown(question)


def summary(question: Question) -> Decision:
    """Serve the room's summary where non-member state lets everybody see it; never wait for membership."""
    if question.room.verified and _all_in(question.room.join_rules, _SUMMARY_JOIN_RULES):
        return question.answer(Reason.ACCESSIBLE_BY_JOIN_RULE)
    return world_readable(question)


def _filtered(question: Question, walk_from: tuple[EventId, ...]) -> Decision:
    return Decision(
        Verdict.ANSWER_FILTERED,
        Reason.SENT_BY_US,
        question.room.generation,
        visible_event_ids=_visible(question),
        walk_from=walk_from,
    )


def _visible(question: Question) -> tuple[EventId, ...]:
    """Return the candidates that the origin may see: those it has from us, and those that everybody may see.

    That a local user sent an event is no reason: it may be older than the origin's join.
    """
    sent, rooms, here = question.facts.sent, question.facts.event_rooms, question.room.room_id
    return _distinct(
        candidate.event_id
        for candidate in question.request.candidates
        if (candidate.event_id in sent or candidate.history_visibility in _WORLD_READABLE)
        and rooms.get(candidate.event_id, here) == here
    )


def _all_in(values: tuple[str, ...], accepted: frozenset[str]) -> bool:
    """Return whether there are values and all are accepted: unknown and conflicting ones count as closed."""
    return bool(values) and accepted.issuperset(values)


def _distinct(events: Iterable[EventId]) -> tuple[EventId, ...]:
    return tuple(dict.fromkeys(events))

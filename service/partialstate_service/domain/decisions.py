"""Whether a federation request can be answered while rooms are partial: `decide`, a pure function over `RULES`.

Precedence, first match: no room is named; the named room is full (its allow rooms may matter); the server ACL denies
the origin, before anything else is told; the ACL is not verified yet; a named event is of another room; the
endpoint's own rule.
"""

from typing import NamedTuple

from partialstate_service.domain.checks import (
    MAX_ALLOW_ROOMS,
    MAX_CANDIDATES,
    MAX_EVENT_IDS,
    CheckRequest,
    Decision,
    Facts,
    InvalidCheck,
    InvalidCheckError,
    Reason,
    UnableSpelling,
    Verdict,
)
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import EventId, RoomId
from partialstate_service.domain.outcomes import Question, join_family
from partialstate_service.domain.refusals import ACL_DENIED, EVENT_NOT_IN_ROOM
from partialstate_service.domain.restricted import decide_unrestricted
from partialstate_service.domain.rules import RULES, Reads, Rule

# /event/{eventId} names no room in its path, but the event has one, which the frontend has looked up.
ROOM_REQUIRED = frozenset(
    endpoint for endpoint in Endpoint if "{roomId}" in endpoint.path or endpoint is Endpoint.EVENT
)
_ONE_EVENT = frozenset(
    endpoint for endpoint, rule in RULES.items() if rule.reads is Reads.SENT and "{eventId}" in endpoint.path
)

ALLOW_ROOMS_MATTER = frozenset(
    endpoint for endpoint, rule in RULES.items() if rule.full_room is not decide_unrestricted
)
"""The endpoints that the allow rooms of a full room, and what is known of the user there, matter to."""

_NO_ROOM_NAMED = Decision(Verdict.PROCEED, Reason.NO_ROOM_NAMED)


class Needs(NamedTuple):
    """What must be looked up to decide a request."""

    rooms: tuple[RoomId, ...]
    """The rooms of which it matters whether they are partial."""
    event_rooms: tuple[EventId, ...]
    """The events of which it matters whether the registry knows them in a room."""
    sent: tuple[EventId, ...]
    """The events of which the ledger must say whether they were sent to the origin; only if `room_id` is partial."""


def validate(request: CheckRequest) -> None:
    """Raise `InvalidCheckError` if *request* lacks what its endpoint needs, or has too much of it."""
    endpoint = request.endpoint
    if request.room_id is None and endpoint in ROOM_REQUIRED:
        raise InvalidCheckError(
            InvalidCheck.ROOM_ID_MISSING, f"{endpoint.name} concerns a room: room_id must be given"
        )
    events = len(request.event_ids)
    if not events and RULES[endpoint].reads is Reads.SENT:
        raise InvalidCheckError(
            InvalidCheck.EVENT_IDS_MISSING, f"{endpoint.name} names events: event_ids must be given"
        )
    if events > 1 and events > (limit := 1 if endpoint in _ONE_EVENT else MAX_EVENT_IDS):
        raise _too_many(InvalidCheck.TOO_MANY_EVENT_IDS, endpoint, events, limit)
    if (candidates := len(request.candidates)) > MAX_CANDIDATES:
        raise _too_many(InvalidCheck.TOO_MANY_CANDIDATES, endpoint, candidates, MAX_CANDIDATES)
    if (allow_rooms := len(request.allow_room_ids)) > MAX_ALLOW_ROOMS:
        raise _too_many(InvalidCheck.TOO_MANY_ALLOW_ROOMS, endpoint, allow_rooms, MAX_ALLOW_ROOMS)


def _too_many(reason: InvalidCheck, endpoint: Endpoint, given: int, limit: int) -> InvalidCheckError:
    return InvalidCheckError(reason, f"{endpoint.name} takes at most {limit}, not {given}")


def needs(request: CheckRequest) -> Needs:
    """Return what a valid *request* makes necessary to look up; everything else may be left out of the facts."""
    rule = RULES[request.endpoint]
    rooms: tuple[RoomId, ...] = () if request.room_id is None else (request.room_id,)
    if request.endpoint in ALLOW_ROOMS_MATTER:
        rooms += request.allow_room_ids
    events: tuple[EventId, ...] = ()
    if rule.reads is not Reads.NOTHING:
        events = request.event_ids
        if request.candidates:
            events += tuple(candidate.event_id for candidate in request.candidates)
    return Needs(rooms, event_rooms=events, sent=events if rule.reads is Reads.SENT else ())


def decide(request: CheckRequest, facts: Facts, spelling: UnableSpelling) -> Decision:
    """Return what the frontend is to do with *request*, given all that `needs` asked for.

    Raises `InvalidCheckError` as `validate` does: an incomplete request never proceeds.
    """
    validate(request)
    return decide_valid(request, facts, spelling)


def decide_valid(request: CheckRequest, facts: Facts, spelling: UnableSpelling) -> Decision:
    """Return what `decide` does, for a request that `validate` has let pass."""
    if request.room_id is None:
        return _NO_ROOM_NAMED
    rule = RULES[request.endpoint]
    room = facts.rooms.get(request.room_id)
    if room is None:
        if _names_event_of_other_room(request, request.room_id, rule, facts):
            return Decision(Verdict.REFUSE, Reason.EVENT_IN_OTHER_ROOM, error=EVENT_NOT_IN_ROOM)
        return rule.full_room(request, facts, spelling)
    question = Question(request, room, facts, spelling)
    if rule.acl and (refusal := _refused_by_acl(question, rule)) is not None:
        return refusal
    if _names_event_of_other_room(request, room.room_id, rule, facts):
        return question.refuse(Reason.EVENT_IN_OTHER_ROOM, EVENT_NOT_IN_ROOM)
    return rule.outcome(question)


def _refused_by_acl(question: Question, rule: Rule) -> Decision | None:
    """Return the refusal of an origin that the ACL denies, or may deny; None if it may pass."""
    if not question.room.verified:
        # The join family is refused anyway, and its 404 needs no state.
        return None if rule.outcome is join_family else question.refuse_unable(Reason.ACL_UNKNOWN)
    if any(acl.denies(question.request.origin) for acl in question.room.acls):
        return question.refuse(Reason.ACL_DENIED, ACL_DENIED)
    return None


def _names_event_of_other_room(request: CheckRequest, here: RoomId, rule: Rule, facts: Facts) -> bool:
    if rule.reads is Reads.NOTHING or not facts.event_rooms:
        return False
    return any(facts.event_rooms.get(event, here) != here for event in request.event_ids)

"""Requests for a full room whose join rule looks at a partial one.

A room with the join rule `restricted` or `knock_restricted` lets the members of its allow rooms in. Where such a room
is partial here, its membership is unknown: denying is then not "no" but "not known". Sources: MSC3083 and its
clarification, and Matrix specification v1.19, `make_join`: 400 M_UNABLE_TO_AUTHORISE_JOIN where the resident server
cannot tell, 400 M_UNABLE_TO_GRANT_JOIN (M_CANNOT_ALLOW in early texts) where it cannot issue the invite, and
M_FORBIDDEN only where it knows.
"""

from partialstate_service.domain.checks import (
    CheckRequest,
    Decision,
    Facts,
    MatrixError,
    Reason,
    UnableSpelling,
    Verdict,
)
from partialstate_service.domain.refusals import UNABLE_TO_AUTHORISE_JOIN, UNABLE_TO_GRANT_JOIN, unable

_NOT_PARTIAL = Decision(Verdict.PROCEED, Reason.ROOM_NOT_PARTIAL)
_IN_ROOM = Decision(Verdict.PROCEED, Reason.ALREADY_IN_ROOM)
_ALLOWED = Decision(Verdict.PROCEED, Reason.IN_FULL_ALLOW_ROOM)


def decide_restricted_join(request: CheckRequest, facts: Facts, _: UnableSpelling) -> Decision:
    """Decide a join to a full room by its allow rooms.

    A partial allow room never proves membership here, even if its partial state shows the user: the state that was
    current when they joined may have been overtaken by a ban that we lack. Where the frontend has not said all that
    the answer hangs on, it proceeds with its own checks and returns the given error in place of its M_FORBIDDEN.
    """
    if request.user_invited_or_joined:
        return _IN_ROOM
    known_outside = request.user_invited_or_joined is False
    if request.user_in_a_full_allow_room:
        if request.can_issue_invite is False:
            return _denied(Reason.CANNOT_ISSUE_INVITE, UNABLE_TO_GRANT_JOIN, certain=known_outside)
        return _ALLOWED
    if not _partial_allow_room(request, facts):
        return _NOT_PARTIAL
    certain = known_outside and request.user_in_a_full_allow_room is False
    return _denied(Reason.ALLOW_ROOM_PARTIAL, UNABLE_TO_AUTHORISE_JOIN, certain=certain)


def decide_restricted_summary(request: CheckRequest, facts: Facts, spelling: UnableSpelling) -> Decision:
    """Decide the hierarchy of a full room: access may hang on membership of a partial allow room.

    The room may be open by other means, which the frontend's own checks find; only where they deny access, the error
    takes the place of that denial (for this endpoint a 404).
    """
    if request.user_in_a_full_allow_room:
        return _ALLOWED
    if not _partial_allow_room(request, facts):
        return _NOT_PARTIAL
    return _denied(Reason.ALLOW_ROOM_PARTIAL, unable(spelling), certain=False)


def decide_unrestricted(_: CheckRequest, __: Facts, ___: UnableSpelling) -> Decision:
    """Decide for an endpoint that no other room matters to."""
    return _NOT_PARTIAL


def _partial_allow_room(request: CheckRequest, facts: Facts) -> bool:
    return any(room in facts.rooms for room in request.allow_room_ids)


def _denied(reason: Reason, error: MatrixError, *, certain: bool) -> Decision:
    if certain:
        return Decision(Verdict.REFUSE, reason, error=error)
    return Decision(Verdict.PROCEED, reason, optional_error_instead_of_forbidden=error)

"""The finished error responses that a refusal carries.

Statuses and codes: 403 for MSC3895's error as homeservers send it today (401, 429 and 5xx would make requesters back
off from the whole server), 404 for the join family because requesters ask the next server on it, the rest from
Matrix specification v1.19, server-server API.
"""

from partialstate_service.domain.checks import MatrixError, UnableSpelling

_UNABLE = {
    spelling: MatrixError(
        403,
        spelling.errcode,
        "This server is still fetching the state of the room; ask another one or try again.",
    )
    for spelling in UnableSpelling
}

ACL_DENIED = MatrixError(403, "M_FORBIDDEN", "The room's server ACL does not allow this server.")
JOIN_FAMILY = MatrixError(
    404,
    "M_NOT_FOUND",
    "This server is not fully joined to the room and cannot do this for you; ask another one.",
)
EVENT_NOT_IN_ROOM = MatrixError(404, "M_NOT_FOUND", "The room has no such event.")
UNABLE_TO_AUTHORISE_JOIN = MatrixError(
    400,
    "M_UNABLE_TO_AUTHORISE_JOIN",
    "This server does not know yet who is in the rooms that allow this join; ask another one.",
)
UNABLE_TO_GRANT_JOIN = MatrixError(
    400, "M_UNABLE_TO_GRANT_JOIN", "No user of this server may authorise this join; ask another one."
)


def unable(spelling: UnableSpelling) -> MatrixError:
    """Return MSC3895's error in the given spelling."""
    return _UNABLE[spelling]

"""What a frontend does with a federation request when it has no decision on it.

There is no decision when the service cannot be reached, answers with anything but OK, or takes longer than the
frontend waits. Then, by endpoint:

* what needs no membership proceeds with the usual checks, and needs no check in the first place: above all `/send`,
  since a requester that gets an error from it backs off from the whole server, for days;
* the join family is answered with 404 M_NOT_FOUND, on which requesters ask the next resident server;
* all else is refused with MSC3895's error: refusing a full room for a moment costs a retry, answering for a partial
  one leaks.

An endpoint is a name of `partialstate.v1.Endpoint` without its prefix. Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

UNSTABLE_ERRCODE = "ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE"
STABLE_ERRCODE = "M_UNABLE_DUE_TO_PARTIAL_STATE"


class NoDecision(Enum):
    """What to do with a request that no decision was made on."""

    PROCEED = "proceed"
    """Do all the usual checks; this endpoint needs no check by the service."""
    NOT_FOUND = "not_found"
    """Answer 404 M_NOT_FOUND."""
    UNABLE = "unable"
    """Answer 403 with MSC3895's error."""


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A finished error response of the server-server API."""

    http_status: int
    errcode: str
    error: str


_PROCEED = (
    "WELL_KNOWN_SERVER",
    "VERSION",
    "KEY_SERVER",
    "KEY_QUERY",
    "KEY_QUERY_SERVER",
    "SEND",
    "POLICY_SIGN",
    "INVITE_V1",
    "INVITE_V2",
    "THIRD_PARTY_ID_ONBIND",
    "EXCHANGE_THIRD_PARTY_INVITE",
    "PUBLIC_ROOMS",
    "PUBLIC_ROOMS_FILTERED",
    "QUERY_DIRECTORY",
    "QUERY_PROFILE",
    "QUERY",
    "OPENID_USERINFO",
    "USER_DEVICES",
    "USER_KEYS_CLAIM",
    "USER_KEYS_QUERY",
    "MEDIA_DOWNLOAD",
    "MEDIA_THUMBNAIL",
    "COMPLEXITY",
)
_NOT_FOUND = (
    "MAKE_JOIN",
    "SEND_JOIN_V1",
    "SEND_JOIN_V2",
    "MAKE_KNOCK",
    "SEND_KNOCK",
    "MAKE_LEAVE",
    "SEND_LEAVE_V1",
    "SEND_LEAVE_V2",
)
_UNABLE = (
    "STATE",
    "STATE_IDS",
    "EVENT_AUTH",
    "EVENT",
    "GET_MISSING_EVENTS",
    "BACKFILL",
    "TIMESTAMP_TO_EVENT",
    "HIERARCHY",
    "EXTREMITIES",
)

NO_DECISION: Mapping[str, NoDecision] = MappingProxyType(
    {
        **dict.fromkeys(_PROCEED, NoDecision.PROCEED),
        **dict.fromkeys(_NOT_FOUND, NoDecision.NOT_FOUND),
        **dict.fromkeys(_UNABLE, NoDecision.UNABLE),
    }
)
"""What to do without a decision, for every endpoint."""


def needs_check(endpoint: str) -> bool:
    """Return whether a frontend has to ask the service about *endpoint* at all."""
    return NO_DECISION.get(endpoint, NoDecision.UNABLE) is not NoDecision.PROCEED


def error_without_decision(endpoint: str, *, errcode: str = UNSTABLE_ERRCODE) -> ErrorResponse | None:
    """Return what to answer to *endpoint* without a decision; None means: do the usual checks.

    An endpoint that is not in the table is refused. *errcode* is the spelling of MSC3895's code in use.
    """
    match NO_DECISION.get(endpoint, NoDecision.UNABLE):
        case NoDecision.PROCEED:
            return None
        case NoDecision.NOT_FOUND:
            return ErrorResponse(404, "M_NOT_FOUND", "This server cannot do this right now; ask another one.")
        case NoDecision.UNABLE:
            return ErrorResponse(
                403,
                errcode,
                "This server cannot tell right now whether it may answer; ask another one or try again.",
            )

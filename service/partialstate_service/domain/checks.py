"""The words of a check: what is asked, what is known, and what is decided.

The rules are in `rules`, the way through them in `decisions`. Sources: MSC3895 and Matrix specification v1.19,
server-server API.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum, auto
from types import MappingProxyType
from typing import NamedTuple

from partialstate_service.domain.acl import ServerAcl
from partialstate_service.domain.endpoints import Endpoint
from partialstate_service.domain.ids import EventId, Generation, RoomId, ServerName, UserId

MAX_EVENT_IDS = 100
MAX_CANDIDATES = 500
MAX_ALLOW_ROOMS = 500


class Verdict(StrEnum):
    """What a frontend is to do with a request; no verdict waives the check that each event belongs to the room."""

    PROCEED = auto()
    """No partial room is concerned: do all the usual checks."""
    ANSWER = auto()
    """The room is partial; serve the request all the same and skip only the check that the origin is in the room."""
    ANSWER_FILTERED = auto()
    """The same, but show only `Decision.visible_event_ids`."""
    REFUSE = auto()
    """Relay `Decision.error`."""


class Reason(StrEnum):
    """Why a verdict was given. The names are those of `partialstate.v1.Reason` without its prefix."""

    NO_ROOM_NAMED = auto()
    """PROCEED: the endpoint concerns no room, or the request names none."""
    ROOM_NOT_PARTIAL = auto()
    """PROCEED: no room that matters to the request is partial."""
    ALREADY_IN_ROOM = auto()
    """PROCEED: the user is invited to or in the room, so that no allow room matters."""
    IN_FULL_ALLOW_ROOM = auto()
    """PROCEED: a room that is full here proves what the join rule asks for."""
    ALLOW_ROOM_PARTIAL = auto()
    """PROCEED with an error in place of M_FORBIDDEN, or REFUSE: a partial allow room keeps us from knowing."""
    CANNOT_ISSUE_INVITE = auto()
    """PROCEED with an error in place of M_FORBIDDEN, or REFUSE: the join is allowed but no local user may vouch for it."""
    NO_MEMBERSHIP_NEEDED = auto()
    """ANSWER: the endpoint needs neither the origin's membership nor the room's full state."""
    SENT_BY_US = auto()
    """ANSWER or ANSWER_FILTERED: we sent the named event to the origin, hence we are obliged (MSC3895)."""
    WORLD_READABLE = auto()
    """ANSWER: the room's history is open to everybody."""
    ACCESSIBLE_BY_JOIN_RULE = auto()
    """ANSWER: the join rule lets everybody see the room's summary."""
    ACL_DENIED = auto()
    """REFUSE: the room's server ACL denies the origin."""
    ACL_UNKNOWN = auto()
    """REFUSE: the room's server ACL is not verified yet, and the endpoint is under it."""
    JOIN_FAMILY = auto()
    """REFUSE: another resident server has to make or take this membership; 404 makes the requester ask one."""
    EVENT_IN_OTHER_ROOM = auto()
    """REFUSE: a named event belongs to another room than the named one."""
    MEMBERSHIP_UNKNOWN = auto()
    """REFUSE: it cannot be proven that the origin is in the room (MSC3895, first circumstance)."""
    STATE_UNKNOWN = auto()
    """REFUSE: the answer itself is the state that we lack (MSC3895, second circumstance)."""
    ROOM_UNVERIFIED = auto()
    """REFUSE: the rule needs the room's non-member state, and that is not verified yet."""
    NOTHING_VISIBLE = auto()
    """REFUSE: an empty answer would make the requester stop asking; the error makes it ask another server."""


class UnableSpelling(StrEnum):
    """How the error code of MSC3895 is spelled; the setting `ERRCODE`."""

    UNSTABLE = "unstable"
    STABLE = "stable"

    @property
    def errcode(self) -> str:
        """The Matrix error code itself (MSC3895, "Unstable Prefixes")."""
        if self is UnableSpelling.STABLE:
            return "M_UNABLE_DUE_TO_PARTIAL_STATE"
        return "ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE"


@dataclass(frozen=True, slots=True)
class MatrixError:
    """A finished error response of the server-server API, to be relayed as it is."""

    http_status: int
    errcode: str
    error: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """An event that could be shown, as the frontend found it."""

    event_id: EventId
    sender: UserId
    history_visibility: str | None = None
    """The room's history visibility at the event; None if unknown."""


class CheckRequest(NamedTuple):
    """A federation request, described by what it names."""

    endpoint: Endpoint
    origin: ServerName
    room_id: RoomId | None = None
    """For /event/{eventId}: the event's room, which the frontend has looked up."""
    event_ids: tuple[EventId, ...] = ()
    """The path's event id, every `latest_events` of get_missing_events, every `v` of backfill."""
    user_id: UserId | None = None
    candidates: tuple[Candidate, ...] = ()
    """For get_missing_events and backfill: what the frontend's walk found; empty before the walk."""
    allow_room_ids: tuple[RoomId, ...] = ()
    """The rooms that the join rule of `room_id` names in `allow`."""
    user_in_a_full_allow_room: bool | None = None
    user_invited_or_joined: bool | None = None
    can_issue_invite: bool | None = None


@dataclass(frozen=True, slots=True)
class RoomView:
    """What the registry knows of one partial room and decisions read.

    A room is partial in every status, confirmed or not, abandoned or not: none of these matters to a decision.
    Where several partial events leave different current non-member states, each is a candidate.
    """

    room_id: RoomId
    generation: Generation
    verified: bool
    """Whether the non-member state's signatures and auth are verified. Until then the fields below prove nothing."""
    acls: tuple[ServerAcl, ...] = ()
    """The candidates for the room's ACL, parsed once. Empty: the room has none."""
    join_rules: tuple[str, ...] = ()
    """The candidates for `join_rule`. Empty or conflicting counts as closed."""
    history_visibilities: tuple[str, ...] = ()
    """The candidates for `history_visibility`. Empty or conflicting counts as closed."""


class Facts(NamedTuple):
    """What is known of all that a request names. `decisions.needs` says what must be looked up."""

    rooms: Mapping[RoomId, RoomView] = MappingProxyType({})
    """The partial rooms among those named, allow rooms included; a room that is absent is not partial."""
    event_rooms: Mapping[EventId, RoomId] = MappingProxyType({})
    """The rooms of the named events and candidates, where the registry knows them."""
    sent: AbstractSet[EventId] = frozenset()
    """The named events and candidates that, by the ledger, were sent to the origin."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a check."""

    verdict: Verdict
    reason: Reason
    generation: Generation | None = None
    """The generation of the named room, if that is partial."""
    error: MatrixError | None = None
    """What to relay; set exactly with REFUSE."""
    optional_error_instead_of_forbidden: MatrixError | None = None
    """With PROCEED: what to return where the frontend's own checks would deny access."""
    visible_event_ids: tuple[EventId, ...] = ()
    """With ANSWER_FILTERED: the candidates to show, in their order. The rest is omitted, not redacted."""
    walk_from: tuple[EventId, ...] = ()
    """With ANSWER_FILTERED: the named events from which the answer may walk."""


class InvalidCheck(StrEnum):
    """Why a request cannot be decided."""

    ROOM_ID_MISSING = auto()
    EVENT_IDS_MISSING = auto()
    TOO_MANY_EVENT_IDS = auto()
    TOO_MANY_CANDIDATES = auto()
    TOO_MANY_ALLOW_ROOMS = auto()


class InvalidCheckError(ValueError):
    """A request lacks what its endpoint needs, or has too much of it; the no-decision table applies to it."""

    def __init__(self, reason: InvalidCheck, text: str) -> None:
        super().__init__(text)
        self.reason = reason

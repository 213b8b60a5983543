"""Checks: what a frontend asks, and what it is told."""

from dataclasses import dataclass
from enum import auto

from partialstate._api_name import ApiName
from partialstate.consistency import Consistency, StateToken
from partialstate.endpoints import Endpoint
from partialstate.errors import PartialStateError
from partialstate.no_decision import ErrorResponse


class Verdict(ApiName):
    """What a frontend is to do. No verdict waives the check that each named event belongs to the named room."""

    PROCEED = auto()
    """No partial room is concerned: do all the usual checks."""
    ANSWER = auto()
    """The room is partial, yet serve the request: skip only the check that the origin is in the room."""
    ANSWER_FILTERED = auto()
    """The same, but show only `Decision.visible_event_ids`."""
    REFUSE = auto()
    """Relay `Decision.error` as it is."""


class Reason(ApiName):
    """Why a verdict was given."""

    NO_ROOM_NAMED = auto()
    """PROCEED: the endpoint concerns no room, or the request names none."""
    ROOM_NOT_PARTIAL = auto()
    """PROCEED: no room that matters to the request is partial."""
    ALREADY_IN_ROOM = auto()
    """PROCEED: the user is invited to or in the room, so that no allow room matters."""
    IN_FULL_ALLOW_ROOM = auto()
    """PROCEED: a room that is full here proves what the join rule asks for."""
    ALLOW_ROOM_PARTIAL = auto()
    """PROCEED or REFUSE: a partial allow room keeps the service from knowing."""
    CANNOT_ISSUE_INVITE = auto()
    """PROCEED or REFUSE: the join is allowed but no local user may vouch for it."""
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
    """REFUSE: another resident server has to make or take this membership."""
    EVENT_IN_OTHER_ROOM = auto()
    """REFUSE: a named event belongs to another room than the named one."""
    MEMBERSHIP_UNKNOWN = auto()
    """REFUSE: it cannot be proven that the origin is in the room."""
    STATE_UNKNOWN = auto()
    """REFUSE: the answer itself is the state that we lack."""
    ROOM_UNVERIFIED = auto()
    """REFUSE: the rule needs the room's non-member state, and that is not verified yet."""
    NOTHING_VISIBLE = auto()
    """REFUSE: an empty answer would make the requester stop asking."""

    UNKNOWN = auto()
    """A reason of a newer service."""
    NO_CHECK_NEEDED = auto()
    """PROCEED, by `decide` alone: the endpoint needs no membership, so the service was not asked."""
    NO_DECISION = auto()
    """By `decide` alone: the service gave no decision, and the no-decision table applies."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An event that could be shown."""

    event_id: str
    sender: str
    history_visibility: str = ""
    """The room's history visibility at the event, such as "shared"; empty if unknown."""


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """A federation request, described by what it names."""

    endpoint: Endpoint
    origin: str
    """The server that asks, as authenticated by its X-Matrix signature."""
    room_id: str = ""
    """The room that the request names. For EVENT: the room of the event, which the frontend looks up first."""
    event_ids: tuple[str, ...] = ()
    """The path's event id, every `latest_events` of get_missing_events, every `v` of backfill; at most 100."""
    user_id: str = ""
    candidates: tuple[Candidate, ...] = ()
    """For get_missing_events and backfill: the events that the frontend's walk found; at most 500."""
    allow_room_ids: tuple[str, ...] = ()
    """For the join family and hierarchy: the rooms whose members the join rule allows."""
    user_in_a_full_allow_room: bool | None = None
    """For restricted joins: whether the user is in an allow room that is full here. None: not known yet."""
    user_invited_or_joined: bool | None = None
    """For restricted joins: whether the user is invited to or joined in the room already."""
    can_issue_invite: bool | None = None
    """For restricted joins: whether a local user may issue the invite that the join needs."""
    consistency: Consistency | None = None
    """How fresh the registry must be; None: fully consistent. Ignored in `batch_check`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a frontend is to do with one request, and why."""

    verdict: Verdict
    reason: Reason
    generation: int = 0
    """The generation of the partial room that the decision is about; 0 if none is."""
    error: ErrorResponse | None = None
    """The error to relay; set exactly with REFUSE."""
    error_instead_of_forbidden: ErrorResponse | None = None
    """With PROCEED: what to return in place of the frontend's own refusal.

    That is M_FORBIDDEN for a join, and for a hierarchy the 404 of an inaccessible room.
    """
    visible_event_ids: tuple[str, ...] = ()
    """With ANSWER_FILTERED: the candidates to show, in their order. The rest is omitted, not redacted."""
    walk_from_event_ids: tuple[str, ...] = ()
    """With ANSWER_FILTERED: the named events from which the answer may walk."""
    state_token: StateToken | None = None
    """The registry that the decision was made on; None where the service was not asked or did not answer."""
    failure: PartialStateError | None = None
    """With NO_DECISION: what became of the check."""

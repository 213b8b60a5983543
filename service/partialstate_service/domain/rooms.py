"""A partial-state room as the registry knows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from partialstate_service.domain.ids import EventId, Generation, Position, Revision, RoomId, ServerName


class RoomStatus(StrEnum):
    """Where a room stands; none is final."""

    RESYNCING = "RESYNCING"
    STALLED = "STALLED"
    AWAITING_IMPORT = "AWAITING_IMPORT"
    ABANDONED = "ABANDONED"


class Ending(StrEnum):
    """How the partial state of a room ended."""

    IMPORTED = "IMPORTED"
    PURGED = "PURGED"
    JOIN_FAILED = "JOIN_FAILED"


class ReleaseReason(StrEnum):
    """Why the homeserver releases a room."""

    LEFT = "LEFT"
    PURGED = "PURGED"
    JOIN_FAILED = "JOIN_FAILED"


class Priority(IntEnum):
    """How urgent a resync is; the greater, the sooner."""

    NORMAL = 1
    USER_WAITING = 2


class ResyncStage(StrEnum):
    """What a resync is doing."""

    WAITING = "WAITING"
    VERIFYING_JOIN = "VERIFYING_JOIN"
    FETCHING_STATE_IDS = "FETCHING_STATE_IDS"
    FETCHING_EVENTS = "FETCHING_EVENTS"
    AUTHORISING = "AUTHORISING"
    REPLAYING = "REPLAYING"
    DONE = "DONE"


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """What one server answered last for one room, and how long it is left alone. Times are Unix milliseconds."""

    server: ServerName
    outcome: str
    at_ms: int
    detail: str = ""
    failures: int = 0
    cooldown_until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a resync is. Lists are bounded by the worker; the registry stores what it is given."""

    stage: ResyncStage = ResyncStage.WAITING
    events_fetched: int = 0
    events_verified: int = 0
    events_expected: int = 0
    attempts: int = 0
    next_attempt_ms: int | None = None
    last_failure: str = ""
    """Why the last attempt ended without success; empty after a success."""
    findings: tuple[str, ...] = ()
    """What is to be known of the recovered state, in texts for people, the latest last."""
    servers: tuple[ServerRecord, ...] = ()
    unverified: tuple[EventId, ...] = ()
    left_out: tuple[EventId, ...] = ()
    keys_missing_since_ms: int | None = None
    """Since when a state is at hand that only signing keys are missing for; patience with keys begins there."""


@dataclass(frozen=True, slots=True)
class StateSummary:
    """The non-member state that checks need, each as all the values that may be the current one.

    One value: known. Several: conflicting, so the strictest counts. None: the room has no such event.
    """

    acls: tuple[Mapping[str, Any], ...] = ()
    """Contents of m.room.server_acl."""
    join_rules: tuple[Mapping[str, Any], ...] = ()
    """Contents of m.room.join_rules."""
    history_visibilities: tuple[str, ...] = ()
    """The history_visibility of m.room.history_visibility."""


@dataclass(frozen=True, slots=True)
class PartialRoom:
    """One room of the registry. Times are Unix milliseconds."""

    room_id: RoomId
    generation: Generation
    status: RoomStatus
    room_version: str
    join_event_id: EventId
    joined_via: ServerName | None
    servers: tuple[ServerName, ...]
    join_confirmed: bool
    state_verified: bool
    registered_at_ms: int
    summary: StateSummary
    priority: Priority = Priority.NORMAL
    device_list_position: int | None = None
    pending_events: int = 0
    """Recorded partial events whose full state is not in the log yet."""
    unimported_events: int = 0
    """Recorded partial events that are not acknowledged as imported yet."""
    log_position: Position = Position(0)
    acknowledged: Position = Position(0)
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What remains of a join whose partial state has ended."""

    room_id: RoomId
    generation: Generation
    join_event_id: EventId
    ending: Ending
    ended_at_ms: int


@dataclass(frozen=True, slots=True)
class StateToken:
    """One point in the registry's history: which store, how many changes, and the change's own random id."""

    store_id: str
    revision: Revision
    chain_id: str

    def __str__(self) -> str:
        return f"{self.store_id}.{self.revision}.{self.chain_id}"


class InvalidStateTokenError(ValueError):
    """A text is not a state token."""


def parse_state_token(text: str) -> StateToken:
    """Return the token that `str(token)` gave, or raise `InvalidStateTokenError`."""
    match text.split("."):
        case [store_id, revision, chain_id] if revision.isascii() and revision.isdigit() and len(text) <= 128:  # noqa: PLR2004 - far above any token of ours
            return StateToken(store_id, Revision(int(revision)), chain_id)
        case _:
            raise InvalidStateTokenError(f"not a state token: {text[:64]!a}")

"""Partial-state rooms, as the registry holds them."""

from dataclasses import dataclass
from datetime import datetime
from enum import auto

from partialstate._api_name import ApiName
from partialstate.consistency import StateToken


class RoomStatus(ApiName):
    """Where a partial-state room stands."""

    RESYNCING = auto()
    """Events of the room still lack their full state, and work goes on."""
    STALLED = auto()
    """Every candidate server has refused or failed once; retried for ever, with backoff."""
    AWAITING_IMPORT = auto()
    """Every recorded partial event has its full state in the log: import it, then `confirm_import`."""
    ABANDONED = auto()
    """The homeserver has left the room but still holds its partial events."""
    UNKNOWN = auto()
    """A status of a newer service."""


class Ending(ApiName):
    """How the partial state of a room ended."""

    IMPORTED = auto()
    """The recovered state was imported and confirmed: the room is full."""
    PURGED = auto()
    """The homeserver purged the room."""
    JOIN_FAILED = auto()
    """No event of the join was persisted."""
    UNKNOWN = auto()
    """An ending of a newer service."""


class ResyncStage(ApiName):
    """What a resync is doing."""

    WAITING = auto()
    """No worker holds the room at present."""
    VERIFYING_JOIN = auto()
    """Verifying the send_join response."""
    FETCHING_STATE_IDS = auto()
    """Asking for the list of the missing state."""
    FETCHING_EVENTS = auto()
    """Fetching and verifying the missing events."""
    AUTHORISING = auto()
    """Authorising the fetched state."""
    REPLAYING = auto()
    """Computing the full state of the partial events."""
    DONE = auto()
    """Every recorded partial event has its full state."""
    UNKNOWN = auto()
    """A stage of a newer service."""


@dataclass(frozen=True, slots=True)
class ServerOutcome:
    """What a server answered last."""

    server_name: str
    outcome: str
    """Such as "ok", "unable", "forbidden", "timeout" or "invalid"."""
    at: datetime | None
    detail: str
    """In a short text for people: what exactly."""
    cooldown_until: datetime | None
    """Until when the server is not asked again; None: it may be asked now."""


@dataclass(frozen=True, slots=True)
class ResyncProgress:
    """How far a resync is and what it met."""

    stage: ResyncStage
    events_fetched: int
    events_verified: int
    events_expected: int
    """How many events the missing state is expected to have; 0 while unknown."""
    attempt_count: int
    next_attempt: datetime | None
    """When the next attempt is due; None while one runs or none is needed."""
    servers: tuple[ServerOutcome, ...]
    unverified_event_ids: tuple[str, ...]
    """Events that nobody's key could verify and that were left out by policy."""
    left_out_event_ids: tuple[str, ...]
    """Events that failed auth and were left out because every reachable server had them."""
    last_failure: str
    """In a short text for people: why the last attempt ended without success; or empty."""
    findings: tuple[str, ...]
    """In short texts for people: what is to be known of the recovered state, such as servers that tell another one."""


@dataclass(frozen=True, slots=True)
class PartialRoom:
    """One room of the registry."""

    room_id: str
    generation: int
    """The number of this partial join; grows with every further one of the room."""
    status: RoomStatus
    room_version: str
    join_event_id: str
    joined_via: str
    servers: tuple[str, ...]
    """The servers in the room at the join, and those added since, without ourselves."""
    join_confirmed: bool
    state_verified: bool
    """Whether the non-member state is verified; until then rules that need it refuse."""
    registered_at: datetime | None
    pending_event_count: int
    """How many recorded partial events still lack full state."""
    unimported_event_count: int
    """How many partial events are not yet imported and acknowledged."""
    log_position: int
    """The last position of the recovered-state log; 0 while it is empty."""
    acknowledged_position: int
    resync: ResyncProgress
    device_list_position: int | None


@dataclass(frozen=True, slots=True)
class RoomSnapshot:
    """A room, and the registry as the room was read."""

    room: PartialRoom
    state_token: StateToken


@dataclass(frozen=True, slots=True)
class RoomsPage:
    """Some of the partial rooms, ordered by room id."""

    rooms: tuple[PartialRoom, ...]
    state_token: StateToken
    """The registry before the page was read; the first page's is the one to watch or reconcile from."""


@dataclass(frozen=True, slots=True)
class Destinations:
    """The servers that events of a partial room must be sent to."""

    servers: tuple[str, ...]
    generation: int

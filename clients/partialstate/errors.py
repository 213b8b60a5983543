"""What goes wrong with a call."""

from collections.abc import Mapping
from enum import auto

from partialstate._api_name import ApiName


class ErrorReason(ApiName):
    """The reason that the service gives with every error (`google.rpc.ErrorInfo.reason`)."""

    INVALID_FIELD = auto()
    """A field is missing or malformed; facts: field."""
    INVALID_STREAM = auto()
    """The stream does not begin with exactly one header."""
    TRUNCATED_RESPONSE = auto()
    """The send_join response is not a JSON object, or was cut off; facts: offset."""
    RESPONSE_NOT_PARTIAL = auto()
    """The send_join response is complete: persist it as a full join."""
    MEMBERS_OMITTED_UNASKED = auto()
    """The response omits members though the request did not ask for it: refuse the join."""
    NO_SERVERS_IN_ROOM = auto()
    """servers_in_room is missing, empty or malformed."""
    ONLY_OURSELVES_IN_ROOM = auto()
    """Neither joined_via nor servers_in_room names a server other than ourselves."""
    MISSING_CREATE_EVENT = auto()
    """The state has no m.room.create event."""
    WRONG_ROOM_VERSION = auto()
    """The create event names another room version; facts: given, found."""
    UNSUPPORTED_ROOM_VERSION = auto()
    """The service does not know the room version; facts: given, supported."""
    EVENT_ID_MISMATCH = auto()
    """An event id does not recompute; facts: given, computed."""
    INVALID_EVENT = auto()
    """An event is malformed; facts: event."""
    WRONG_ROOM = auto()
    """An event is of another room; facts: event."""
    NOT_OUR_JOIN = auto()
    """The join event is not a join of one of our users; facts: event."""
    TOO_LARGE = auto()
    """The request is larger than a limit; facts: limit."""
    ROOM_NOT_PARTIAL = auto()
    """The room is not partial; facts: room_id, last_generation, ending."""
    STALE_GENERATION = auto()
    """The room has a later generation; facts: given, current."""
    JOIN_CONFIRMED = auto()
    """The join is confirmed, so it did not fail."""
    IMPORT_INCOMPLETE = auto()
    """More is to be imported, or events lack their state; facts: position, log_position, pending_events."""
    POSITION_OUT_OF_RANGE = auto()
    """A position beyond the log's end; facts: position, log_position."""
    TOKEN_TOO_OLD = auto()
    """The change log no longer reaches back to the token."""
    FOREIGN_TOKEN = auto()
    """The token is of another store, or of a history that this store has lost."""
    INVALID_TOKEN = auto()
    """The state token is not one of the service's."""
    NOT_RECONCILED = auto()
    """The store is fresh or has lost writes: nothing is decided before ReconcileRooms."""
    STORE_UNAVAILABLE = auto()
    """The service cannot reach its store in time."""
    READER_TOO_SLOW = auto()
    """The reader of a stream is too slow."""
    UNAUTHENTICATED = auto()
    """The call carries no token, or a wrong one."""
    STOPPING = auto()
    """The service is stopping; another replica will answer."""
    ROOM_ABANDONED = auto()
    """The room is abandoned: it can be joined again or purged."""
    INTERNAL = auto()
    """A defect of the service; facts: request_id, to be found in its log."""
    MISSING_EVENTS = auto()
    """Events are needed that neither side brought; facts: event_ids, count."""
    PERMISSION_DENIED = auto()
    """The client has none of the roles that may call this; facts: client, roles."""
    TOO_MANY_CALLS = auto()
    """The client, or all together, have too many calls at the same time; facts: limit, scope."""
    CALL_RATE_EXCEEDED = auto()
    """The client makes more calls per second than it may; facts: calls_per_second, burst."""
    STORE_NOT_UNDERSTOOD = auto()
    """A newer release has written what this replica cannot read; another replica may."""

    UNKNOWN = auto()
    """No reason was given (the connection failed, say), or one of a newer service."""


class PartialStateError(Exception):
    """The root of what the client raises. No error is a decision: for a check, the no-decision table applies.

    PartialStateError
    ├── NoAnswerError                 there is no result; the same call may be repeated
    │   ├── UnavailableError          the service cannot be reached, is stopping, lacks its store or gets too many calls
    │   │   └── NotReconciledError    the service waits for `reconcile_rooms`
    │   ├── DeadlineExceededError     the deadline passed; a write may have happened all the same
    │   └── ReaderTooSlowError        a stream was read too slowly
    ├── RefusedError                  the service refused; the same call will be refused again
    │   ├── InvalidRequestError       a field, an event or the send_join response is not as it must be
    │   ├── TooLargeError             a limit is exceeded
    │   ├── UnauthenticatedError      the token or the certificate is missing, wrong or not enough
    │   ├── RoomNotPartialError       the room is not partial
    │   ├── ResponseNotPartialError   the send_join response is complete: persist a full join
    │   ├── StaleGenerationError      the room has been joined again
    │   ├── JoinConfirmedError        a confirmed join cannot be released as failed
    │   ├── RoomAbandonedError        the room was left
    │   ├── MissingEventsError        the verdict needs further events
    │   ├── ImportIncompleteError     there is more to import
    │   ├── PositionOutOfRangeError   a position beyond the log's end
    │   └── ListAgainError            a state token leads nowhere: list the rooms and watch from there
    └── ServiceDefectError            the service failed, or answered what this client cannot read
    """

    def __init__(
        self,
        message: str,
        *,
        status: str = "UNKNOWN",
        reason: ErrorReason = ErrorReason.UNKNOWN,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """*status* is the name of the gRPC status code, *facts* what the service told beside the reason."""
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.facts: Mapping[str, str] = dict(facts or {})
        self.retry_after_s = 0.0
        """The service will refuse the same call before; 0 where it does not say. Repetitions by the client wait so long."""

    def _number(self, fact: str) -> int:
        text = self.facts.get(fact, "")
        return int(text) if text.isdecimal() else 0


class NoAnswerError(PartialStateError):
    """There is no result; the same call may be repeated, since every call is idempotent."""


class UnavailableError(NoAnswerError):
    """The service cannot be reached, is stopping, lacks its store, or gets too many calls."""


class NotReconciledError(UnavailableError):
    """The store is fresh or has lost writes: nothing is decided before `reconcile_rooms`."""


class DeadlineExceededError(NoAnswerError):
    """The deadline passed. A write may have happened all the same; repeating it is safe."""


class ReaderTooSlowError(NoAnswerError):
    """A stream was read too slowly; take it up again from the last token."""


class RefusedError(PartialStateError):
    """The service refused the call, and will refuse it again."""


class InvalidRequestError(RefusedError):
    """A field, an event or the send_join response is not as it must be; `reason` says which."""


class TooLargeError(RefusedError):
    """The request exceeds a limit."""


class UnauthenticatedError(RefusedError):
    """The token or the certificate is missing or wrong, or its roles do not allow the call."""


class RoomNotPartialError(RefusedError):
    """The room is not partial."""

    @property
    def last_generation(self) -> int:
        """The last generation of the room; 0 if it was never partial as far as is remembered."""
        return self._number("last_generation")

    @property
    def ending(self) -> str:
        """How the partial state ended: a name of `Ending`, or empty."""
        return self.facts.get("ending", "")


class ResponseNotPartialError(RefusedError):
    """The send_join response is complete: persist it as a full join."""


class StaleGenerationError(RefusedError):
    """The room has been joined again."""

    @property
    def current(self) -> int:
        """The room's generation now."""
        return self._number("current")


class JoinConfirmedError(RefusedError):
    """A confirmed join did not fail: release the room as PURGED or LEFT."""


class RoomAbandonedError(RefusedError):
    """The room was left: it can be joined again or purged."""


class MissingEventsError(RefusedError):
    """The verdict needs events that neither side brought: repeat the call with them."""

    @property
    def event_ids(self) -> tuple[str, ...]:
        """Events that are missing; not all of them where they are many."""
        return tuple(self.facts.get("event_ids", "").split())


class ImportIncompleteError(RefusedError):
    """The partial state cannot end yet."""

    @property
    def log_position(self) -> int:
        """The log's last position: import up to it."""
        return self._number("log_position")

    @property
    def pending_events(self) -> int:
        """How many partial events still lack their full state."""
        return self._number("pending_events")


class PositionOutOfRangeError(RefusedError):
    """The position lies beyond the end of the recovered-state log."""

    @property
    def log_position(self) -> int:
        """The log's last position."""
        return self._number("log_position")


class ListAgainError(RefusedError):
    """The history since the state token is not to be had: list the rooms, and watch from the list's token."""


class ServiceDefectError(PartialStateError):
    """The service failed, or answered what this client cannot read."""

"""The errors of the domain: they carry facts; `rpc/status.py` maps each to a status code."""

from collections.abc import Set as AbstractSet

from partialstate_service.domain.ids import EventId, Generation, Position, RoomId
from partialstate_service.domain.rooms import Tombstone


class PartialStateError(Exception):
    """The root of what the service raises on purpose.

    PartialStateError
    ├── RoomNotPartialError
    ├── StaleGenerationError
    ├── OtherRoomVersionError
    ├── JoinConfirmedError
    ├── RoomAbandonedError
    ├── MissingEventsError
    ├── ImportIncompleteError
    ├── PositionOutOfRangeError
    ├── LeaseLostError
    ├── TokenTooOldError
    ├── ForeignTokenError
    ├── ReaderTooSlowError
    ├── NotReconciledError
    └── StoreUnavailableError
        └── StoreNotUnderstoodError
    """


class RoomNotPartialError(PartialStateError):
    """The room is not partial (any more)."""

    def __init__(self, room_id: RoomId, tombstone: Tombstone | None = None) -> None:
        self.room_id = room_id
        self.tombstone = tombstone
        super().__init__(f"the room {room_id!a} is not partial")


class StaleGenerationError(PartialStateError):
    """The room has been joined again: the given generation is not the current one."""

    def __init__(self, room_id: RoomId, given: Generation, current: Generation) -> None:
        self.room_id = room_id
        self.given = given
        self.current = current
        super().__init__(f"generation {given} of the room {room_id!a} is not the current one, {current}")


class OtherRoomVersionError(PartialStateError):
    """A join names another room version than the one that the room is partial with; a room's version never changes."""

    def __init__(self, room_id: RoomId, given: str, current: str) -> None:
        self.room_id = room_id
        self.given = given
        self.current = current
        super().__init__(
            f"the room {room_id!a} is partial with the version {current!a:.32}, the request says {given!a:.32}: "
            "release the room as PURGED first if that was wrong"
        )


class JoinConfirmedError(PartialStateError):
    """A join that was confirmed cannot be released as failed."""

    def __init__(self, room_id: RoomId, generation: Generation) -> None:
        self.room_id = room_id
        self.generation = generation
        super().__init__(
            f"the join {generation} of the room {room_id!a} is confirmed, so it did not fail: "
            "release the room as PURGED or LEFT"
        )


class RoomAbandonedError(PartialStateError):
    """The homeserver has left the room, so there is nothing to resync or import."""

    def __init__(self, room_id: RoomId) -> None:
        self.room_id = room_id
        super().__init__(f"the room {room_id!a} is abandoned: join it again, or purge it")


class MissingEventsError(PartialStateError):
    """Events are needed that neither the caller gave nor the service holds."""

    def __init__(self, room_id: RoomId, event_ids: AbstractSet[EventId]) -> None:
        self.room_id = room_id
        self.event_ids = event_ids
        super().__init__(
            f"{len(event_ids)} events of the room {room_id!a} are missing, such as {min(event_ids)}"
        )


class ImportIncompleteError(PartialStateError):
    """ConfirmImport came too early: more of the log is to be imported, or events still lack their state."""

    def __init__(self, room_id: RoomId, given: Position, log_position: Position, pending_events: int) -> None:
        self.room_id = room_id
        self.given = given
        self.log_position = log_position
        self.pending_events = pending_events
        super().__init__(
            f"the import of the room {room_id!a} is not complete: imported up to {given} of {log_position}, "
            f"{pending_events} partial events still lack their full state"
        )


class PositionOutOfRangeError(PartialStateError):
    """A position lies beyond the end of the recovered-state log."""

    def __init__(self, room_id: RoomId, given: Position, log_position: Position) -> None:
        self.room_id = room_id
        self.given = given
        self.log_position = log_position
        super().__init__(f"the log of the room {room_id!a} ends at {log_position}, before {given}")


class LeaseLostError(PartialStateError):
    """The caller no longer holds the lease on the room: its attempt must end and write nothing more."""

    def __init__(self, room_id: RoomId) -> None:
        self.room_id = room_id
        super().__init__(f"the lease on the room {room_id!a} is lost")


class TokenTooOldError(PartialStateError):
    """The change log no longer reaches back to a state token."""


class ForeignTokenError(PartialStateError):
    """A state token is of another store, or of a history that this store has lost."""


class ReaderTooSlowError(PartialStateError):
    """A reader of the changes lags further than its queue holds: it may resume with its last token."""


class NotReconciledError(PartialStateError):
    """The store is fresh or has lost writes: nothing is decided before ReconcileRooms."""


class StoreUnavailableError(PartialStateError):
    """The store did not answer in time, or refused; the driver's text is in the log only."""


class StoreNotUnderstoodError(StoreUnavailableError):
    """The store holds what a newer release has written and this one cannot read: it must not guess."""

    def __init__(self, what: str) -> None:
        """*what* cannot be read."""
        super().__init__(f"the store was written by a newer release: update this one ({what})")

"""The rooms that a homeserver holds as partial, compared with the registry."""

from dataclasses import dataclass

from partialstate.consistency import StateToken
from partialstate.events import Pdu
from partialstate.recording import PartialEvent
from partialstate.rooms import Ending


@dataclass(frozen=True, slots=True)
class HeldRoom:
    """A room that the homeserver holds as partial.

    The id is enough for a room that is partial in the registry. With version and join event its join is compared and
    confirmed, and one that the registry does not know is registered by the rest.
    """

    room_id: str
    room_version: str = ""
    join_event: bytes = b""
    joined_via: str = ""
    servers: tuple[str, ...] = ()
    non_member_state: tuple[Pdu, ...] = ()
    """The current non-member state events, among them m.room.create, with their auth events."""
    partial_events: tuple[PartialEvent, ...] = ()
    """The partial events beside the join, oldest first."""
    device_list_position: int | None = None


@dataclass(frozen=True, slots=True)
class ReconciledRoom:
    """A room on which the homeserver and the registry differed."""

    room_id: str
    generation: int
    join_confirmed: bool
    ending: Ending | None


@dataclass(frozen=True, slots=True)
class UnregistrableRoom:
    """A room that could not be registered, and why."""

    room_id: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The differences between the homeserver and the registry, both ways."""

    registered: tuple[ReconciledRoom, ...]
    """Rooms that the registry did not know and that are registered now."""
    failed: tuple[UnregistrableRoom, ...]
    """Rooms that the registry did not know and that could not be registered."""
    unknown_to_homeserver: tuple[ReconciledRoom, ...]
    """Rooms that the registry holds and the homeserver did not name; nothing was done to them."""
    ended: tuple[ReconciledRoom, ...]
    """Rooms that the homeserver holds as partial though their partial state has ended here."""
    agreed_count: int
    state_token: StateToken

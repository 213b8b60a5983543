"""The event as the rest of the protocol core sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from partialstate_service.domain.ids import EventId, RoomId, UserId
from partialstate_service.matrix.room_versions import RoomVersion

JsonObject: TypeAlias = Mapping[str, Any]
StateKey: TypeAlias = tuple[str, str]
"""(event type, state key): the name of one slot of a room's state."""
StateMap: TypeAlias = Mapping[StateKey, EventId]


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One parsed event (PDU). Events are equal when they are the same object; compare `event_id` for identity.

    `raw` is the JSON as it is to be stored and passed on: for an event whose content hash did not match,
    that is the redacted copy, and `hash_matches` is False (server-server API, "Checks performed on receipt").
    """

    event_id: EventId
    room_id: RoomId
    type: str
    state_key: str | None
    sender: UserId
    depth: int
    origin_server_ts: int
    prev_event_ids: tuple[EventId, ...]
    auth_event_ids: tuple[EventId, ...]
    content: JsonObject
    raw: JsonObject
    room_version: RoomVersion
    hash_matches: bool = True

    @property
    def is_state(self) -> bool:
        """Whether the event has a state key, be it empty."""
        return self.state_key is not None

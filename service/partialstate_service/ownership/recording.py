"""RecordPartialEvents: events whose state the homeserver computed from partial state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from partialstate_service.domain.errors import RoomNotPartialError
from partialstate_service.domain.ids import (
    Generation,
    InvalidIdError,
    RoomId,
    ServerName,
    parse_user_id,
    server_of,
)
from partialstate_service.domain.rooms import StateToken
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.room_versions import RoomVersion, room_version
from partialstate_service.ownership.given_events import parse_given, summarise
from partialstate_service.ownership.refusals import require_at_most
from partialstate_service.ownership.registration import recorded
from partialstate_service.store.protocol import RecordedEvent, RecordOutcome, Registry

MAX_RECORDED_EVENTS = 500
MAX_NON_MEMBER_STATE = 100
"""Candidates for three kinds of state: far more branches than a room can sensibly have."""


@dataclass(frozen=True, slots=True)
class GivenPdu:
    """One event as a frontend gives it; the id may be empty."""

    event_id: str
    json: bytes


@dataclass(frozen=True, slots=True)
class GivenPartialEvent:
    """One partial event as a frontend gives it."""

    pdu: GivenPdu
    accepted: bool
    non_member_state_after: Sequence[GivenPdu]
    """The room's then current ACLs, join rules and history visibilities; empty: unchanged."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Records partial events of the homeserver *us*."""

    registry: Registry
    us: ServerName
    now_ms: Callable[[], int]

    async def record(
        self, room_id: RoomId, events: Sequence[GivenPartialEvent]
    ) -> tuple[Sequence[RecordOutcome], Generation, StateToken]:
        """Record *events*, oldest first, all or none; one outcome per event. Raises `RefusedInputError`."""
        require_at_most(MAX_RECORDED_EVENTS, len(events), "events")
        try:
            version = room_version((await self.registry.get(room_id)).room_version)
        except RoomNotPartialError:
            # Events of a room that is not partial need not be understood to be turned down.
            token = await self.registry.read_token()
            return [RecordOutcome.ROOM_NOT_PARTIAL] * len(events), Generation(0), token
        given = read_partial_events(room_id, version, events, self.us)
        return await self.registry.record_partial_events(
            room_id, given.events, self.now_ms(), given.servers_joined
        )


@dataclass(frozen=True, slots=True)
class PartialEvents:
    """Partial events as they are recorded."""

    events: list[RecordedEvent]
    servers_joined: list[ServerName]
    """Other servers whose users join by accepted events: from now on they must be sent the room's events."""


def read_partial_events(
    room_id: RoomId, version: RoomVersion, given_events: Sequence[GivenPartialEvent], us: ServerName
) -> PartialEvents:
    """Return the events parsed, which the homeserver *us* holds. Raises `RefusedInputError`."""
    parsed = []
    joined: dict[ServerName, None] = {}
    for index, given in enumerate(given_events):
        field = f"events[{index}]"
        event = parse_given(given.pdu.json, version, room_id, f"{field}.pdu", given.pdu.event_id)
        if given.accepted and (server := _joined_server(event)) is not None:
            joined[server] = None
        state = given.non_member_state_after
        require_at_most(MAX_NON_MEMBER_STATE, len(state), f"{field}.non_member_state_after")
        summary = None
        if state:
            summary = summarise(
                parse_given(pdu.json, version, room_id, f"{field}.non_member_state_after", pdu.event_id)
                for pdu in state
            )
        parsed.append(replace(recorded(event, accepted=given.accepted), summary=summary))
    return PartialEvents(parsed, [server for server in joined if server != us])


def _joined_server(event: Event) -> ServerName | None:
    if event.type != "m.room.member" or event.content.get("membership") != "join":
        return None
    try:
        return server_of(parse_user_id(event.state_key or ""))
    except InvalidIdError:
        return None

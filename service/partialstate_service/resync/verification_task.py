"""What a verifier process does: a chunk of events as bytes in, one verdict per event out. Imports only `matrix`.

Whatever takes CPU time per event is done here, once: nobody else parses, hashes or encodes it again.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.event_auth import AuthRejectionError, check_auth_by, claimed_auth_event_ids
from partialstate_service.matrix.event_core import PackedEvent, pack_core, unpack_core
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.matrix.parsing import InvalidEventError, parse_received
from partialstate_service.matrix.room_versions import room_version
from partialstate_service.matrix.signatures import SignatureOutcome, verify_event


class VerdictKind(IntEnum):
    """What an event proves to be."""

    VALID = 1
    KEY_UNKNOWN = 2
    BADLY_SIGNED = 3
    MALFORMED = 4


_KINDS = {
    SignatureOutcome.VALID: VerdictKind.VALID,
    SignatureOutcome.KEY_UNKNOWN: VerdictKind.KEY_UNKNOWN,
    SignatureOutcome.INVALID: VerdictKind.BADLY_SIGNED,
}


class EventVerdict(NamedTuple):
    """The verdict on one event, and all that is wanted of the event afterwards."""

    kind: VerdictKind
    event_id: EventId
    """Recomputed; empty for a malformed event."""
    text: str = ""
    """Why a malformed event is none."""
    auth_event_ids: tuple[EventId, ...] = ()
    core: bytes = b""
    """What `pack_core` makes of the event."""
    json: bytes | None = None
    """The event as it is to be stored, in canonical JSON; None where that is what was given."""
    hash_matches: bool = True
    """Whether the content is what was hashed; else `json` is the redacted copy that stands for the event."""
    is_allowed: bool = False
    """Whether it is known that its auth events allow it, if none of them is rejected itself; of valid events only."""


def verify_chunk(
    bodies: Sequence[bytes],
    version: str,
    room_id: RoomId,
    keys: Mapping[ServerName, ServerKeys],
    auth_events: Mapping[EventId, PackedEvent] = MappingProxyType({}),
) -> list[EventVerdict]:
    """Verify format, room, id, content hash and signatures of events; one verdict each, in their order.

    *auth_events* are verified events of the room: where they are all that an event claims, it is authorised too.
    """
    capabilities = room_version(version)
    known = {
        event_id: unpack_core(core, event_id, auth_event_ids, room_id, capabilities)
        for event_id, (auth_event_ids, core) in auth_events.items()
    }
    verdicts = []
    for body in bodies:
        try:
            event, canonical, covered = parse_received(body, capabilities, room_id=room_id)
        except InvalidEventError as error:
            verdicts.append(EventVerdict(VerdictKind.MALFORMED, EventId(""), str(error)))
            continue
        kind = _KINDS[verify_event(event, keys, covered).outcome]
        verdicts.append(
            EventVerdict(
                kind,
                event.event_id,
                auth_event_ids=event.auth_event_ids,
                core=pack_core(event),
                json=None if canonical == body else canonical,
                hash_matches=event.hash_matches,
                is_allowed=kind is VerdictKind.VALID and _is_allowed(event, known),
            )
        )
    return verdicts


def _is_allowed(event: Event, known: Mapping[EventId, Event]) -> bool:
    """Whether *event* is allowed by its auth events; where that is unclear, whoever has the whole room decides."""
    auth_events = []
    for auth_id in claimed_auth_event_ids(event):
        if (auth_event := known.get(auth_id)) is None:
            return False
        auth_events.append(auth_event)
    try:
        check_auth_by(event, auth_events, rejected=())
    except AuthRejectionError:
        return False
    return True

"""What a verifier process does: a chunk of events as bytes in, one verdict per event out. Imports only `matrix`.

Whatever takes CPU time per event is done here, once: nobody else parses, hashes or encodes it again.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.matrix.event_core import pack_core
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


def verify_chunk(
    bodies: Sequence[bytes], version: str, room_id: RoomId, keys: Mapping[ServerName, ServerKeys]
) -> list[EventVerdict]:
    """Verify format, room, id, content hash and signatures of events; one verdict each, in their order."""
    capabilities = room_version(version)
    verdicts = []
    for body in bodies:
        try:
            event, canonical, covered = parse_received(body, capabilities, room_id=room_id)
        except InvalidEventError as error:
            verdicts.append(EventVerdict(VerdictKind.MALFORMED, EventId(""), str(error)))
            continue
        verdicts.append(
            EventVerdict(
                _KINDS[verify_event(event, keys, covered).outcome],
                event.event_id,
                auth_event_ids=event.auth_event_ids,
                core=pack_core(event),
                json=None if canonical == body else canonical,
                hash_matches=event.hash_matches,
            )
        )
    return verdicts

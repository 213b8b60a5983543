"""What a verifier process does: a chunk of events as bytes in, one verdict per event out. Imports only `matrix`."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.matrix.canonical_json import encode_canonical
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.matrix.parsing import InvalidEventError, parse_event_bytes
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
    """The verdict on one event."""

    kind: VerdictKind
    event_id: EventId
    """Recomputed; empty for a malformed event."""
    text: str = ""
    """Why a malformed event is none."""
    redacted: bytes | None = None
    """The redacted copy that stands for an event whose content hash did not match."""


def verify_chunk(
    bodies: Sequence[bytes], version: str, room_id: RoomId, keys: Mapping[ServerName, ServerKeys]
) -> list[EventVerdict]:
    """Verify format, room, id, content hash and signatures of events; one verdict each, in their order."""
    capabilities = room_version(version)
    verdicts = []
    for body in bodies:
        try:
            event = parse_event_bytes(body, capabilities, room_id=room_id)
        except InvalidEventError as error:
            verdicts.append(EventVerdict(VerdictKind.MALFORMED, EventId(""), str(error)))
            continue
        redacted = None if event.hash_matches else _encode(event)
        kind = _KINDS[verify_event(event, keys).outcome]
        verdicts.append(EventVerdict(kind, event.event_id, redacted=redacted))
    return verdicts


def _encode(event: Event) -> bytes:
    return encode_canonical(event.raw, strict=event.room_version.strict_canonical_json)

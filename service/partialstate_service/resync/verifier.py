"""Verification of fetched events: format, room, id, content hash and signatures.

Parsing and verifying is CPU work: it runs in slices off the event loop. Events that cannot be verified are told
apart: a wrong signature will not become right, a key that nobody has may still turn up.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.federation.protocol import KeySource
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.matrix.parsing import InvalidEventError, parse_event_bytes
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.matrix.signatures import SignatureOutcome, required_signers, verify_event

_SLICE = 100
"""Events per slice of CPU work: some 10 ms, after which the event loop has its turn."""


@dataclass(slots=True)
class Verification:
    """What became of a batch of events."""

    valid: list[Event] = field(default_factory=list)
    key_unknown: dict[EventId, Event] = field(default_factory=dict)
    badly_signed: dict[EventId, Event] = field(default_factory=dict)
    malformed: list[str] = field(default_factory=list)
    """Why each event that is none could not be read."""


class Verifier:
    """Verifies events of one homeserver's rooms with the keys that *keys* finds."""

    def __init__(self, keys: KeySource) -> None:
        self._keys = keys

    async def verify(
        self,
        bodies: Sequence[bytes],
        version: RoomVersion,
        room_id: RoomId,
        notaries: Sequence[ServerName] = (),
    ) -> Verification:
        """Return what each of *bodies* proves to be; *notaries* are servers of the room, asked for missing keys."""
        result = Verification()
        events: list[Event] = []
        for start in range(0, len(bodies), _SLICE):
            parsed, malformed = await asyncio.to_thread(
                _parse, bodies[start : start + _SLICE], version, room_id
            )
            events += parsed
            result.malformed += malformed
        keys = await self._keys.keys_for(_wanted(events), also_ask=notaries)
        for start in range(0, len(events), _SLICE):
            await asyncio.to_thread(_verify_into, result, events[start : start + _SLICE], keys)
        return result


def _parse(bodies: Sequence[bytes], version: RoomVersion, room_id: RoomId) -> tuple[list[Event], list[str]]:
    events: list[Event] = []
    malformed: list[str] = []
    for body in bodies:
        try:
            events.append(parse_event_bytes(body, version, room_id=room_id))
        except InvalidEventError as error:
            malformed.append(str(error))
    return events, malformed


def _wanted(events: Sequence[Event]) -> dict[ServerName, int]:
    """Return each signing server with the latest time at which its key must be valid."""
    wanted: dict[ServerName, int] = {}
    for event in events:
        for server in required_signers(event):
            wanted[server] = max(wanted.get(server, 0), event.origin_server_ts)
    return wanted


def _verify_into(
    result: Verification, events: Sequence[Event], keys: Mapping[ServerName, ServerKeys]
) -> None:
    for event in events:
        match verify_event(event, keys).outcome:
            case SignatureOutcome.VALID:
                result.valid.append(event)
            case SignatureOutcome.KEY_UNKNOWN:
                result.key_unknown[event.event_id] = event
            case SignatureOutcome.INVALID:
                result.badly_signed[event.event_id] = event

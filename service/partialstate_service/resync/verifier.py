"""Verification of fetched events: format, room, id, content hash and signatures.

The keys are gathered per batch; the CPU work is done elsewhere (`verifier_pool`). Events that cannot be verified are
told apart: a wrong signature will not become right, a key that nobody has may still turn up.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple, Protocol

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.federation.protocol import KeySource
from partialstate_service.matrix.event_core import PackedEvent
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.matrix.room_versions import EventIdFormat, RoomVersion
from partialstate_service.resync.room_keys import RoomKeys
from partialstate_service.resync.verification_task import EventVerdict, VerdictKind
from partialstate_service.resync.wanted_keys import WantedKeys

CHUNK_EVENTS = 500
"""Events per chunk of CPU work: some 35 ms of one core."""


class ChunkVerifier(Protocol):
    """Whoever does the CPU work."""

    @property
    def at_once(self) -> int:
        """How many chunks keep it busy; more wait."""
        ...

    async def verify_chunk(
        self,
        bodies: Sequence[bytes],
        version: str,
        room_id: RoomId,
        keys: Mapping[ServerName, ServerKeys],
        auth_events: Mapping[EventId, PackedEvent],
    ) -> list[EventVerdict]:
        """Return what `verification_task.verify_chunk` does."""
        ...


class FetchedEvent(NamedTuple):
    """A well-formed event that was fetched: as little of it as is needed, and its JSON for the store."""

    event_id: EventId
    auth_event_ids: tuple[EventId, ...]
    core: bytes
    """See `matrix.event_core`."""
    json: bytes
    """Canonical."""
    hash_matches: bool
    """Whether the content is what was hashed; else this is the redacted copy."""
    is_allowed: bool = False
    """Whether it is known that its auth events allow it, if none of them is rejected itself."""


@dataclass(slots=True)
class Verification:
    """What became of a batch of events."""

    valid: list[FetchedEvent] = field(default_factory=list)
    key_unknown: list[FetchedEvent] = field(default_factory=list)
    badly_signed: list[FetchedEvent] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)
    """Why each event that is none could not be read."""


class Verifier:
    """Verifies events of one homeserver's rooms with the keys that *keys* finds."""

    def __init__(self, keys: KeySource, chunks: ChunkVerifier) -> None:
        self._keys = keys
        self._chunks = chunks

    def for_room(self) -> "Verifier":
        """Return a verifier that remembers the keys that it finds, for the events of one room."""
        return Verifier(RoomKeys(self._keys), self._chunks)

    @property
    def at_once(self) -> int:
        """How many chunks of `CHUNK_EVENTS` may be verified at a time."""
        return self._chunks.at_once

    async def verify(
        self,
        bodies: Sequence[bytes],
        version: RoomVersion,
        room_id: RoomId,
        notaries: Sequence[ServerName] = (),
        known_ids: Mapping[EventId, EventId] = MappingProxyType({}),
        wanted: WantedKeys | None = None,
        auth_events: Mapping[EventId, PackedEvent] = MappingProxyType({}),
    ) -> Verification:
        """Return what each of *bodies* proves to be; *notaries* are servers of the room, asked for missing keys.

        Event ids are taken from *known_ids* where these have them: from other processes come copies. *wanted* says
        whose keys *bodies* may need, where the caller has looked already. What *auth_events*, which are verified, suffice
        to authorise is authorised on the way.
        """
        wanted = wanted or WantedKeys.of(bodies, ids_have_servers=version.event_ids is EventIdFormat.GIVEN)
        servers = wanted.servers()
        keys = await self._keys.keys_for(servers, also_ask=notaries, key_ids=wanted.key_ids(servers))
        pieces = [
            self._chunks.verify_chunk(
                bodies[start : start + CHUNK_EVENTS], version.version, room_id, keys, auth_events
            )
            for start in range(0, len(bodies), CHUNK_EVENTS)
        ]
        return _sorted(bodies, chain.from_iterable(await asyncio.gather(*pieces)), known_ids)


def _sorted(
    bodies: Sequence[bytes], verdicts: Iterable[EventVerdict], known_ids: Mapping[EventId, EventId]
) -> Verification:
    result = Verification()
    by_kind = {
        VerdictKind.VALID.value: result.valid,
        VerdictKind.KEY_UNKNOWN.value: result.key_unknown,
        VerdictKind.BADLY_SIGNED.value: result.badly_signed,
    }
    for body, (kind, event_id, text, auth_event_ids, core, json, hash_matches, allowed) in zip(
        bodies, verdicts, strict=True
    ):
        if (events := by_kind.get(kind)) is None:
            result.malformed.append(text)
            continue
        known_id = known_ids.get(event_id, event_id)
        json_kept = body if json is None else json
        events.append(FetchedEvent(known_id, auth_event_ids, core, json_kept, hash_matches, allowed))
    return result

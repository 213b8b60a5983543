"""Verification of fetched events: format, room, id, content hash and signatures.

Events are verified with the keys at hand, and once more where keys are found that they lack; the CPU work is done
elsewhere (`verifier_pool`). Events that cannot be verified are told apart: a wrong signature will not become right, a
key that nobody has may still turn up.
"""

import asyncio
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple, Protocol

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.federation.key_answers import narrowed
from partialstate_service.federation.protocol import KeySource
from partialstate_service.matrix.event_core import PackedEvent
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.matrix.room_versions import EventIdFormat, RoomVersion
from partialstate_service.resync.room_keys import RoomKeys
from partialstate_service.resync.verification_task import EventVerdict, VerdictKind
from partialstate_service.resync.wanted_keys import WantedKeys

CHUNK_EVENTS = 500
"""Events per chunk of CPU work: some 35 ms of one core."""
_KEYS_MATTER = frozenset({VerdictKind.KEY_UNKNOWN, VerdictKind.BADLY_SIGNED})
"""A newer account of a server may say that a key is good for longer, so not only unknown ones are sought."""


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
        self._source = keys
        self._keys = RoomKeys(keys)
        self._chunks = chunks

    def for_room(self, source_of: Callable[[KeySource], KeySource]) -> "Verifier":
        """Return a verifier for the events of one room: it remembers the keys that it finds.

        It seeks them by what *source_of* makes of the source of this one's.
        """
        return Verifier(source_of(self._source), self._chunks)

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
        asked_for: Mapping[EventId, EventId] | None = None,
        wanted: WantedKeys | None = None,
        auth_events: Mapping[EventId, PackedEvent] = MappingProxyType({}),
    ) -> Verification:
        """Return what each of *bodies* proves to be; *notaries* are servers of the room, asked for missing keys.

        Keys are sought only for events that were *asked_for*, where that is told, and that prove to lack them: for others
        a server could make them up by the thousand. Event ids are taken from *asked_for* where it has them: from other
        processes come copies. *wanted* says whose keys *bodies* may need, where the caller has looked already. What
        *auth_events*, which are verified, suffice to authorise is authorised on the way.
        """
        ids_have_servers = version.event_ids is EventIdFormat.GIVEN
        wanted = wanted or WantedKeys.of(bodies, ids_have_servers=ids_have_servers)
        servers = wanted.servers()
        key_ids = wanted.key_ids(servers)

        async def judge(bodies: Sequence[bytes], keys: Mapping[ServerName, ServerKeys]) -> list[EventVerdict]:
            # Of what a server publishes, only what these signatures name goes to other processes.
            keys = {
                server: narrowed(keys[server], key_ids[server]) for server in keys.keys() & key_ids.keys()
            }
            pieces = [
                self._chunks.verify_chunk(
                    bodies[start : start + CHUNK_EVENTS], version.version, room_id, keys, auth_events
                )
                for start in range(0, len(bodies), CHUNK_EVENTS)
            ]
            return list(chain.from_iterable(await asyncio.gather(*pieces)))

        at_hand = self._keys.at_hand(servers)
        # Asked before the first await: keys that come for other events meanwhile were not used for these.
        are_all_at_hand = self._keys.has(servers, key_ids)
        verdicts = await judge(bodies, at_hand)
        if not are_all_at_hand and (unsettled := _unsettled(verdicts, asked_for)):
            left = [bodies[index] for index in unsettled]
            needed = WantedKeys.of(left, ids_have_servers=ids_have_servers)
            servers = needed.servers()
            found = await self._keys.keys_for(servers, also_ask=notaries, key_ids=needed.key_ids(servers))
            if any(keys != at_hand.get(server) for server, keys in found.items()):
                for index, verdict in zip(unsettled, await judge(left, found), strict=True):
                    verdicts[index] = verdict
        return _sorted(bodies, verdicts, asked_for or {})


def _unsettled(verdicts: Sequence[EventVerdict], asked_for: Container[EventId] | None) -> list[int]:
    """Return the places of the events that other keys may prove good, as far as they were *asked_for*."""
    return [
        index
        for index, verdict in enumerate(verdicts)
        if verdict.kind in _KEYS_MATTER and (asked_for is None or verdict.event_id in asked_for)
    ]


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

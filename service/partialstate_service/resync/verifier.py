"""Verification of fetched events: format, room, id, content hash and signatures.

The keys are gathered per batch; the CPU work is done elsewhere (`verifier_pool`). Events that cannot be verified are
told apart: a wrong signature will not become right, a key that nobody has may still turn up.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, Protocol

import orjson

from partialstate_service.domain.ids import EventId, InvalidIdError, RoomId, ServerName, parse_server_name
from partialstate_service.federation.protocol import KeySource
from partialstate_service.matrix.keys import KeyId, ServerKeys
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.matrix.signatures import MAX_SIGNATURES_PER_SERVER
from partialstate_service.resync.room_keys import RoomKeys
from partialstate_service.resync.verification_task import EventVerdict, VerdictKind

_CHUNK = 125
"""Events per chunk of CPU work: some 10 ms of one core."""


class ChunkVerifier(Protocol):
    """Whoever does the CPU work."""

    async def verify_chunk(
        self,
        bodies: Sequence[bytes],
        version: str,
        room_id: RoomId,
        keys: Mapping[ServerName, ServerKeys],
    ) -> list[EventVerdict]:
        """Return one verdict per event, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class FetchedEvent:
    """A well-formed event that was fetched: as little of it as is needed, and its JSON for the store."""

    event_id: EventId
    auth_event_ids: tuple[EventId, ...]
    core: bytes
    """See `matrix.event_core`."""
    json: bytes
    """Canonical."""
    hash_matches: bool
    """Whether the content is what was hashed; else this is the redacted copy."""


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

    async def verify(
        self,
        bodies: Sequence[bytes],
        version: RoomVersion,
        room_id: RoomId,
        notaries: Sequence[ServerName] = (),
        known_ids: Mapping[EventId, EventId] = MappingProxyType({}),
    ) -> Verification:
        """Return what each of *bodies* proves to be; *notaries* are servers of the room, asked for missing keys.

        Event ids are taken from *known_ids* where these have them: from other processes come copies.
        """
        wanted, key_ids = _needed_keys(bodies)
        keys = await self._keys.keys_for(wanted, also_ask=notaries, key_ids=key_ids)
        pieces = [
            self._chunks.verify_chunk(bodies[start : start + _CHUNK], version.version, room_id, keys)
            for start in range(0, len(bodies), _CHUNK)
        ]
        result = Verification()
        verdicts = (verdict for piece in await asyncio.gather(*pieces) for verdict in piece)
        for body, verdict in zip(bodies, verdicts, strict=True):
            _sort_in(result, verdict, body, known_ids)
        return result


def _needed_keys(
    bodies: Sequence[bytes],
) -> tuple[dict[ServerName, int], dict[ServerName, set[KeyId]]]:
    """Return until when each server's keys should be valid, and which keys the signatures name."""
    raws = [_loosely_parsed(body) for body in bodies]
    wanted = _wanted(raws)
    return wanted, _key_ids(raws, wanted)


def _loosely_parsed(body: bytes) -> dict[str, Any]:
    """Return the event's fields for a first look; what is no JSON object has none, and its verdict will say so."""
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return raw if isinstance(raw, dict) else {}


def _wanted(raws: Sequence[Mapping[str, Any]]) -> dict[ServerName, int]:
    """Return each server that may have had to sign with the latest time at which its key must be valid.

    A first look only: which servers must have signed is decided with the verdict.
    """
    wanted: dict[ServerName, int] = {}
    for raw in raws:
        content = raw.get("content")
        vouching = content.get("join_authorised_via_users_server") if isinstance(content, dict) else None
        sent_at = raw.get("origin_server_ts")
        timestamp = sent_at if type(sent_at) is int else 0
        for name in (raw.get("sender"), vouching, raw.get("event_id")):
            if isinstance(name, str) and (server := _server_in(name)) is not None:
                wanted[server] = max(wanted.get(server, 0), timestamp)
    return wanted


def _key_ids(
    raws: Sequence[Mapping[str, Any]], servers: Mapping[ServerName, int]
) -> dict[ServerName, set[KeyId]]:
    """Return the keys that the signatures of *servers* name."""
    key_ids: dict[ServerName, set[KeyId]] = {}
    for raw in raws:
        signatures = raw.get("signatures")
        for name, by_key in signatures.items() if isinstance(signatures, dict) else ():
            if name in servers and isinstance(by_key, dict):
                key_ids.setdefault(ServerName(name), set()).update(islice(by_key, MAX_SIGNATURES_PER_SERVER))
    return key_ids


def _server_in(identifier: str) -> ServerName | None:
    _, colon, name = identifier.partition(":")
    if not colon:
        return None
    try:
        return parse_server_name(name)
    except InvalidIdError:
        return None


def _sort_in(
    result: Verification, verdict: EventVerdict, body: bytes, known_ids: Mapping[EventId, EventId]
) -> None:
    if verdict.kind is VerdictKind.MALFORMED:
        result.malformed.append(verdict.text)
        return
    json = body if verdict.json is None else verdict.json
    event_id = known_ids.get(verdict.event_id, verdict.event_id)
    event = FetchedEvent(event_id, verdict.auth_event_ids, verdict.core, json, verdict.hash_matches)
    match verdict.kind:
        case VerdictKind.VALID:
            result.valid.append(event)
        case VerdictKind.KEY_UNKNOWN:
            result.key_unknown.append(event)
        case VerdictKind.BADLY_SIGNED:
            result.badly_signed.append(event)

"""Between the registry's texts and the domain's records."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

from partialstate_service.domain.errors import StoreNotUnderstoodError
from partialstate_service.domain.ids import EventId, Generation, Position, Revision, RoomId, ServerName
from partialstate_service.domain.rooms import (
    Ending,
    PartialRoom,
    Priority,
    Progress,
    ResyncStage,
    RoomStatus,
    ServerRecord,
    StateSummary,
    StateToken,
    Tombstone,
)
from partialstate_service.store.protocol import Chunk, ChunkKind, LogSegment, NewSegment

Fields = Mapping[bytes, bytes]


def pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    """Return the fields of a hash or of a log entry, which come as one flat list."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def token_of(reply: list[bytes]) -> StateToken:
    """Return the state token that follows the code of a script's reply."""
    return StateToken(reply[1].decode(), Revision(int(reply[2])), reply[3].decode())


# --- rooms


def room_of(room_id: RoomId, fields: Fields, before: PartialRoom | None = None) -> PartialRoom:
    """Return the room that the fields of its hash, or of an entry of the log, describe.

    An entry carries the large fields only where they changed; the others are those of *before*. Fields that this release
    does not know are ignored. Raises StoreNotUnderstoodError for values that it does not know.
    """
    try:
        return _room_of(room_id, fields, before)
    except (KeyError, ValueError) as error:
        raise StoreNotUnderstoodError(f"a room has {error!r}") from error


def _room_of(room_id: RoomId, fields: Fields, before: PartialRoom | None) -> PartialRoom:
    via, devices = _text(fields[b"via"]), fields[b"devices"]
    return PartialRoom(
        room_id=room_id if before is None else before.room_id,
        generation=Generation(int(fields[b"generation"])),
        status=RoomStatus(fields[b"status"].decode()),
        room_version=_shared(fields[b"version"]),
        join_event_id=_join_event_id(fields[b"join"], before),
        joined_via=ServerName(via) if via else None,
        servers=_servers(fields, before),
        join_confirmed=fields[b"confirmed"] == b"1",
        state_verified=fields[b"verified"] == b"1",
        registered_at_ms=int(fields[b"registered"]),
        summary=_summary(fields, before),
        priority=Priority(int(fields[b"priority"])),
        device_list_position=int(devices) if devices else None,
        pending_events=int(fields[b"pending"]),
        unimported_events=int(fields[b"unimported"]),
        log_position=Position(int(fields[b"position"])),
        acknowledged=Position(int(fields[b"acknowledged"])),
        progress=_progress(fields, before),
    )


def _text(value: bytes) -> str:
    return value.decode()


def _shared(value: bytes) -> str:
    """Return a text that many rooms have in common, once in memory."""
    return sys.intern(value.decode())


def _join_event_id(value: bytes, before: PartialRoom | None) -> EventId:
    text = value.decode()
    return before.join_event_id if before is not None and before.join_event_id == text else EventId(text)


def _servers(fields: Fields, before: PartialRoom | None) -> tuple[ServerName, ...]:
    value = fields.get(b"servers")
    if value is None:
        return before.servers if before is not None else ()
    return tuple(ServerName(_shared(name)) for name in value.split())


def _summary(fields: Fields, before: PartialRoom | None) -> StateSummary:
    known = before.summary if before is not None else StateSummary()
    changes: dict[str, Any] = {}
    if (acls := fields.get(b"acls")) is not None:
        changes["acls"] = _contents(acls)
    if (rules := fields.get(b"join_rules")) is not None:
        changes["join_rules"] = _contents(rules)
    if (visibilities := fields.get(b"visibilities")) is not None:
        changes["history_visibilities"] = _contents(visibilities)
    return replace(known, **changes) if changes else known


@lru_cache(maxsize=1024)
def _contents(text: bytes) -> tuple[Any, ...]:
    """Return the values of a JSON list; most rooms share theirs with others, and so do their copies in memory."""
    return tuple(json.loads(text))


def _progress(fields: Fields, before: PartialRoom | None) -> Progress:
    value = fields.get(b"progress")
    if value is None:
        return before.progress if before is not None else Progress()
    return _FRESH if value == _FRESH_TEXT else progress_of(value)


def summary_texts(summary: StateSummary) -> tuple[str, str, str]:
    """Return ACLs, join rules and visibilities as the registry keeps them."""
    return (
        _compact([dict(acl) for acl in summary.acls]),
        _compact([dict(rule) for rule in summary.join_rules]),
        _compact(summary.history_visibilities),
    )


def optional_summary_texts(summary: StateSummary | None) -> tuple[str, str, str, str]:
    """Return whether there is a summary, and its texts."""
    return str(int(summary is not None)), *summary_texts(summary or StateSummary())


def progress_text(progress: Progress) -> str:
    """Return a progress as the registry keeps it."""
    return _compact(asdict(progress))


def progress_of(text: bytes) -> Progress:
    """Return the progress that `progress_text` wrote; fields that this release does not know are ignored."""
    fields = {name: value for name, value in json.loads(text).items() if name in _PROGRESS_FIELDS}
    fields["stage"] = ResyncStage(fields["stage"])
    fields["servers"] = tuple(
        ServerRecord(**{name: value for name, value in record.items() if name in _SERVER_FIELDS})
        for record in fields.get("servers", ())
    )
    fields["unverified"] = tuple(fields.get("unverified", ()))
    fields["left_out"] = tuple(fields.get("left_out", ()))
    fields["findings"] = tuple(fields.get("findings", ()))
    return Progress(**fields)


_PROGRESS_FIELDS = frozenset(Progress.__dataclass_fields__)
_SERVER_FIELDS = frozenset(ServerRecord.__dataclass_fields__)


# Of all rooms that wait for their first attempt.
_FRESH = Progress()


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_FRESH_TEXT = progress_text(_FRESH).encode()


# --- tombstones: "generation ending ended join"


def tombstone_of(room_id: RoomId, text: bytes) -> Tombstone:
    """Return the tombstone that `scripts/_ending.lua` wrote. Raises StoreNotUnderstoodError."""
    try:
        generation, ending, ended, join = text.decode().split(" ")
        return Tombstone(room_id, Generation(int(generation)), EventId(join), Ending(ending), int(ended))
    except ValueError as error:
        raise StoreNotUnderstoodError(f"a tombstone has {error!r}") from error


# --- chunks: "key digest size count"


def chunk_text(chunk: Chunk) -> str:
    """Return a chunk as manifests name it."""
    return f"{chunk.key} {chunk.digest} {chunk.size} {chunk.count} {chunk.core_size}"


def chunk_of(text: bytes | str) -> Chunk:
    """Return the chunk that `chunk_text` wrote."""
    key, digest, size, count, core_size = (text.decode() if isinstance(text, bytes) else text).split(" ")
    return Chunk(key, digest, int(size), int(count), int(core_size))


# --- segments: "first kind key digest size count core-size", a line of rejected events, a line of omitted ones


def segment_text(segment: NewSegment) -> str:
    """Return a segment as the log names it, without its first position."""
    lines = (
        f"{segment.kind} {chunk_text(segment.chunk)}",
        " ".join(sorted(segment.rejected)),
        " ".join(sorted(segment.omitted)),
    )
    return "\n".join(lines)


def segment_of(text: bytes) -> LogSegment:
    """Return the segment that `scripts/append_log.lua` wrote."""
    head, rejected, omitted = text.decode().split("\n")
    first, kind, chunk = head.split(" ", 2)
    return LogSegment(
        Position(int(first)),
        ChunkKind(kind),
        chunk_of(chunk),
        frozenset(map(EventId, rejected.split())),
        frozenset(map(EventId, omitted.split())),
    )

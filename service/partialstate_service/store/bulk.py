"""Bulk: immutable, compressed chunks in the slot of their room."""
# ruff: noqa: D102 - `protocol.Bulk` has the contracts

import asyncio
import hashlib
import secrets
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import zstandard

from partialstate_service.domain.errors import StoreUnavailableError
from partialstate_service.domain.ids import EventId, RoomId
from partialstate_service.store.changes import Changes
from partialstate_service.store.protocol import Chunk, ChunkKind, PduItem

_T = TypeVar("_T")
# A frame is a sequence of byte strings, each behind its length.
_LENGTH = struct.Struct("<I")
# Higher levels take 2 to 5 times the time for 4 % less.
_LEVEL = 3
# Above this, packing and unpacking leave the event loop alone.
_OFF_LOOP_BYTES = 128 * 1024


class RedisBulk:
    """Large immutable data of the rooms; `protocol.Bulk` has the contracts."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def put(
        self, room_id: RoomId, kind: ChunkKind, owner: str, items: Sequence[PduItem] | Sequence[bytes]
    ) -> Chunk:
        strings = list(_strings(items))
        size = sum(map(len, strings))
        if size > self._changes.settings.max_chunk_bytes:
            raise ValueError(
                f"a chunk of {size} bytes is too large (at most {self._changes.settings.max_chunk_bytes})"
            )
        stored, digest = await _apart(size, _pack, strings)
        key = self._changes.keys.chunk(room_id, kind, owner, secrets.token_hex(8))
        await self._changes.announce(f"C {key}")
        await self._changes.server.command("SET", key, stored)
        return Chunk(key, digest, len(stored), len(items))

    async def pdus(self, chunk: Chunk) -> Sequence[PduItem]:
        strings = await self._strings(chunk)
        return [
            PduItem(EventId(event_id.decode()), body)
            for event_id, body in zip(strings[::2], strings[1::2], strict=True)
        ]

    async def records(self, chunk: Chunk) -> Sequence[bytes]:
        return await self._strings(chunk)

    async def _strings(self, chunk: Chunk) -> list[bytes]:
        stored = await self._changes.server.command("GET", chunk.key)
        if stored is None:
            raise StoreUnavailableError(f"a chunk is gone: {chunk.key!a}")
        strings = await _apart(
            len(stored), _unpack, stored, chunk.digest, self._changes.settings.max_chunk_bytes
        )
        if strings is None:
            raise StoreUnavailableError(f"a chunk is damaged: {chunk.key!a}")
        return strings


def _strings(items: Sequence[PduItem] | Sequence[bytes]) -> Iterator[bytes]:
    for item in items:
        if isinstance(item, PduItem):
            yield item.event_id.encode()
            yield item.json
        else:
            yield item


def _pack(strings: list[bytes]) -> tuple[bytes, str]:
    frame = b"".join(part for string in strings for part in (_LENGTH.pack(len(string)), string))
    stored = zstandard.compress(frame, _LEVEL)
    return stored, _digest(stored)


def _unpack(stored: bytes, digest: str, max_bytes: int) -> list[bytes] | None:
    """Return the strings of a frame, or None if it is not the one that was written."""
    if _digest(stored) != digest:
        return None
    frame = zstandard.decompress(stored, max_output_size=2 * max_bytes)
    strings, at = [], 0
    while at < len(frame):
        (length,) = _LENGTH.unpack_from(frame, at)
        at += _LENGTH.size
        strings.append(frame[at : at + length])
        at += length
    return strings


def _digest(stored: bytes) -> str:
    return hashlib.blake2b(stored, digest_size=16).hexdigest()


async def _apart(size: int, work: Callable[..., _T], *arguments: Any) -> _T:
    """Do some work here if it is small, else in a thread."""
    if size < _OFF_LOOP_BYTES:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)

"""StreamRecoveredState: the recovered-state log of one generation, from a position, as typed records."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from partialstate_service.domain.errors import RoomNotPartialError
from partialstate_service.domain.ids import Generation, Position, RoomId
from partialstate_service.domain.rooms import PartialRoom
from partialstate_service.ownership.log_records import (
    EndRecord,
    EventRecord,
    LogRecord,
    VerdictRecord,
    read_record,
)
from partialstate_service.store.protocol import Bulk, ChunkKind, LogSegment, Mirror, Registry

# A change wakes a follower at once; this bounds the harm of a wake-up that gets lost.
_FOLLOW_POLL_S = 15.0


@dataclass(frozen=True, slots=True)
class RecoveredLog:
    """Reads recovered-state logs."""

    registry: Registry
    bulk: Bulk
    mirror: Mirror

    async def stream(
        self, room_id: RoomId, generation: Generation, after: Position, *, follow: bool
    ) -> AsyncGenerator[tuple[Position, LogRecord], None]:
        """Yield the records beyond *after*, and an `EndRecord` once all that is committed was yielded.

        With *follow* goes on as the log grows, with another end record whenever the reader has caught up with a change,
        and ends when the room's partial state ends. Raises RoomNotPartial (at the start), StaleGeneration,
        PositionOutOfRange.
        """
        events = verdicts = 0
        ended: EndRecord | None = None
        with self.mirror.waking(room_id) as signal:
            while True:
                try:
                    room, segments = await self.registry.log_segments(room_id, generation, after)
                except RoomNotPartialError:
                    if ended is None:
                        raise
                    return
                async with aclosing(self._expand(segments, after)) as records:
                    async for position, record in records:
                        events += isinstance(record, EventRecord)
                        verdicts += isinstance(record, VerdictRecord)
                        yield position, record
                after = room.log_position
                end = EndRecord(generation, after, is_complete(room), events, verdicts)
                if end != ended:
                    yield after, end
                    ended = end
                if not follow:
                    return
                await signal.wait(_FOLLOW_POLL_S)

    async def _expand(
        self, segments: Sequence[LogSegment], after: Position
    ) -> AsyncGenerator[tuple[Position, LogRecord], None]:
        for segment in segments:
            if segment.kind is ChunkKind.VERIFIED:
                for position, item in enumerate(await self.bulk.pdus(segment.chunk), segment.first):
                    if position > after and item.event_id not in segment.omitted:
                        rejected = item.event_id in segment.rejected
                        yield Position(position), EventRecord(item.event_id, item.json, rejected)
            else:
                for position, data in enumerate(await self.bulk.records(segment.chunk), segment.first):
                    if position > after:
                        yield Position(position), read_record(data)


def is_complete(room: PartialRoom) -> bool:
    """Return whether every recorded partial event has its full state in the log."""
    return room.pending_events == 0 and room.log_position > 0

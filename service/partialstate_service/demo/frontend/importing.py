"""The import of the recovered state, and with it the end of the partial state."""

from contextlib import aclosing
from dataclasses import dataclass, field

import orjson
from partialstate import (
    EventVerdict,
    ImportIncompleteError,
    LogEnd,
    NotReconciledError,
    PartialStateClient,
    RecoveredEvent,
    RecoveredRecord,
    RoomNotPartialError,
    StaleGenerationError,
    StateBefore,
)

from partialstate_service.demo.frontend.held_room import HeldRoom
from partialstate_service.demo.frontend.homeserver import Homeserver
from partialstate_service.demo.frontend.reconciling import reconcile
from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import StateKey
from partialstate_service.matrix.parsing import parse_event
from partialstate_service.matrix.shared_state import SharedState


@dataclass(slots=True)
class _Import:
    """What of the log is read but not yet applied."""

    room: HeldRoom
    before: dict[EventId, SharedState] = field(default_factory=dict)
    changes: dict[StateKey, EventId | None] = field(default_factory=dict)
    event_count: int = 0

    def read(self, record: RecoveredRecord) -> None:
        """Take in one record. A later one replaces what an earlier one said of the same thing."""
        match record:
            case RecoveredEvent(pdu=pdu, rejected=rejected):
                self._read_event(pdu.json, rejected=rejected)
            case EventVerdict(event_id=event_id, accepted=accepted):
                self._judge(EventId(event_id), accepted=accepted)
            case StateBefore():
                self._read_state(record)
            case _:
                pass  # the current state follows from the states before events, and so do the servers

    def apply(self) -> None:
        """Replace partial states by full ones: what the log said so far is true from here on."""
        for event_id, state in self.before.items():
            if self.room.holds(event_id):
                self.room.before[event_id] = state
                self.room.partial_events.discard(event_id)
        self.room.find_extremities()

    def _read_event(self, data: bytes, *, rejected: bool) -> None:
        # Verified by the service, which we trust; parsed for its id and its content.
        event = parse_event(orjson.loads(data), self.room.version)
        self.room.events.setdefault(event.event_id, event)
        self.event_count += 1
        if not self.room.holds(event.event_id):
            self._judge(event.event_id, accepted=not rejected)

    def _judge(self, event_id: EventId, *, accepted: bool) -> None:
        if accepted:
            self.room.rejected.discard(event_id)
        else:
            self.room.rejected.add(event_id)

    def _read_state(self, record: StateBefore) -> None:
        for entry in record.entries:
            self.changes[entry.type, entry.state_key] = EventId(entry.event_id) if entry.event_id else None
        if record.complete:
            base = self.before[EventId(record.base_event_id)] if record.base_event_id else SharedState()
            self.before[EventId(record.event_id)] = base.with_changes(self.changes)
            self.changes = {}


async def import_recovered_state(homeserver: Homeserver, room: HeldRoom) -> int:
    """Follow the recovered state of a partial room until the room is full; return the number of imported events."""
    reading = _Import(room)
    while room.is_partial:
        generation, reading = room.generation, _Import(room)
        try:
            await _follow(homeserver.service, room, generation, reading)
        except (NotReconciledError, RoomNotPartialError, StaleGenerationError):
            # The service has another account of the room than we have: it lost its store, or we lost its answer.
            differences = await reconcile(homeserver)
            failed = {other.room_id for other in differences.failed}
            ended = {other.room_id for other in differences.ended}
            if room.is_partial and room.room_id in failed | ended:
                raise
    return reading.event_count


async def _follow(service: PartialStateClient, room: HeldRoom, generation: int, reading: _Import) -> None:
    async with aclosing(service.recovered_state(room.room_id, generation, follow=True)) as records:
        async for record in records:
            if not isinstance(record, LogEnd):
                reading.read(record)
                continue
            # No event may be persisted between what is applied here and what the service is told of it.
            async with room.writing:
                reading.apply()
                await service.ack_import(room.room_id, generation, record.position)
                if record.complete and await _is_confirmed(service, room, generation, record.position):
                    room.generation = 0
                    return


async def _is_confirmed(service: PartialStateClient, room: HeldRoom, generation: int, position: int) -> bool:
    try:
        await service.confirm_import(room.room_id, generation, position)
    except ImportIncompleteError:
        return False  # another event was recorded meanwhile: the log goes on
    return True

"""Events that were fetched but not in a form that can be relied upon. Pure.

Anybody who passes a good event on can break its signatures or change its content and keep its id. So what a server
sent like this is asked of others, and the best copy counts.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from partialstate_service.domain.ids import EventId, RoomId
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.event_core import unpack_core
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.resync.verifier import FetchedEvent, Verification


@dataclass(slots=True)
class Doubtful:
    """The latest copies of doubtful events of one room, by what is wrong with them."""

    room_id: RoomId
    version: RoomVersion
    key_unknown: dict[EventId, Event] = field(default_factory=dict)
    """Their cores, as `unpack_core` gives them."""
    badly_signed: dict[EventId, Event] = field(default_factory=dict)
    """Their cores."""
    altered: dict[EventId, FetchedEvent] = field(default_factory=dict)
    """Redacted copies of well-signed events whose content is not what was signed."""

    def ids(self) -> set[EventId]:
        """Return the ids of all of them."""
        return {*self.key_unknown, *self.badly_signed, *self.altered}

    def spoilt(self) -> set[EventId]:
        """Return the ids of those that are certainly not what their author sent."""
        return {*self.badly_signed, *self.altered}

    def note(self, result: Verification, asked_for: Collection[EventId]) -> Sequence[FetchedEvent]:
        """Note what of *result* was asked for and is doubtful; return what was asked for and is beyond doubt."""
        intact = []
        for event in result.valid:
            if event.event_id not in asked_for:
                continue
            self.key_unknown.pop(event.event_id, None)
            self.badly_signed.pop(event.event_id, None)
            if event.hash_matches:
                self.altered.pop(event.event_id, None)
                intact.append(event)
            else:
                self.altered[event.event_id] = event
        for found, noted in (
            (result.key_unknown, self.key_unknown),
            (result.badly_signed, self.badly_signed),
        ):
            for event in found:
                # An altered copy is at least signed: a worse one does not replace it.
                if event.event_id in asked_for and event.event_id not in self.altered:
                    noted[event.event_id] = self._core_of(event)
        return intact

    def take_altered(self, wanted: Collection[EventId]) -> Sequence[FetchedEvent]:
        """Remove and return the redacted copies of *wanted*: the specification lets them stand for the events.

        Source: server-server API v1.19, "Checks performed on receipt of a PDU", check 3.
        """
        return [self.altered.pop(event_id) for event_id in wanted if event_id in self.altered]

    def _core_of(self, event: FetchedEvent) -> Event:
        return unpack_core(event.core, event.event_id, event.auth_event_ids, self.room_id, self.version)

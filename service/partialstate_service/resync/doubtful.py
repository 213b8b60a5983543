"""Events that were fetched but not in a form that can be relied upon. Pure.

Anybody who passes a good event on can break its signatures or change its content and keep its id. So what a server
sent like this is asked of others, and the best copy counts.
"""

from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass, field
from typing import Any

from partialstate_service.domain.ids import EventId, RoomId, ServerName
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.event_core import PackedEvent, unpack_core
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.resync.verifier import FetchedEvent, Verification


@dataclass(slots=True)
class Doubtful:
    """The latest copies of doubtful events of one room, by what is wrong with them."""

    room_id: RoomId
    version: RoomVersion
    is_held: Callable[[EventId], bool]
    """Whether an event is beyond doubt, whatever is sent of it."""
    key_unknown: dict[EventId, PackedEvent] = field(default_factory=dict)
    badly_signed: dict[EventId, PackedEvent] = field(default_factory=dict)
    altered: dict[EventId, FetchedEvent] = field(default_factory=dict)
    """Redacted copies of well-signed events whose content is not what was signed."""
    _senders: dict[EventId, set[ServerName]] = field(default_factory=dict)
    """Who has sent copies."""

    def ids(self) -> set[EventId]:
        """Return the ids of all of them."""
        return {*self.key_unknown, *self.badly_signed, *self.altered}

    def event(self, event_id: EventId) -> Event:
        """Return the core of one without a known key or a good signature."""
        auth_event_ids, core = self.key_unknown.get(event_id) or self.badly_signed[event_id]
        return unpack_core(core, event_id, auth_event_ids, self.room_id, self.version)

    def spoilt(self) -> set[EventId]:
        """Return the ids of those that are certainly not what their author sent."""
        return {*self.badly_signed, *self.altered}

    def lone(self) -> set[EventId]:
        """Return those that one server alone has sent: it may have spoilt them itself, or made them up."""
        return {event_id for event_id in self.ids() if len(self._senders.get(event_id, ())) == 1}

    def is_sent_by(self, event_id: EventId, server: ServerName) -> bool:
        """Whether *server* has sent a doubtful copy."""
        return server in self._senders.get(event_id, ())

    def note(
        self,
        result: Verification,
        asked_for: Collection[EventId],
        sent_by: Callable[[EventId], ServerName | None],
    ) -> Sequence[FetchedEvent]:
        """Note what of *result* was asked for and is doubtful; return what was asked for and is beyond doubt.

        *sent_by* tells who was asked for an event and sent it; a spoilt copy that came for another event is passed over.
        """
        intact: dict[EventId, FetchedEvent] = {}
        for event in result.valid:
            if event.event_id not in asked_for or self.is_held(event.event_id):
                continue
            if event.hash_matches:
                intact[event.event_id] = event
            elif self._note_sender(event.event_id, sent_by):
                self.altered[event.event_id] = event
                self._forget(event.event_id, self.key_unknown, self.badly_signed)
        for event_id in intact:
            self._forget(event_id, self.key_unknown, self.badly_signed, self.altered)
        for event in result.badly_signed:
            if self._is_wanted(event.event_id, asked_for, intact) and self._note_sender(
                event.event_id, sent_by
            ):
                self._keep_core(event, self.badly_signed)
        for event in result.key_unknown:
            if self._is_wanted(event.event_id, asked_for, intact):
                self._note_sender(event.event_id, sent_by)
                self._keep_core(event, self.key_unknown)
        return list(intact.values())

    def take_altered(self, wanted: Collection[EventId]) -> Sequence[FetchedEvent]:
        """Remove and return the redacted copies of *wanted*: the specification lets them stand for the events.

        Source: server-server API v1.19, "Checks performed on receipt of a PDU", check 3.
        """
        return [self.altered.pop(event_id) for event_id in wanted if event_id in self.altered]

    def _is_wanted(
        self, event_id: EventId, asked_for: Collection[EventId], intact: Container[EventId]
    ) -> bool:
        return event_id in asked_for and event_id not in intact and not self.is_held(event_id)

    def _note_sender(self, event_id: EventId, sent_by: Callable[[EventId], ServerName | None]) -> bool:
        """Note who has sent a copy; return whether that is known."""
        server = sent_by(event_id)
        if server is None:
            return False
        self._senders.setdefault(event_id, set()).add(server)
        return True

    def _forget(self, event_id: EventId, *among: dict[EventId, Any]) -> None:
        for doubtful in among:
            doubtful.pop(event_id, None)

    def _keep_core(self, event: FetchedEvent, among: dict[EventId, PackedEvent]) -> None:
        # An altered copy is at least signed: a worse one does not replace it.
        if event.event_id not in self.altered:
            among[event.event_id] = (event.auth_event_ids, event.core)

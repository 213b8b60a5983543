"""The verified events of one room by id, in as little memory as authorisation and replay need of them.

An event takes about 300 bytes: its id, its core, and small numbers in place of the ids of its auth events. `Event`s
are made of them when they are asked for.
"""

import struct
from collections.abc import Iterator, MutableMapping, Sequence

from partialstate_service.domain.ids import EventId, RoomId
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.event_core import (
    PackedEvent,
    pack_core,
    unpack_core,
    unpack_membership,
    unpack_slot,
)
from partialstate_service.matrix.event_format import MAX_AUTH_EVENTS
from partialstate_service.matrix.room_versions import EventIdFormat, RoomVersion

_REMADE_EVENTS = 2000
"""How many events are kept as they were last made: the few that most others refer to are always among them."""


class EventTable(MutableMapping[EventId, Event]):
    """A mapping from id to event. What is assigned is kept as it is; what is `put` is kept as its core.

    Ids that are held or referred to have *numbers*, from 0 on, by which graphs of events are walked fast and sets of
    ids are kept small.
    """

    def __init__(self, room_id: RoomId, version: RoomVersion) -> None:
        self._room_id = room_id
        self._version = version
        self._numbers: dict[EventId, int] = {}
        self._ids: list[EventId] = []
        self._records: list[bytes | Event | None] = []
        self._held = 0
        self._remade: dict[EventId, Event] = {}
        # From version 12 on events do not name the create event: their room's id implies it.
        self._implied: tuple[int, ...] = ()
        if version.room_ids_as_hashes:
            self._implied = (self._number(EventId("$" + room_id[1:])),)

    def put(self, event_id: EventId, auth_event_ids: Sequence[EventId], core: bytes) -> bool:
        """Hold an event by its core (`matrix.event_core.pack_core`); one that is held stays as it is: False."""
        if event_id in self:
            return False
        self._set(event_id, _head([self._number(auth_id) for auth_id in auth_event_ids]) + core)
        return True

    def packed(self, event_id: EventId) -> PackedEvent:
        """Return what `put` takes of a held event."""
        record = self._record(event_id)
        if isinstance(record, Event):
            return record.auth_event_ids, pack_core(record)
        head = _HEADS[record[0]]
        return tuple([self._ids[number] for number in head.unpack_from(record)[1:]]), record[head.size :]

    def slot(self, event_id: EventId) -> tuple[str, str | None]:
        """Return the type and state key of a held event; costs less than making the event."""
        record = self._record(event_id)
        if isinstance(record, Event):
            return record.type, record.state_key
        return unpack_slot(record[_HEADS[record[0]].size :])

    def membership(self, event_id: EventId) -> object:
        """Return the membership that a held event's content names, if it does; costs less than making the event."""
        record = self._record(event_id)
        if isinstance(record, Event):
            return record.content.get("membership")
        return unpack_membership(record[_HEADS[record[0]].size :])

    @property
    def implied_ids(self) -> Sequence[EventId]:
        """The create event that the room's id implies, from version 12: all events cite it, and none names it."""
        return [self._ids[number] for number in self._implied]

    @property
    def number_count(self) -> int:
        """How many numbers are given; the next one."""
        return len(self._ids)

    def number(self, event_id: EventId) -> int | None:
        """Return the number of an id, if it has one."""
        return self._numbers.get(event_id)

    def own_id(self, event_id: EventId) -> EventId:
        """Return an equal id: the one that the table has, if it has one, so that the other need not stay in memory."""
        number = self._numbers.get(event_id)
        return event_id if number is None else self._ids[number]

    def id_of(self, number: int) -> EventId:
        """Return the id with a number."""
        return self._ids[number]

    def citation(self, number: int) -> bytes | None:
        """Return what a held event cites, in a form that is equal for events that cite the same: see `cited`."""
        record = self._records[number]
        if isinstance(record, Event):
            return _head([self._numbers[auth_id] for auth_id in record.auth_event_ids])
        return None if record is None else record[: _HEADS[record[0]].size]

    def cited(self, citation: bytes) -> list[int]:
        """Return the numbers of the events that a `citation` names, with the create event that their room implies."""
        return [*_HEADS[citation[0]].unpack(citation)[1:], *self._implied]

    @property
    def ids_are_given(self) -> bool:
        """Whether whoever makes an event chooses its id, so that events can cite each other in a circle."""
        return self._version.event_ids is EventIdFormat.GIVEN

    def cited_by(self, number: int) -> Sequence[int] | None:
        """Return the claimed auth events of a held event, the implied create event included; all as numbers."""
        citation = self.citation(number)
        if citation is None:
            return None
        # The create event does not cite itself, whatever its room's id implies.
        return [cited for cited in self.cited(citation) if cited != number or number not in self._implied]

    def __getitem__(self, event_id: EventId) -> Event:
        event = self._remade.get(event_id)
        if event is not None:
            return event
        record = self._record(event_id)
        if isinstance(record, Event):
            return record
        auth_event_ids, core = self.packed(event_id)
        event = unpack_core(core, event_id, auth_event_ids, self._room_id, self._version)
        if len(self._remade) >= _REMADE_EVENTS:
            self._remade.clear()
        self._remade[event_id] = event
        return event

    def __setitem__(self, event_id: EventId, event: Event) -> None:
        for auth_id in event.auth_event_ids:
            self._number(auth_id)
        self._set(event_id, event)

    def __delitem__(self, event_id: EventId) -> None:
        self._record(event_id)
        self._set(event_id, None)

    def __contains__(self, event_id: object) -> bool:
        number = self._numbers.get(event_id)  # type: ignore[call-overload]  # whatever it is, it has no number
        return number is not None and self._records[number] is not None

    def __iter__(self) -> Iterator[EventId]:
        for event_id, record in zip(self._ids, self._records, strict=True):
            if record is not None:
                yield event_id

    def __len__(self) -> int:
        return self._held

    def _record(self, event_id: EventId) -> bytes | Event:
        record = self._records[self._numbers[event_id]]
        if record is None:
            raise KeyError(event_id)
        return record

    def _set(self, event_id: EventId, record: bytes | Event | None) -> None:
        number = self._number(event_id)
        self._held += (record is not None) - (self._records[number] is not None)
        self._records[number] = record
        self._remade.pop(event_id, None)

    def _number(self, event_id: EventId) -> int:
        number = self._numbers.setdefault(event_id, len(self._ids))
        if number == len(self._ids):
            self._ids.append(event_id)
            self._records.append(None)
        return number


_HEADS = [struct.Struct(f"<B{count}I") for count in range(MAX_AUTH_EVENTS + 1)]
"""How a record begins, by the number of auth events: that number, and the number of each."""


def _head(numbers: Sequence[int]) -> bytes:
    return _HEADS[len(numbers)].pack(len(numbers), *numbers)

"""The verified events of one room by id, in as little memory as authorisation and replay need of them.

An event takes about 300 bytes: its id, its core, and small numbers in place of the ids of its auth events. `Event`s
are made of them when they are asked for.
"""

import struct
from collections.abc import Iterator, MutableMapping, Sequence

from partialstate_service.domain.ids import EventId, RoomId
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.event_core import unpack_core
from partialstate_service.matrix.room_versions import RoomVersion

_REMADE_EVENTS = 2000
"""How many events are kept as they were last made: the few that most others refer to are always among them."""


class EventTable(MutableMapping[EventId, Event]):
    """A mapping from id to event. What is assigned is kept as it is; what is `put` is kept as its core."""

    def __init__(self, room_id: RoomId, version: RoomVersion) -> None:
        self._room_id = room_id
        self._version = version
        # Ids that are held or referred to have numbers.
        self._numbers: dict[EventId, int] = {}
        self._ids: list[EventId] = []
        self._records: list[bytes | None] = []
        self._held = 0
        self._assigned: dict[EventId, Event] = {}
        self._remade: dict[EventId, Event] = {}

    def put(self, event_id: EventId, auth_event_ids: Sequence[EventId], core: bytes) -> None:
        """Hold an event by its core (`matrix.event_core.pack_core`); one that is held stays as it is."""
        if event_id in self:
            return
        numbers = [self._number(auth_id) for auth_id in auth_event_ids]
        self._records[self._number(event_id)] = _packed(numbers, core)
        self._held += 1

    def id_of(self, event_id: EventId) -> EventId:
        """Return the same id: the object that is held, so that its equals need not be kept in memory."""
        number = self._numbers.get(event_id)
        return event_id if number is None else self._ids[number]

    def __getitem__(self, event_id: EventId) -> Event:
        event = self._assigned.get(event_id) or self._remade.get(event_id)
        if event is not None:
            return event
        record = self._records[self._numbers[event_id]]
        if record is None:
            raise KeyError(event_id)
        auth_event_ids, core = self._unpacked(record)
        event = unpack_core(core, self.id_of(event_id), auth_event_ids, self._room_id, self._version)
        if len(self._remade) >= _REMADE_EVENTS:
            self._remade.clear()
        self._remade[event_id] = event
        return event

    def __setitem__(self, event_id: EventId, event: Event) -> None:
        if event_id in self:
            del self[event_id]
        self._assigned[event_id] = event

    def __delitem__(self, event_id: EventId) -> None:
        if self._assigned.pop(event_id, None) is not None:
            return
        if event_id not in self:
            raise KeyError(event_id)
        self._records[self._numbers[event_id]] = None
        self._remade.pop(event_id, None)
        self._held -= 1

    def __contains__(self, event_id: object) -> bool:
        if event_id in self._assigned:
            return True
        number = self._numbers.get(event_id)  # type: ignore[call-overload]  # whatever it is, it has no number
        return number is not None and self._records[number] is not None

    def __iter__(self) -> Iterator[EventId]:
        yield from self._assigned
        for event_id, record in zip(self._ids, self._records, strict=True):
            if record is not None:
                yield event_id

    def __len__(self) -> int:
        return len(self._assigned) + self._held

    def _number(self, event_id: EventId) -> int:
        number = self._numbers.setdefault(event_id, len(self._ids))
        if number == len(self._ids):
            self._ids.append(event_id)
            self._records.append(None)
        return number

    def _unpacked(self, record: bytes) -> tuple[tuple[EventId, ...], bytes]:
        start, numbers = _HEADS[record[0]].size, _HEADS[record[0]].unpack_from(record)
        return tuple([self._ids[number] for number in numbers[1:]]), record[start:]


def _packed(auth_numbers: Sequence[int], core: bytes) -> bytes:
    return _HEADS[len(auth_numbers)].pack(len(auth_numbers), *auth_numbers) + core


_HEADS = [struct.Struct(f"<B{count}I") for count in range(256)]
"""By the number of auth events: that number, and the number of each."""

"""A set of the ids in an `EventTable`: a byte for each, where a set of strings takes forty."""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import compress

from partialstate_service.domain.ids import EventId
from partialstate_service.resync.event_table import EventTable


class EventIds(AbstractSet[EventId]):
    """A set that grows; it can hold only ids that have numbers in *table*. Operators give plain sets."""

    def __init__(self, table: EventTable, flags: int = 0) -> None:
        """*flags* are those of another set over the same table."""
        self._table = table
        self._flags = bytearray(flags.to_bytes(table.number_count, "little"))

    @property
    def flags(self) -> int:
        """The whole set as one number: a byte for each number of the table, 1 or 0."""
        return int.from_bytes(self._flags, "little")

    def add(self, event_id: EventId) -> None:
        """Add an id, which must have a number."""
        number = self._table.number(event_id)
        if number is None:
            raise KeyError(event_id)
        self.add_number(number)

    def add_number(self, number: int) -> bool:
        """Add the id with a number; return whether it is new."""
        if number >= len(self._flags):
            self._flags.extend(bytes(self._table.number_count - len(self._flags)))
        if self._flags[number]:
            return False
        self._flags[number] = 1
        return True

    def has_number(self, number: int) -> bool:
        """Say whether the id with a number is in the set."""
        return number < len(self._flags) and self._flags[number] == 1

    def take(self, event_ids: Iterable[EventId]) -> list[EventId]:
        """Remove those of *event_ids* that are in the set, and return them."""
        number_of, flags = self._table.number, self._flags
        taken = []
        for event_id in event_ids:
            number = number_of(event_id)
            if number is not None and number < len(flags) and flags[number]:
                flags[number] = 0
                taken.append(event_id)
        return taken

    def without_own(self, numbers: Iterable[int]) -> list[int]:
        """Return those of *numbers* that are not in the set."""
        flags = self._flags
        return [number for number in numbers if number >= len(flags) or not flags[number]]

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of the ids."""
        return compress(range(len(self._flags)), self._flags)

    def update(self, other: "EventIds") -> None:
        """Add what is in *other*, a set over the same table."""
        self._flags = bytearray((self.flags | other.flags).to_bytes(self._table.number_count, "little"))

    def without(self, other: "EventIds") -> "EventIds":
        """Return a set of what is not in *other*, a set over the same table."""
        return EventIds(self._table, self.flags & ~other.flags)

    def __contains__(self, event_id: object) -> bool:
        number = self._table.number(event_id)  # type: ignore[arg-type]  # whatever it is, it has no number
        return number is not None and self.has_number(number)

    def __iter__(self) -> Iterator[EventId]:
        return map(self._table.id_of, self.numbers())

    def __len__(self) -> int:
        return self._flags.count(1)

    @classmethod
    def _from_iterable(cls, ids: Iterable[EventId]) -> frozenset[EventId]:  # type: ignore[override]
        return frozenset(ids)

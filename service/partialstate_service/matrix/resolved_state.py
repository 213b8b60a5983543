"""The state as it stands in the middle of a resolution: a base and what was decided since, read as events."""

from collections import ChainMap
from collections.abc import Container, Iterator, Mapping

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.auth_graph import held
from partialstate_service.matrix.event import Event, StateKey, StateMap


class ResolvedState(Mapping[StateKey, Event]):
    """A state map whose values are events, looked up when they are asked for.

    *hidden* keys of the base are absent until `update` decides them. Rejected events are absent.
    """

    def __init__(
        self,
        base: StateMap,
        events: Mapping[EventId, Event],
        rejected: Container[EventId] = frozenset(),
        hidden: frozenset[StateKey] = frozenset(),
    ) -> None:
        self._base = base
        self._events = events
        self._rejected = rejected
        self._hidden = hidden
        self._decided: dict[StateKey, EventId | None] = {}

    @property
    def decided(self) -> Mapping[StateKey, EventId | None]:
        """The entries decided so far; None: decided to be absent."""
        return self._decided

    def update(self, entries: Mapping[StateKey, EventId | None]) -> None:
        """Decide these entries."""
        self._decided.update(entries)

    def id_of(self, key: StateKey) -> EventId | None:
        """Return the id of the event at *key*, or None."""
        if key in self._decided:
            return self._decided[key]
        return None if key in self._hidden else self._base.get(key)

    def with_entry(self, key: StateKey, event: Event) -> Mapping[StateKey, Event]:
        """Return a view of this state in which *event* stands at *key*."""
        return ChainMap({key: event}, self)  # type: ignore[arg-type]  # ChainMap writes only to its first map

    def __getitem__(self, key: StateKey) -> Event:
        event_id = self.id_of(key)
        if event_id is None or event_id in self._rejected:
            raise KeyError(key)
        return held(self._events, event_id)

    def __iter__(self) -> Iterator[StateKey]:
        keys = {*self._base, *self._decided}
        return (key for key in keys if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

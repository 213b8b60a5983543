"""States put together from the deltas of a recovered-state log."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from partialstate.events import StateEntry
from partialstate.recovered_state import CurrentState, RecoveredRecord, StateBefore

StateMap: TypeAlias = dict[tuple[str, str], str]
"""From event type and state key to event id."""


@dataclass(frozen=True, slots=True)
class _State:
    """A state as what it adds to another one; None removes a slot."""

    base: "_State | None"
    changes: dict[tuple[str, str], str | None]


class RecoveredStates:
    """The states that the records of one log tell, from its beginning on.

    states = RecoveredStates()
    async for record in client.recovered_state(room_id, generation):
        states.add(record)
    states.current_state()

    Costs memory by the length of the deltas, not of the states.
    """

    def __init__(self) -> None:
        self._before: dict[str, _State] = {}
        self._current: _State | None = None
        self._changes: dict[tuple[str, str], str | None] = {}

    def add(self, record: RecoveredRecord) -> None:
        """Take in one record, in the log's order; those that tell of no state are passed over.

        Raises LookupError for a base that was not added: the log was not read from its beginning.
        """
        match record:
            case StateBefore():
                self._collect(record.entries)
                if record.complete:
                    base = self._state(record.base_event_id) if record.base_event_id else None
                    self._before[record.event_id] = _State(base, self._taken())
            case CurrentState():
                if record.base_event_id:
                    self._current = self._state(record.base_event_id)
                self._collect(record.entries)
                if record.complete:
                    self._current = _State(self._current, self._taken())
            case _:
                pass

    def state_before(self, event_id: str) -> StateMap:
        """Return the state before a recorded partial event. Raises LookupError for one that the log does not tell."""
        return _whole(self._state(event_id))

    def current_state(self) -> StateMap:
        """Return the room's current state: right once a `LogEnd` was read."""
        return _whole(self._current)

    def _state(self, event_id: str) -> _State:
        try:
            return self._before[event_id]
        except KeyError:
            raise LookupError(
                f"the state before {event_id} was not told: read the log from its beginning"
            ) from None

    def _collect(self, entries: Iterable[StateEntry]) -> None:
        for entry in entries:
            self._changes[entry.type, entry.state_key] = entry.event_id or None

    def _taken(self) -> dict[tuple[str, str], str | None]:
        changes, self._changes = self._changes, {}
        return changes


def _whole(state: _State | None) -> StateMap:
    deltas = []
    while state is not None:
        deltas.append(state.changes)
        state = state.base
    whole: StateMap = {}
    for changes in reversed(deltas):
        for slot, event_id in changes.items():
            if event_id is None:
                whole.pop(slot, None)
            else:
                whole[slot] = event_id
    return whole

"""Which servers have a joined member in a state, kept up as the state changes."""

from collections import Counter

from partialstate_service.domain.ids import EventId, ServerName, UserId, server_of
from partialstate_service.matrix.event import StateMap
from partialstate_service.matrix.shared_state import SharedState, differing_keys
from partialstate_service.resync.event_table import EventTable


class JoinedServers:
    """Counts joined members by server; a further state costs what differs from the one before."""

    def __init__(self, events: EventTable) -> None:
        self._events = events
        self._state: StateMap = SharedState()
        self._members: Counter[ServerName] = Counter()

    def in_state(self, state: StateMap, own_name: ServerName) -> set[ServerName]:
        """Return the servers with a joined member in *state*, without ourselves."""
        members, before = self._members, self._state
        for key in differing_keys(before, state):
            if key[0] == "m.room.member":
                change = self._is_join(state.get(key)) - self._is_join(before.get(key))
                if change:
                    members[server_of(UserId(key[1]))] += change
        self._state = state
        return {server for server, count in self._members.items() if count > 0} - {own_name}

    def _is_join(self, event_id: EventId | None) -> bool:
        return event_id is not None and self._events.membership(event_id) == "join"

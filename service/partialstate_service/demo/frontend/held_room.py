"""One room as the homeserver persists it. In memory here; what is kept, and in which order, is the point."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from partialstate_service.domain.ids import EventId, RoomId, ServerName, UserId, server_of
from partialstate_service.matrix.event import Event, StateMap
from partialstate_service.matrix.room_versions import RoomVersion
from partialstate_service.matrix.shared_state import SharedState
from partialstate_service.matrix.state_res import resolve


@dataclass(slots=True, eq=False)
class HeldRoom:
    """The events of a room, the states at those of its timeline, and which of these states are partial."""

    room_id: RoomId
    version: RoomVersion
    seed: SharedState
    """The state in the send_join response: all that is known before our join until the resync is done."""
    join_event_id: EventId
    joined_via: ServerName
    servers_at_join: frozenset[ServerName]
    generation: int
    """The generation of the partial join; 0: the room is full."""
    events: dict[EventId, Event] = field(default_factory=dict)
    """Everything that is held: the timeline, and events known only as state or auth events."""
    rejected: set[EventId] = field(default_factory=set)
    before: dict[EventId, SharedState] = field(default_factory=dict)
    """The state before each event of the timeline."""
    partial_events: set[EventId] = field(default_factory=set)
    """Events of the timeline whose state is partial."""
    extremities: dict[EventId, None] = field(default_factory=dict)
    """The accepted events that no other accepted event names as its prev event; in order."""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while an event is persisted, or an import applied: neither may overtake the other."""

    @property
    def is_partial(self) -> bool:
        """Whether the room is partial, as far as this frontend knows."""
        return self.generation != 0

    def holds(self, event_id: EventId) -> bool:
        """Return whether the event is in the timeline."""
        return event_id in self.before

    def after(self, event_id: EventId) -> SharedState:
        """Return the state after an event of the timeline; a rejected event changes none."""
        event, state = self.events[event_id], self.before[event_id]
        if event.state_key is None or event_id in self.rejected:
            return state
        return state.with_changes({(event.type, event.state_key): event_id})

    def state_for(self, event: Event) -> tuple[SharedState, bool]:
        """Return the state before a new event, and whether it is partial.

        For prev events from before our join it is the seed that counts, while the room is partial.
        """
        held = [prev for prev in event.prev_event_ids if self.holds(prev)]
        states = [self.after(prev) for prev in held]
        missing = len(held) < len(event.prev_event_ids)
        if missing or not states:
            states.append(self.seed)
        partial = self.is_partial and (missing or any(prev in self.partial_events for prev in held))
        return self.resolved(states), partial

    def current_state(self) -> SharedState:
        """Return the resolution of the states after the forward extremities."""
        return self.resolved([self.after(event_id) for event_id in self.extremities])

    def resolved(self, states: list[SharedState]) -> SharedState:
        """Return the resolution of several states."""
        return SharedState.of(resolve(self.version, states, self.events, self.rejected))

    def persist(self, event: Event, state: SharedState, *, accepted: bool, partial: bool) -> None:
        """Put an event into the timeline."""
        self.events[event.event_id] = event
        self.before[event.event_id] = state
        if partial:
            self.partial_events.add(event.event_id)
        if not accepted:
            self.rejected.add(event.event_id)
            return
        for prev in event.prev_event_ids:
            self.extremities.pop(prev, None)
        self.extremities[event.event_id] = None

    def find_extremities(self) -> None:
        """Find the forward extremities anew, after verdicts on events of the timeline have changed."""
        accepted = [event_id for event_id in self.before if event_id not in self.rejected]
        followed = {prev for event_id in accepted for prev in self.events[event_id].prev_event_ids}
        self.extremities = {event_id: None for event_id in accepted if event_id not in followed}

    def servers(self, state: StateMap) -> set[ServerName]:
        """Return the servers with a joined member in *state*."""
        return {
            server_of(UserId(state_key))
            for (kind, state_key), event_id in state.items()
            if kind == "m.room.member" and self.events[event_id].content.get("membership") == "join"
        }

    def auth_chain(self, event_ids: Iterable[EventId]) -> set[EventId]:
        """Return the auth events of the given events, theirs, and so on."""
        chain: set[EventId] = set()
        todo = [auth for event_id in event_ids for auth in self.events[event_id].auth_event_ids]
        while todo:
            event_id = todo.pop()
            if event_id not in chain:
                chain.add(event_id)
                todo.extend(self.events[event_id].auth_event_ids)
        return chain

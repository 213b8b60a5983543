"""The two orders in which state resolution 2 tries events: by power, and by the mainline of power levels.

Specification v1.19, room version 2, "Reverse topological power ordering" and "Mainline ordering".
"""

import heapq
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.auth_graph import auth_events_of, held
from partialstate_service.matrix.auth_rule import AuthRejectionError
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.power_levels import power_levels

_CREATE: StateKey = ("m.room.create", "")
_POWER_LEVELS: StateKey = ("m.room.power_levels", "")
_JOIN_RULES: StateKey = ("m.room.join_rules", "")

# (-power of the sender, origin_server_ts, event id): the smallest comes first.
_PowerKey = tuple[int, int, EventId]
# (place on the mainline, origin_server_ts, event id)
_MainlineKey = tuple[int, int, EventId]


def is_power_event(event: Event) -> bool:
    """Whether *event* can take power away from others: power levels, join rules, a kick or a ban.

    As in Synapse, the create event is one too.
    """
    if event.state_key is None:
        return False
    if (event.type, event.state_key) in (_POWER_LEVELS, _JOIN_RULES, _CREATE):
        return True
    return (
        event.type == "m.room.member"
        and event.content.get("membership") in ("leave", "ban")
        and event.sender != event.state_key
    )


def power_ordered(
    power_events: Iterable[EventId], full_conflicted: AbstractSet[EventId], events: Mapping[EventId, Event]
) -> list[EventId]:
    """Return *power_events* and what they rest on within *full_conflicted*, in reverse topological power ordering.

    As in Synapse, what they rest on is what is reached by auth events that are themselves in *full_conflicted*.
    Events that cite each other in a circle (possible where events name their own ids) are left out.
    """
    edges: dict[EventId, set[EventId]] = {}
    stack = list(power_events)
    while stack:
        event_id = stack.pop()
        if event_id not in edges:
            edges[event_id] = {a for a in held(events, event_id).auth_event_ids if a in full_conflicted}
            stack.extend(edges[event_id])
    cited_by: dict[EventId, list[EventId]] = {event_id: [] for event_id in edges}
    for event_id, auth_ids in edges.items():
        for auth_id in auth_ids:
            cited_by[auth_id].append(event_id)
    waiting_for = {event_id: len(auth_ids) for event_id, auth_ids in edges.items()}

    ready = [_power_key(events[event_id], events) for event_id, count in waiting_for.items() if count == 0]
    heapq.heapify(ready)
    ordered: list[EventId] = []
    while ready:
        *_, event_id = heapq.heappop(ready)
        ordered.append(event_id)
        for citing in cited_by[event_id]:
            waiting_for[citing] -= 1
            if waiting_for[citing] == 0:
                heapq.heappush(ready, _power_key(events[citing], events))
    return ordered


def _power_key(event: Event, events: Mapping[EventId, Event]) -> _PowerKey:
    return -_power_of_sender(event, events), event.origin_server_ts, event.event_id


def _power_of_sender(event: Event, events: Mapping[EventId, Event]) -> int:
    """Return the sender's power level by the event's own auth events; 0 where they do not say."""
    create = levels = None
    for auth_event in auth_events_of(event, events):
        if (auth_event.type, auth_event.state_key) == _CREATE:
            create = auth_event
        elif (auth_event.type, auth_event.state_key) == _POWER_LEVELS:
            levels = auth_event
    if create is None:
        return 0
    try:
        return power_levels(create, levels).user_level(event.sender)
    except AuthRejectionError:
        return 0


class MainlineOrdering:
    """The order by the closest event on the mainline: the resolved power levels and their predecessors."""

    def __init__(self, power_levels: EventId | None, events: Mapping[EventId, Event]) -> None:
        self._events = events
        mainline: list[EventId] = []
        on_mainline: set[EventId] = set()
        current = power_levels
        while current is not None and current not in on_mainline:
            mainline.append(current)
            on_mainline.add(current)
            current = self._cited_power_levels(current)
        # 0 is the place of what leads to no event of the mainline; the oldest has place 1.
        self._places = {event_id: place for place, event_id in enumerate(reversed(mainline), start=1)}

    def sort_key(self, event: Event) -> _MainlineKey:
        """Return what to sort by."""
        return self._place(event.event_id), event.origin_server_ts, event.event_id

    def _place(self, event_id: EventId) -> int:
        passed: list[EventId] = []
        current: EventId | None = event_id
        while current is not None and current not in self._places:
            # Found on the way, and found for the next event that comes this way; 0 also ends a circle.
            self._places[current] = 0
            passed.append(current)
            current = self._cited_power_levels(current)
        place = 0 if current is None else self._places[current]
        self._places.update(dict.fromkeys(passed, place))
        return place

    def _cited_power_levels(self, event_id: EventId) -> EventId | None:
        for auth_id in held(self._events, event_id).auth_event_ids:
            auth_event = held(self._events, auth_id)
            if (auth_event.type, auth_event.state_key) == _POWER_LEVELS:
                return auth_id
        return None

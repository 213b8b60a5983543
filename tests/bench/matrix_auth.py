"""Row `matrix.event_auth`: what authorising each event of a big room costs.

One operation is what an event's arrival takes: the rules on its list of auth events, then the others by that list and
by the state before the event (checks 4 and 5). The events are joins, messages, invites and kicks in a room of 100,000
members; the baseline is the bare look-up of the state that each can depend on. Medians of interleaved repeats, CPU time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import median
from time import process_time
from typing import Any

from partialstate_service.domain.ids import EventId, UserId
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.event_auth import auth_state_keys, check_auth, check_auth_events
from support.rooms import RoomBuilder

VERSION = "10"
MEMBERS = 100_000
EVENTS = 20_000
REPEATS = 9
TARGET_US = 25
MODERATOR = "@moderator:a.example"
NOBODY_REJECTED: frozenset[EventId] = frozenset()

State = dict[StateKey, Event]
Arrival = tuple[Event, list[Event]]


def rows() -> Iterator[dict[str, Any]]:
    """Yield the one row."""
    state, arrivals = big_room()
    value, baseline = _interleaved(
        arrivals, lambda arrival: authorise(arrival, state), lambda arrival: look_up(arrival, state)
    )
    yield {
        "name": "matrix.event_auth",
        "value": round(value, 2),
        "unit": "us/event",
        "baseline": round(baseline, 2),
        "ratio": round(value / baseline, 2),
        "target": TARGET_US,
        "ok": value <= TARGET_US,
    }


def authorise(arrival: Arrival, state: State) -> None:
    """Do checks 4 and 5 of an arriving event."""
    event, auth_events = arrival
    check_auth_events(event, auth_events, NOBODY_REJECTED)
    check_auth(event, {(e.type, e.state_key or ""): e for e in auth_events})
    check_auth(event, state)


def look_up(arrival: Arrival, state: State) -> None:
    """Find the state that the event can depend on."""
    for key in auth_state_keys(arrival[0]):
        state.get(key)


def big_room() -> tuple[State, list[Arrival]]:
    """Return the state of a big room, and events to come in it with their auth events."""
    room = RoomBuilder(VERSION)
    room.join(MODERATOR)
    room.power_levels({room.creator: 100, MODERATOR: 50})
    state = room.full_state
    first_join = room.join("@member:a.example")
    for number in range(MEMBERS):
        user = _member(number)
        event_id = EventId(f"$member{number}")
        state["m.room.member", user] = replace(first_join, event_id=event_id, sender=user, state_key=user)
    patterns = [
        room.build("m.room.member", "@new:b.example", {"membership": "join"}, "@new:b.example"),
        room.build("m.room.message", "@member:a.example", {"body": "hello"}),
        room.build("m.room.member", "@member:a.example", {"membership": "invite"}, "@new:b.example"),
        room.build("m.room.member", MODERATOR, {"membership": "leave"}, "@member:a.example"),
    ]
    return state, [_arrival(number, patterns[number % len(patterns)], state) for number in range(EVENTS)]


def _member(number: int) -> UserId:
    return UserId(f"@member{number}:server{number % 500}.example")


def _arrival(number: int, pattern: Event, state: State) -> Arrival:
    member, new = _member(number * (MEMBERS // EVENTS)), UserId(f"@new{number}:b.example")
    names = {"@member:a.example": member, "@new:b.example": new}
    event = replace(
        pattern,
        event_id=EventId(f"$event{number}"),
        sender=names.get(pattern.sender, pattern.sender),
        state_key=names.get(pattern.state_key or "", pattern.state_key),
    )
    return event, [state[key] for key in auth_state_keys(event) if key in state]


def _interleaved(
    arrivals: Sequence[Arrival], measured: Callable[[Arrival], None], baseline: Callable[[Arrival], None]
) -> tuple[float, float]:
    """Return the medians, in microseconds of CPU time per event."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for operation, into in zip((measured, baseline), times, strict=True):
            start = process_time()
            for arrival in arrivals:
                operation(arrival)
            into.append((process_time() - start) / len(arrivals) * 1e6)
    return median(times[0]), median(times[1])

"""Row `matrix.resolve_50k`: resolving two states of 50,000 entries that differ in 100 of them.

The states are those of a fork: on one side 25 members changed their names and 25 were banned, on the other 25 others
changed theirs and 25 more joined. `matrix.resolve_50k` takes them as plain mappings, with nothing known before; in
`matrix.resolve_50k_shared` they are versions of one state, as in a replay. The baseline is finding out which entries
differ. Medians of interleaved repeats, CPU time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from time import process_time
from typing import Any

from partialstate_service.domain.ids import EventId, UserId
from partialstate_service.matrix.auth_graph import IndexedAuthGraph
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.shared_state import SharedState
from partialstate_service.matrix.state_res import resolve
from support.rooms import RoomBuilder

VERSION = "11"
ENTRIES = 50_000
REPEATS = 9
TARGET_S = 1.0


@dataclass(frozen=True)
class Fork:
    """Two states, and the events that they and their auth chains are made of."""

    events: dict[EventId, Event]
    left: dict[StateKey, EventId]
    right: dict[StateKey, EventId]


def rows() -> Iterator[dict[str, Any]]:
    """Yield the two rows."""
    fork = big_fork()
    version = next(iter(fork.events.values())).room_version
    shared_left = SharedState.of(fork.left)
    changed = shared_left.differing_keys(fork.right)
    shared_right = shared_left.with_changes({key: fork.right.get(key) for key in changed})
    graph = IndexedAuthGraph(fork.events)
    graph.include(fork.events)
    plain, shared, differences = _interleaved(
        lambda: resolve(version, [fork.left, fork.right], fork.events),
        lambda: resolve(version, [shared_left, shared_right], fork.events, graph=graph),
        lambda: {key for key, _ in fork.left.items() ^ fork.right.items()},
    )
    for name, value in (("matrix.resolve_50k", plain), ("matrix.resolve_50k_shared", shared)):
        yield {
            "name": name,
            "value": round(value, 5),
            "unit": "s",
            "baseline": round(differences, 5),
            "ratio": round(value / differences, 2),
            "target": TARGET_S,
            "ok": value <= TARGET_S,
        }


def big_fork() -> Fork:
    """Build the fork; the members are copies of one, for state resolution looks at neither hashes nor signatures."""
    room = RoomBuilder(VERSION)
    pattern = room.join("@pattern:a.example")

    def member(number: int, event_id: str, membership: str = "join", **content: str) -> Event:
        user = UserId(f"@user{number}:server{number % 50}.example")
        event = replace(
            pattern,
            event_id=EventId(event_id),
            sender=user,
            state_key=user,
            content={"membership": membership, **content},
        )
        room.events[event.event_id] = event
        return event

    base = dict(room.state)
    for number in range(ENTRIES - len(base)):
        _enter(base, member(number, f"$join{number}"))
    left, right = dict(base), dict(base)
    ban = room.ban("@user0:server0.example")
    for number in range(25):
        _enter(left, _after(base, member(number, f"$left{number}", displayname="left"), room))
        _enter(right, _after(base, member(50 + number, f"$right{number}", displayname="right"), room))
    for number in range(100, 125):
        banned = member(number, f"$ban{number}", "ban")
        banned = replace(banned, sender=ban.sender, auth_event_ids=_banning(banned, ban, base))
        room.events[banned.event_id] = banned
        _enter(left, banned)
        _enter(right, member(ENTRIES + number, f"$new{number}"))
    return Fork(room.events, left, right)


def _after(base: dict[StateKey, EventId], event: Event, room: RoomBuilder) -> Event:
    """Let a member's new event rest on the old one."""
    assert event.state_key is not None
    old = base[event.type, event.state_key]
    event = replace(event, auth_event_ids=(*event.auth_event_ids, old))
    room.events[event.event_id] = event
    return event


def _banning(event: Event, ban: Event, base: dict[StateKey, EventId]) -> tuple[EventId, ...]:
    """Return the auth events of a ban, with the target's own membership."""
    assert event.state_key is not None
    others = (auth_id for auth_id in ban.auth_event_ids if not auth_id.startswith("$join"))
    return (*others, base[event.type, event.state_key])


def _enter(state: dict[StateKey, EventId], event: Event) -> None:
    assert event.state_key is not None
    state[event.type, event.state_key] = event.event_id


def _interleaved(*operations: Callable[[], object]) -> list[float]:
    """Return the median CPU time of each operation, in seconds."""
    times: list[list[float]] = [[] for _ in operations]
    for _ in range(REPEATS):
        for operation, taken in zip(operations, times, strict=True):
            start = process_time()
            operation()
            taken.append(process_time() - start)
    return [median(taken) for taken in times]

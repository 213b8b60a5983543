"""The full state after an event that the timeline does not hold, once it is verified: a snapshot."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event, StateKey, StateMap
from partialstate_service.matrix.event_auth import AuthRejectionError, check_auth

_ENTRIES_PER_ITEM = 5000
_CREATE_KEY: StateKey = ("m.room.create", "")


class SnapshotRefusedError(Exception):
    """What a server says of a state cannot be true or cannot be verified; the text says why."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The verified state after `after`, and what was found on the way to it."""

    after: EventId
    state: StateMap
    closure: frozenset[EventId]
    """Every event that the homeserver needs to hold: the state, `after` itself, and their auth chains."""
    rejected: frozenset[EventId]
    """Those of the closure that fail auth: they are in no state."""
    left_out: frozenset[EventId] = frozenset()
    """Entries of the state that failed auth and were left out (a bad sign)."""
    unverified: frozenset[EventId] = frozenset()
    """Memberships that no key could verify and that were left out."""
    note: str = ""
    """What an operator should know: a difference between servers, for instance."""


def build_state(
    pdu_ids: Sequence[EventId],
    events: Mapping[EventId, Event],
    rejected: Collection[EventId],
    omitted: Collection[EventId],
    create_id: EventId,
) -> dict[StateKey, EventId]:
    """Return the state map of *pdu_ids* without *rejected* and *omitted*, or raise `SnapshotRefusedError`."""
    state: dict[StateKey, EventId] = {}
    for event_id in pdu_ids:
        if event_id in omitted:
            continue
        event = events[event_id]
        if event.state_key is None:
            raise SnapshotRefusedError(f"the state contains {event_id}, which is no state event")
        key = (event.type, event.state_key)
        if key in state:
            raise SnapshotRefusedError(f"the state contains two events for {key!a:.128}")
        if event_id not in rejected:
            state[key] = event_id
    if state.get(_CREATE_KEY) != create_id:
        raise SnapshotRefusedError("the state does not contain the room's create event")
    return state


def state_after(
    event: Event,
    state: Mapping[StateKey, EventId],
    events: Mapping[EventId, Event],
    rejected: Collection[EventId],
) -> tuple[dict[StateKey, EventId], AuthRejectionError | None]:
    """Return the state after *event* given the one before it, and why it is rejected if it is.

    Beside its own auth events the event must pass auth against the state before it: a server could otherwise
    name a state in which its event is not allowed.
    """
    after = dict(state)
    if event.event_id in rejected:
        return after, None
    try:
        check_auth(event, _EventsOf(state, events))
    except AuthRejectionError as error:
        return after, error
    if event.state_key is not None:
        after[event.type, event.state_key] = event.event_id
    return after, None


class _EventsOf(Mapping[StateKey, Event]):
    """A state map read as events."""

    def __init__(self, state: Mapping[StateKey, EventId], events: Mapping[EventId, Event]) -> None:
        self._state = state
        self._events = events

    def __getitem__(self, key: StateKey) -> Event:
        return self._events[self._state[key]]

    def __iter__(self) -> Iterator[StateKey]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


def encode_snapshot(snapshot: Snapshot) -> list[bytes]:
    """Return the snapshot as the items of a SNAPSHOT chunk: a head, then entries and ids in pieces."""
    head = {
        "after": snapshot.after,
        "rejected": sorted(snapshot.rejected),
        "left_out": sorted(snapshot.left_out),
        "unverified": sorted(snapshot.unverified),
        "note": snapshot.note,
    }
    entries = [(*key, event_id) for key, event_id in snapshot.state.items()]
    others = sorted(snapshot.closure.difference(snapshot.state.values()))
    return [
        orjson.dumps(head),
        *(orjson.dumps({"entries": piece}) for piece in _pieces(entries)),
        *(orjson.dumps({"others": piece}) for piece in _pieces(others)),
    ]


def decode_snapshot(items: Sequence[bytes]) -> Snapshot:
    """Return what `encode_snapshot` encoded."""
    head = orjson.loads(items[0])
    state: dict[StateKey, EventId] = {}
    closure: set[EventId] = set()
    for item in items[1:]:
        piece = orjson.loads(item)
        for event_type, state_key, event_id in piece.get("entries", ()):
            state[event_type, state_key] = EventId(event_id)
        closure.update(piece.get("others", ()))
    closure.update(state.values())
    return Snapshot(
        after=EventId(head["after"]),
        state=state,
        closure=frozenset(closure),
        rejected=frozenset(head["rejected"]),
        left_out=frozenset(head["left_out"]),
        unverified=frozenset(head["unverified"]),
        note=head["note"],
    )


def _pieces(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _ENTRIES_PER_ITEM):
        yield values[start : start + _ENTRIES_PER_ITEM]

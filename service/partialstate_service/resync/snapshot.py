"""The full state after an event that the timeline does not hold, once it is verified: a snapshot."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from partialstate_service.domain.ids import EventId
from partialstate_service.matrix.event import Event, StateKey
from partialstate_service.matrix.event_auth import AuthRejectionError, check_auth
from partialstate_service.matrix.resolved_state import ResolvedState
from partialstate_service.matrix.shared_state import SharedState, StateBuilder
from partialstate_service.resync.event_ids import EventIds
from partialstate_service.resync.event_table import EventTable
from partialstate_service.resync.held import HeldChunk

# How an event belongs to a snapshot.
_ELSEWHERE: Final = "0"
_IN_STATE: Final = "1"
_IN_CLOSURE: Final = "2"
_CREATE_KEY: StateKey = ("m.room.create", "")


class SnapshotRefusedError(Exception):
    """What a server says of a state cannot be true or cannot be verified; the text says why."""


class UnansweredError(SnapshotRefusedError):
    """Events of a state are lacking, and not everybody who was asked for them has answered."""


class ImpossibleStateError(SnapshotRefusedError):
    """The ids of a state contradict each other or the room, whoever tells them."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The verified state after `after`, and what was found on the way to it."""

    after: EventId
    state: SharedState
    closure: EventIds
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
    pdu_ids: Iterable[EventId],
    events: EventTable,
    rejected: Collection[EventId],
    omitted: Collection[EventId],
    create_id: EventId,
) -> SharedState:
    """Return the state map of *pdu_ids* without *rejected* and *omitted*, or raise `ImpossibleStateError`."""
    building = StateBuilder()
    for event_id in pdu_ids:
        if event_id in omitted:
            continue
        kind, state_key = events.slot(event_id)
        if state_key is None:
            raise ImpossibleStateError(f"the state contains {event_id!a:.100}, which is no state event")
        key = (kind, state_key)
        if event_id not in rejected and building.add(key, event_id) != event_id:
            raise ImpossibleStateError(f"the state contains two events for {key!a:.128}")
    state = building.state()
    if state.get(_CREATE_KEY) != create_id:
        raise ImpossibleStateError("the state does not contain the room's create event")
    return state


def state_after(
    event: Event,
    state: SharedState,
    events: Mapping[EventId, Event],
    rejected: Collection[EventId],
) -> tuple[SharedState, AuthRejectionError | None]:
    """Return the state after *event* given the one before it, and why it is rejected if it is.

    Beside its own auth events the event must pass auth against the state before it: a server could otherwise
    name a state in which its event is not allowed.
    """
    if event.event_id in rejected:
        return state, None
    try:
        check_auth(event, ResolvedState(state, events))
    except AuthRejectionError as error:
        return state, error
    if event.state_key is not None:
        state = state.with_changes({(event.type, event.state_key): event.event_id})
    return state, None


def encode_snapshot(snapshot: Snapshot, chunks: Iterable[HeldChunk]) -> list[bytes]:
    """Return the snapshot as the items of a SNAPSHOT chunk: a head, then how the events of *chunks* belong to it.

    *chunks* hold the room's verified events: what is in one is named by its place, since ids do not compress.
    """
    head = {
        "after": snapshot.after,
        "rejected": sorted(snapshot.rejected),
        "left_out": sorted(snapshot.left_out),
        "unverified": sorted(snapshot.unverified),
        "note": snapshot.note,
    }
    unnamed = dict.fromkeys(snapshot.state.values(), _IN_STATE)
    unnamed |= {event_id: _IN_CLOSURE for event_id in snapshot.closure if event_id not in unnamed}
    items = [orjson.dumps(head)]
    for chunk, event_ids in chunks:
        marks = "".join([unnamed.pop(event_id, _ELSEWHERE) for event_id in event_ids])
        if marks.strip(_ELSEWHERE):
            items.append(orjson.dumps({"chunk": chunk.key, "marks": marks}))
    return [*items, orjson.dumps({"ids": list(unnamed), "marks": "".join(unnamed.values())})]


def named_chunks(items: Sequence[bytes]) -> frozenset[str]:
    """Return the keys of the chunks that hold what `encode_snapshot` encoded."""
    return frozenset(item["chunk"] for item in map(orjson.loads, items[1:]) if "chunk" in item)


def decode_snapshot(
    items: Sequence[bytes], events: EventTable, chunks: Iterable[HeldChunk]
) -> Snapshot | None:
    """Return what `encode_snapshot` encoded; None if some of its events are not held."""
    head = orjson.loads(items[0])
    by_key = {chunk.key: event_ids for chunk, event_ids in chunks}
    building = StateBuilder()
    closure = EventIds(events)
    for item in map(orjson.loads, items[1:]):
        event_ids = item["ids"] if "ids" in item else by_key.get(item["chunk"])
        if event_ids is None:
            return None
        for event_id, mark in zip(event_ids, item["marks"], strict=True):
            if mark == _ELSEWHERE:
                continue
            if event_id not in events:
                return None
            closure.add(event_id)
            kind, state_key = events.slot(event_id)
            if mark == _IN_STATE and state_key is not None:
                building.add((kind, state_key), event_id)
    return Snapshot(
        after=EventId(head["after"]),
        state=building.state(),
        closure=closure,
        rejected=frozenset(head["rejected"]),
        left_out=frozenset(head["left_out"]),
        unverified=frozenset(head["unverified"]),
        note=head["note"],
    )

"""The records that a resync appends to the recovered-state log, as JSON (`ownership/recovered_log.py` reads them)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TypeAlias, TypeVar

import orjson

from partialstate_service.domain.ids import EventId, ServerName
from partialstate_service.matrix.event import StateKey
from partialstate_service.matrix.replay import Replayed

_T = TypeVar("_T")
_Entry: TypeAlias = tuple[StateKey, str]
"""A slot of the state and its event, or "" for none."""

_ENTRIES_PER_RECORD = 1000
_SERVERS_PER_RECORD = 1000


def state_before_records(replayed: Replayed) -> Iterator[bytes]:
    """Yield the state before an event as a delta to its base's, in as many records as it takes."""
    entries = _delta(replayed.added, replayed.removed)
    for piece, complete in _pieces(entries, _ENTRIES_PER_RECORD):
        yield orjson.dumps(
            {
                "t": "state_before",
                "event": replayed.event_id,
                "base": replayed.base_event_id or "",
                "entries": _triples(piece),
                "complete": complete,
            }
        )


def verdict_record(replayed: Replayed, *, provisionally_accepted: bool) -> bytes:
    """Return the final verdict on an event."""
    accepted = replayed.rejection is None
    return orjson.dumps(
        {
            "t": "verdict",
            "event": replayed.event_id,
            "accepted": accepted,
            "flipped": accepted != provisionally_accepted,
            "rejection": "" if replayed.rejection is None else str(replayed.rejection),
        }
    )


def current_state_records(
    base: EventId | None, added: Mapping[StateKey, EventId], removed: frozenset[StateKey]
) -> Iterator[bytes]:
    """Yield the current state: anew from the state before *base*, or, with None, as changes to the one before."""
    for index, (piece, complete) in enumerate(_pieces(_delta(added, removed), _ENTRIES_PER_RECORD)):
        yield orjson.dumps(
            {
                "t": "current_state",
                "base": base if base is not None and index == 0 else "",
                "entries": _triples(piece),
                "complete": complete,
            }
        )


def servers_records(
    in_room: Sequence[ServerName], missed: Sequence[ServerName], device_list_position: int | None
) -> Iterator[bytes]:
    """Yield who is in the room, and who missed events that we sent meanwhile."""
    for index, (piece, complete) in enumerate(_pieces(in_room, _SERVERS_PER_RECORD)):
        yield orjson.dumps(
            {
                "t": "servers",
                "in_room": piece,
                "missed": missed if index == 0 else [],
                "device_list_position": device_list_position,
                "complete": complete,
            }
        )


def _delta(added: Mapping[StateKey, EventId], removed: frozenset[StateKey]) -> Iterator[_Entry]:
    return chain(added.items(), ((key, "") for key in sorted(removed)))


def _triples(entries: Iterable[_Entry]) -> list[tuple[str, str, str]]:
    return [(kind, state_key, event_id) for (kind, state_key), event_id in entries]


def _pieces(values: Iterable[_T], size: int) -> Iterator[tuple[Sequence[_T], bool]]:
    """Yield *values* in pieces, each with whether it is the last; nothing is one empty piece."""
    rest = iter(values)
    piece = list(islice(rest, size))
    while following := list(islice(rest, size)):
        yield piece, False
        piece = following
    yield piece, True

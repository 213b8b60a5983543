"""Which recorded events are rejected because no server has their auth events: kept, so that every worker agrees.

They are kept in the store beside the snapshots, under a name that no event has: ids have no white space.
"""

from collections.abc import Iterable, Iterator, Sequence

import orjson

from partialstate_service.domain.ids import EventId

_PREFIX = "auth "


def renunciation_name(event_id: EventId) -> EventId:
    """Return the name under which it is kept that the auth chain of a recorded event was given up."""
    return EventId(_PREFIX + event_id)


def renounced_among(names: Iterable[EventId]) -> Iterator[tuple[EventId, EventId]]:
    """Return, of what is kept, the names of such decisions with the ids of the events."""
    return ((name, EventId(name[len(_PREFIX) :])) for name in names if name.startswith(_PREFIX))


def encode_renunciation(lacking: EventId) -> list[bytes]:
    """Return the items of the chunk that says which auth event no server has."""
    return [orjson.dumps({"lacking": lacking})]


def decode_renunciation(items: Sequence[bytes]) -> EventId:
    """Return what `encode_renunciation` encoded."""
    return EventId(orjson.loads(items[0])["lacking"])

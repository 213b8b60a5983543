"""Events and slots of state, as the API carries them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Pdu:
    """One event."""

    json: bytes
    """The event as JSON in UTF-8, as federation carries it; `event_json` makes it of a dict."""
    event_id: str = ""
    """Room versions 1 and 2: the event's id. Later ones: empty, or what the recomputed id is compared with."""


@dataclass(frozen=True, slots=True)
class StateEntry:
    """One slot of a room's state."""

    type: str
    state_key: str
    event_id: str
    """The event in the slot; empty where a delta removes the slot."""


def event_json(event: Mapping[str, Any]) -> bytes:
    """Return *event* as the API takes it. Raises ValueError for what JSON cannot carry (NaN, infinity)."""
    # ASCII, so that a lone surrogate in a string passes through as it came.
    return json.dumps(event, separators=(",", ":"), allow_nan=False).encode("ascii")

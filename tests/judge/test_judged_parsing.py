"""What we make of a received event is what Synapse makes of it: taken or not, its id, its hash, its redacted copy."""

import json
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from partialstate_service.matrix.parsing import InvalidEventError, parse_event_bytes
from partialstate_service.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from support.judge import synapse_python
from support.random_events import random_events

EVENTS_PER_VERSION = 1_000
PYTHON = synapse_python()
SCRIPT = Path(__file__).parent / "synapse_parser.py"

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(PYTHON is None, reason="no Synapse here: `make interop-env`"),
]


def _ours(version: RoomVersion, text: str) -> dict:
    try:
        event = parse_event_bytes(text.encode(), version)
    except InvalidEventError as error:
        return {"refused": str(error)}
    return {
        "id": event.event_id,
        "room": event.room_id,
        "hash_matches": event.hash_matches,
        "raw": event.raw,
    }


def _theirs(cases: list[tuple[RoomVersion, str]]) -> list[dict]:
    lines = "".join(f'{{"version":"{version}","pdu":{text}}}\n' for version, text in cases)
    finished = subprocess.run(
        [PYTHON, SCRIPT], input=lines, capture_output=True, check=True, text=True, timeout=100
    )
    return list(map(json.loads, finished.stdout.splitlines()))


def test_random_events_are_judged_alike():
    """A thousand events of each version; all kinds of outcomes are among them."""
    cases = [
        (version, json.dumps(raw))
        for version in ROOM_VERSIONS.values()
        for raw in random_events(version, seed=int(version.version), number=EVENTS_PER_VERSION)
    ]
    outcomes: dict[str, Counter] = defaultdict(Counter)
    for (version, text), theirs in zip(cases, _theirs(cases), strict=True):
        ours = _ours(version, text)
        if "refused" in ours or "refused" in theirs:
            assert "refused" in ours, f"Synapse refuses {version} {text}: {theirs['refused']}"
            assert "refused" in theirs, f"we refuse {version} {text}: {ours['refused']}"
            outcomes[version.version]["refused"] += 1
        else:
            assert ours == theirs
            outcomes[version.version]["taken" if ours["hash_matches"] else "redacted"] += 1
    for version, counts in outcomes.items():
        assert min(counts[outcome] for outcome in ("taken", "redacted", "refused")) >= 20, (version, counts)

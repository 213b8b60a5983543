"""What the change log of a store proves of its workers, read without any code of the service between."""

import json
from collections.abc import Mapping, Sequence

from redis import Redis

Entry = Mapping[str, str]


def read_change_log(url: str, prefix: str = "mps") -> Sequence[Entry]:
    """Return all entries, the oldest first."""
    with Redis.from_url(url, decode_responses=True) as client:
        return [entry for _, entry in client.xrange(f"{prefix}:{{registry}}:log")]


def assert_one_owner_at_a_time(entries: Sequence[Entry]) -> int:
    """Assert that after a claim nobody wrote but whoever made it; return the number of claims."""
    holders: dict[str, int] = {}
    last_claim = 0
    claims = 0
    for entry in entries:
        if "fencing" not in entry:
            continue
        fencing, room_id = int(entry["fencing"]), entry["room"]
        if entry["kind"] == "claim_due":
            claims += 1
            assert fencing > last_claim, entry
            last_claim = holders[room_id] = fencing
        else:
            assert fencing == holders[room_id], entry
    return claims


def deepest_fall_of_progress(entries: Sequence[Entry]) -> int:
    """Return by how many verified events the progress of a room fell back at the most."""
    most: dict[str, int] = {}
    deepest = 0
    for entry in entries:
        if entry["kind"] == "report_progress" and "progress" in entry:
            verified = json.loads(entry["progress"])["events_verified"]
            deepest = max(deepest, most.get(entry["room"], 0) - verified)
            most[entry["room"]] = max(most.get(entry["room"], 0), verified)
    return deepest

"""The judge of single events: Synapse's own parsing, hashing and redaction behind JSON lines on stdin and stdout.

A script for a Python in which `matrix-synapse` is installed (`make interop-env`). Each line in is an event as received:
{"version", "pdu"}. Each line out is what Synapse makes of it: {"refused": why}, or {"id", "room", "hash_matches", "raw"}
with the redacted copy where the content hash did not match.
"""

# mypy: disable-error-code="import-not-found"

import json
import sys
from typing import Any

from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.crypto.event_signing import check_event_content_hash
from synapse.event_auth import validate_event_for_room_version
from synapse.events.utils import prune_event
from synapse.federation.federation_base import event_from_pdu_json


def judge(version: str, pdu: dict[str, Any]) -> dict[str, Any]:
    """Return what Synapse makes of an event that another server sent."""
    event = event_from_pdu_json(pdu, KNOWN_ROOM_VERSIONS[version])
    hash_matches = check_event_content_hash(event)
    kept = event if hash_matches else prune_event(event)
    validate_event_for_room_version(kept)
    raw = {key: value for key, value in kept.get_pdu_json().items() if key != "unsigned"}
    return {"id": kept.event_id, "room": kept.room_id, "hash_matches": hash_matches, "raw": raw}


if __name__ == "__main__":
    for line in sys.stdin:
        case = json.loads(line)
        try:
            judgement = judge(case["version"], case["pdu"])
        except Exception as error:  # noqa: BLE001 - whatever it raises, it does not take the event
            judgement = {"refused": f"{type(error).__name__}: {error}"}
        print(json.dumps(judgement), flush=True)

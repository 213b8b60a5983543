"""A fuzzer's target (atheris): `python -m support.fuzz_target CORPUS_DIRECTORY OPTIONS_OF_LIBFUZZER`.

The first byte of the input chooses the room version, the rest is what a peer sent.
"""

import json
import sys

import atheris

with atheris.instrument_imports(include=["partialstate_service"]):
    from partialstate_service.matrix.parsing import InvalidEventError, parse_event_bytes
    from partialstate_service.matrix.room_versions import ROOM_VERSIONS
    from partialstate_service.matrix.signatures import verify_event
    from support.signed_events import server_keys

VERSIONS = tuple(ROOM_VERSIONS.values())


def survive(data: bytes) -> None:
    """Parse and verify *data*; whatever parses must parse again, to the same event."""
    version = VERSIONS[data[0] % len(VERSIONS)] if data else VERSIONS[0]
    try:
        event = parse_event_bytes(data[1:], version)
    except InvalidEventError:
        return
    verify_event(event, server_keys())
    again = parse_event_bytes(json.dumps(event.raw).encode(), version)
    if again.event_id != event.event_id:
        raise AssertionError(event.event_id)


if __name__ == "__main__":
    atheris.Setup(sys.argv, survive)
    atheris.Fuzz()

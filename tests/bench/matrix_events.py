"""Rows `matrix.parse_hash`, `matrix.verify` and `matrix.two_processes`: what each event of a big room costs.

CPU time, medians of interleaved repeats; `matrix.two_processes` is wall time, and needs two cores that are idle.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from hashlib import sha256
from multiprocessing import get_context
from statistics import median
from time import perf_counter, process_time
from typing import Any

import orjson
from nacl.signing import VerifyKey
from partialstate_service.domain.ids import ServerName
from partialstate_service.matrix.canonical_json import encode_canonical
from partialstate_service.matrix.ed25519 import SigningKey, signing_key_from_seed
from partialstate_service.matrix.event import Event
from partialstate_service.matrix.hashes import signed_part
from partialstate_service.matrix.keys import ServerKeys
from partialstate_service.matrix.parsing import parse_event_bytes
from partialstate_service.matrix.room_versions import room_version
from partialstate_service.matrix.signatures import verify_event
from partialstate_service.matrix.signing import sign_event
from unpaddedbase64 import decode_base64

VERSION = room_version("10")
EVENTS = 2_000
SERVERS = 500
REPEATS = 9
CHUNK = 250
CHUNKS = 16
TS = 1_700_000_000_000

PARSE_TARGET_US = 20
VERIFY_TARGET_RATIO = 1.2
TWO_PROCESSES_TARGET = 1.6


def rows() -> Iterator[dict[str, Any]]:
    """Yield one row per figure."""
    texts = [json.dumps(_member(number), separators=(",", ":")).encode() for number in range(EVENTS)]
    yield _parse_hash(texts)
    yield _verify([parse_event_bytes(text, VERSION) for text in texts])
    yield _two_processes(texts)


def _parse_hash(texts: Sequence[bytes]) -> dict[str, Any]:
    """Parse, canonicalise, hash and id, against the libraries' bare calls that this cannot do without."""

    def bare(text: bytes) -> None:
        canonical = orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)
        sha256(canonical).digest()
        sha256(canonical).digest()

    value, baseline = _interleaved(texts, lambda text: parse_event_bytes(text, VERSION), bare)
    return _row(
        "matrix.parse_hash", value, "us/event", baseline, PARSE_TARGET_US, ok=value <= PARSE_TARGET_US
    )


def _verify(events: Sequence[Event]) -> dict[str, Any]:
    """Verify a parsed event, against PyNaCl's verification of the same bytes."""
    keys = _keys()
    public = {
        server: VerifyKey(server_keys.verify_keys[_key(server).key_id])
        for server, server_keys in keys.items()
    }
    bare = []
    for event in events:
        server = ServerName(event.sender.partition(":")[2])
        signature = decode_base64(event.raw["signatures"][server][_key(server).key_id])
        bare.append((event, public[server], encode_canonical(signed_part(event.raw, VERSION)), signature))
    value, baseline = _interleaved(
        bare,
        lambda item: _require(verify_event(item[0], keys).is_valid),
        lambda item: item[1].verify(item[2], item[3]),
    )
    ok = value <= VERIFY_TARGET_RATIO * baseline
    return _row("matrix.verify", value, "us/event", baseline, VERIFY_TARGET_RATIO, ok=ok)


def _two_processes(texts: Sequence[bytes]) -> dict[str, Any]:
    """Parse and verify chunks of bytes in two processes, against one; the ratio is the speed-up."""
    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    work = [chunks[number % len(chunks)] for number in range(CHUNKS)]
    context = get_context("spawn")
    with ProcessPoolExecutor(1, context) as one, ProcessPoolExecutor(2, context) as two:
        _seconds(one, work)
        _seconds(two, work)  # so that the processes have started
        times = [(_seconds(two, work), _seconds(one, work)) for _ in range(REPEATS)]
    value, baseline = (median(column) * 1e6 / (CHUNK * CHUNKS) for column in zip(*times, strict=True))
    ok = baseline / value >= TWO_PROCESSES_TARGET
    row = _row("matrix.two_processes", value, "us/event (wall)", baseline, TWO_PROCESSES_TARGET, ok=ok)
    return row | {"ratio": round(baseline / value, 2)}


def parse_and_verify(texts: Sequence[bytes]) -> int:
    """Return how many of *texts* are validly signed: the work of one task, in a process of its own."""
    keys = _keys()
    return sum(verify_event(parse_event_bytes(text, VERSION), keys).is_valid for text in texts)


def _seconds(pool: ProcessPoolExecutor, work: Sequence[Sequence[bytes]]) -> float:
    start = perf_counter()
    _require(sum(pool.map(parse_and_verify, work)) == sum(map(len, work)))
    return perf_counter() - start


def _interleaved(
    items: Sequence[Any], first: Callable[[Any], object], second: Callable[[Any], object]
) -> tuple[float, float]:
    """Return the median CPU time of both per item, in microseconds."""
    times = [(_cpu(items, first), _cpu(items, second)) for _ in range(REPEATS)]
    firsts, seconds = zip(*times, strict=True)
    return median(firsts), median(seconds)


def _cpu(items: Sequence[Any], function: Callable[[Any], object]) -> float:
    start = process_time()
    for item in items:
        function(item)
    return (process_time() - start) * 1e6 / len(items)


def _row(name: str, value: float, unit: str, baseline: float, target: float, *, ok: bool) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "baseline": round(baseline, 2),
        "ratio": round(value / baseline, 2),
        "target": target,
        "ok": ok,
    }


def _require(condition: bool) -> None:  # noqa: FBT001 - it reads as a sentence
    if not condition:
        raise AssertionError


def _member(number: int) -> dict[str, Any]:
    """Return a member event as most are: a display name, an avatar, four auth events, some outside ASCII."""
    server = ServerName(f"server{number % SERVERS}.example.org")
    user = f"@user{number}:{server}"
    raw = {
        "auth_events": ["$" + letter * 43 for letter in "abcd"],
        "content": {
            "avatar_url": "mxc://server.example.org/aBcDeFgHiJkLmNoPqRsTuVwX",
            "displayname": f"User {number}" + (" é 😀" if number % 4 == 0 else ""),
            "membership": "join",
        },
        "depth": number,
        "origin": server,
        "origin_server_ts": TS + number,
        "prev_events": ["$" + sha256(str(number).encode()).hexdigest()[:43]],
        "room_id": "!abcdefghijklmnop:server.example.org",
        "sender": user,
        "state_key": user,
        "type": "m.room.member",
        "unsigned": {"age": number},
    }
    return sign_event(raw, VERSION, server, _key(server))


@cache
def _keys() -> dict[ServerName, ServerKeys]:
    servers = [ServerName(f"server{number}.example.org") for number in range(SERVERS)]
    return {
        server: ServerKeys(server, TS + EVENTS, {(key := _key(server)).key_id: key.public}, {})
        for server in servers
    }


@cache
def _key(server: ServerName) -> SigningKey:
    return signing_key_from_seed("a_1", sha256(server.encode()).digest())

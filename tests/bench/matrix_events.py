"""Rows `matrix.parse_hash`, `matrix.verify` and `matrix.two_processes`: what each event of a big room costs.

Medians of interleaved repeats; CPU time, but for `matrix.two_processes`, which compares wall times.
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
LOOP_TURNS = 500_000
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
    """Parse and verify chunks of bytes in two processes: how many times as fast as in one.

    The baseline is what an empty loop gains at the same time: 2 on two idle cores, less on a busy machine, where the
    target shrinks in proportion.
    """
    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    work = [chunks[number % len(chunks)] for number in range(CHUNKS)]
    loops = [LOOP_TURNS] * CHUNKS
    context = get_context("spawn")
    with ProcessPoolExecutor(1, context) as one, ProcessPoolExecutor(2, context) as two:
        for pool in (one, two):
            _seconds(pool, parse_and_verify, work)  # the processes start, and make their keys
        gains = [
            (
                _seconds(one, parse_and_verify, work) / _seconds(two, parse_and_verify, work),
                _seconds(one, empty_loop, loops) / _seconds(two, empty_loop, loops),
            )
            for _ in range(REPEATS)
        ]
    value, baseline = (median(column) for column in zip(*gains, strict=True))
    ok = value >= TWO_PROCESSES_TARGET * min(1, baseline / 2)
    return _row("matrix.two_processes", value, "times one process", baseline, TWO_PROCESSES_TARGET, ok=ok)


def parse_and_verify(texts: Sequence[bytes]) -> None:
    """Parse *texts* and require that they are validly signed: one task of a process."""
    keys = _keys()
    for text in texts:
        _require(verify_event(parse_event_bytes(text, VERSION), keys).is_valid)


def empty_loop(turns: int) -> None:
    """Do nothing but count."""
    for _ in range(turns):
        pass


def _seconds(pool: ProcessPoolExecutor, task: Callable[[Any], object], work: Sequence[Any]) -> float:
    start = perf_counter()
    for _ in pool.map(task, work):
        pass
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

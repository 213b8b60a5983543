"""Row `resync.lower_bound`: the CPU time of a resync against that of a bare loop over the same events.

The loop downloads `/state`, and for each event parses it, hashes its content, redacts it, computes its id, verifies
its signature and authorises it once. It holds nothing, stores nothing, and asks for no key twice.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import orjson
from nacl.bindings import crypto_sign_open
from partialstate_service.demo.simulated_server import reserve_server
from partialstate_service.demo.x_matrix import SignedClient
from partialstate_service.domain.ids import RoomId, server_of
from partialstate_service.matrix.event_auth import AuthRejectionError, check_auth
from partialstate_service.matrix.parsing import verified_event
from partialstate_service.matrix.redaction import redact
from partialstate_service.matrix.room_versions import room_version
from support.worlds import partial_join
from unpaddedbase64 import decode_base64

from bench.resync_run import VERSION, Residents, measured_resync, running_residents, trusting_session

MEMBERS = 50_000
REPEATS = 3
_ROOM = room_version(VERSION)


def rows() -> Iterator[dict[str, Any]]:
    """Yield the row."""
    runs = [asyncio.run(_both()) for _ in range(REPEATS)]
    bare_us, resync_us = (median(values) / MEMBERS * 1e6 for values in zip(*runs, strict=True))
    ratio = resync_us / bare_us
    yield {
        "name": "resync.lower_bound",
        "value": round(resync_us, 1),
        "unit": "µs CPU per event",
        "baseline": round(bare_us, 1),
        "ratio": round(ratio, 2),
        "target": 1.8,
        "ok": ratio <= 1.8,
    }


async def _both() -> tuple[float, float]:
    """Return the CPU seconds of the loop and of a resync, one after the other in the same room."""
    homeserver = reserve_server("127.20.0.1", random.Random(1))
    with tempfile.TemporaryDirectory() as name:
        try:
            async with (
                running_residents(Path(name), MEMBERS, {homeserver.name: homeserver.key}) as residents,
                trusting_session(residents) as session,
            ):
                client = SignedClient(homeserver.name, homeserver.key, session)
                via = residents.servers[0]
                join = await partial_join(client, homeserver, via, residents.room_id, _ROOM, localpart="bare")
                keys = {server: await _key(client, server) for server in residents.servers}
                bare_s = await _bare(client, residents, join.event["prev_events"][0], keys)
                return bare_s, (await measured_resync(residents, homeserver)).cpu_s
        finally:
            homeserver.reserved.close()


async def _key(client: SignedClient, server: str) -> bytes:
    verify_keys = (await client.request("GET", server, "/_matrix/key/v2/server")).json["verify_keys"]
    return decode_base64(next(iter(verify_keys.values()))["key"])


async def _bare(client: SignedClient, residents: Residents, at: str, keys: dict[str, bytes]) -> float:
    room = RoomId(residents.room_id)
    uri = f"/_matrix/federation/v1/state/{quote(room, safe='')}?event_id={quote(at, safe='')}"
    begun_s = time.process_time()
    answer = (await client.request("GET", residents.servers[0], uri)).json
    state: dict[tuple[str, str], Any] = {}
    for raw in answer["pdus"] + answer["auth_chain"]:
        raw.pop("unsigned", None)
        signature = next(iter(raw["signatures"][server_of(raw["sender"])].values()))
        hashed = {key: raw[key] for key in raw if key not in ("hashes", "signatures")}
        sha256(orjson.dumps(hashed, option=orjson.OPT_SORT_KEYS)).digest()
        signed = redact(raw, _ROOM)
        del signed["signatures"]
        text = orjson.dumps(signed, option=orjson.OPT_SORT_KEYS)
        crypto_sign_open(decode_base64(signature) + text, keys[server_of(raw["sender"])])
        event_id = sha256(text).hexdigest()
        event = verified_event(raw, event_id, _ROOM, room, hash_matches=True)
        # The state is not complete yet: what is measured is the time.
        with suppress(AuthRejectionError):
            check_auth(event, state)
        if event.type != "m.room.member":
            state[event.type, event.state_key or ""] = event
    return time.process_time() - begun_s

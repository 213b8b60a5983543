"""Sustained load: checks in all three forms and watchers, with rooms that come and go; no error, and nothing that grows."""

import asyncio
import os
import time
from pathlib import Path
from uuid import uuid4

import pytest
from partialstate.v1 import check_service_pb2 as pb
from partialstate.v1 import watch_service_pb2 as watch_pb
from partialstate_service.domain.ids import RoomId
from support.store_rooms import NOW, TTL, join, resolve

CALLERS, WATCHERS, BATCH = 8, 10, 50
SHORT_S, LONG_S = 4, 600
DESCRIPTORS, MEMORY = Path("/proc/self/fd"), Path("/proc/self/statm")
REQUEST = pb.CheckRequest(
    endpoint=pb.ENDPOINT_STATE_IDS, origin="a.example", room_id="!room-0:here", event_ids=["$event"]
)


class Load:
    """What all callers do until it is over, and how often they did it."""

    def __init__(self, api, duration_s):
        self.api, self.over_s = api, time.monotonic() + duration_s
        self.name = uuid4().hex
        self.checks, self.lives, self.changes = 0, 0, 0

    @property
    def is_over(self):
        return time.monotonic() > self.over_s

    async def check(self):
        while not self.is_over:
            await self.api.check.Check(REQUEST, timeout=10)
            self.checks += 1

    async def batch(self):
        while not self.is_over:
            response = await self.api.check.BatchCheck(
                pb.BatchCheckRequest(requests=[REQUEST] * BATCH), timeout=10
            )
            assert all(result.WhichOneof("result") == "decision" for result in response.results)
            self.checks += BATCH

    async def stream(self):
        async def requests():
            while not self.is_over:
                yield pb.StreamCheckRequest(request=REQUEST)

        async for response in self.api.check.StreamCheck(requests()):
            assert response.result.WhichOneof("result") == "decision"
            self.checks += 1

    async def watch(self, token):
        stream = self.api.watch.Watch(watch_pb.WatchRequest(optional_after=token))
        async for message in stream:
            self.changes += message.WhichOneof("event") is not None
            if self.is_over:
                stream.cancel()
                return

    async def live(self):
        """One room after the other becomes partial and full again."""
        registry, now_ms = self.api.store.registry, NOW
        while not self.is_over:
            room, event = RoomId(f"!room-{self.lives % 5}:here"), f"$join-{self.name}-{self.lives}"
            now_ms += 2 * TTL
            await registry.register(join(room, event), [], now_ms)
            lease = await registry.claim_due("load", now_ms, TTL)
            position = await resolve(self.api.store, lease, event)
            await registry.confirm_import(room, lease.generation, position, now_ms)
            self.lives += 1


async def sizes(api):
    """Return what must not grow: descriptors, keys of the store (the marks of ended lives expire), memory in MiB."""
    await api.store.sweeper.sweep()
    server = api.store.registry._changes.server
    [primary] = await server._route.primaries()
    [keys] = await primary.exchange([("KEYS", f"{api.store.registry._changes.keys.prefix}:*")])
    kept = [key for key in keys if not key.endswith(b":ended")]
    return open_descriptors(), len(kept), memory_mib()


def open_descriptors():
    return len(list(DESCRIPTORS.iterdir()))


def memory_mib():
    return int(MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def bear(api, duration_s):
    load, token = Load(api, duration_s), await api.token()
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(load.check())
        for _ in range(WATCHERS):
            group.create_task(load.watch(token))
        for work in (load.batch, load.stream, load.live):
            group.create_task(work())
    return load


@pytest.mark.parametrize(
    "duration_s",
    [
        pytest.param(SHORT_S, id="short"),
        pytest.param(LONG_S, id="long", marks=[pytest.mark.long, pytest.mark.timeout(2 * LONG_S)]),
    ],
)
async def test_a_sustained_load_is_borne_without_growth(api, duration_s):
    await bear(api, duration_s / 4)  # what is made once, such as connections and caches
    descriptors, keys, memory = await sizes(api)
    load = await bear(api, duration_s)
    after_descriptors, after_keys, after_memory = await sizes(api)
    assert load.checks > 100 * duration_s
    assert load.lives > duration_s
    assert load.changes > load.lives
    assert after_descriptors <= descriptors + 5
    assert after_keys <= keys + 5
    assert after_memory < memory + 40

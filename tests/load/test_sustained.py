"""A sustained load on two replicas over one store: no error, no wrong answer, and nothing that grows.

Rooms are registered, resynced from simulated servers, imported or purged all the time, while frontends check them in all
forms and hundreds of them watch.
"""

import asyncio
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.homeservers import eventually
from support.joined_rooms import RoomGroup, joined_rooms
from support.replicas import last_token, replicas, running_store
from support.room_lives import RoomLives
from support.room_truth import Truths
from support.store_sizes import StoreSizes, store_sizes
from support.sustained_load import SustainedLoad, Watched, percentile_ms

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures processes in /proc")


@dataclass(frozen=True)
class Form:
    """How long, and how much of what."""

    warm_up_s: float
    duration_s: float
    rooms: int = 60
    lives_at_once: int = 6
    life_pause_s: float = 0.5
    watchers_of_all: int = 3
    watchers_of_rooms: int = 50
    """On each replica."""

    @property
    def joins_per_room(self) -> int:
        # A life takes some tenths of a second beside its pause, so there are joins enough.
        lives = self.lives_at_once * (self.warm_up_s + self.duration_s) / self.life_pause_s
        return int(lives / self.rooms) + 2


# Of a registry without rooms, with all that it can have.
REGISTRY_KEYS = 10
SHORT = Form(warm_up_s=4, duration_s=8)
LONG = Form(warm_up_s=90, duration_s=510, rooms=200, watchers_of_all=5, watchers_of_rooms=150)


@dataclass(frozen=True)
class Sizes:
    """What must not grow."""

    memory_mib: list[float]
    descriptors: list[int]
    tasks: list[int]
    store: StoreSizes


class Scene:
    def __init__(self, form, running, url, joined):
        self.form, self.running, self.url = form, running, url
        self.truths, rng = Truths(), random.Random(1)
        self.clients = [each.client for each in running]
        rooms = [join.room_id for join in joined.joins[: form.rooms]]
        self.load = SustainedLoad(self.clients, rooms, self.truths, rng)
        self.lives = RoomLives(self.clients, joined.joins, self.truths, rng)
        self.watched = []

    async def bear(self, duration_s):
        """Let all callers do their part for so long."""
        self.load.over_s = time.monotonic() + duration_s
        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                for _ in range(4):
                    group.create_task(self.load.check(client, 0.02))
                group.create_task(self.load.stream(client, 8, 0.05))
                group.create_task(self.load.batch(client, 0.2))
            for _ in range(self.form.lives_at_once):
                group.create_task(self.lives.live(self.load.is_over, self.form.life_pause_s))

    def watch(self, group, token):
        """Begin all watchers."""
        tasks = []
        for client in self.clients:
            rooms = [""] * self.form.watchers_of_all
            rooms += [self.load.rooms[i % self.form.rooms] for i in range(self.form.watchers_of_rooms)]
            for room in rooms:
                self.watched.append(watched := Watched(room))
                tasks.append(group.create_task(watched.watch(client, token)))
        return tasks

    async def sizes(self):
        """Measure, with no call under way but the watchers'."""

        # What ended rooms leave behind is dropped in the background.
        async def nothing_is_left():
            return store_sizes(self.url).keys <= REGISTRY_KEYS

        await eventually(nothing_is_left)
        return Sizes(
            [each.process.memory_mib() for each in self.running],
            [each.descriptors for each in self.running],
            [int((await each.metrics())["partialstate_event_loop_tasks"]) for each in self.running],
            store_sizes(self.url),
        )

    async def assert_all_watched(self):
        """Assert that every watcher saw all that it is to see, in one order; return how many changes there were."""
        token = await last_token(self.clients[0])
        witness = self.watched[0]

        async def all_saw_it():
            return token in witness.changes and all(each.is_part_of(witness) for each in self.watched)

        await eventually(all_saw_it)
        return len(witness.changes)


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(SHORT, id="short"),
        pytest.param(LONG, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1500)]),
    ],
)
async def test_a_sustained_load_is_borne_without_errors_and_without_growth(form, record_property):
    group = RoomGroup("honest", form.rooms, joins_per_room=form.joins_per_room)
    with tempfile.TemporaryDirectory(prefix="mps-") as name:
        directory = Path(name)
        async with (
            joined_rooms(directory, [group]) as joined,
            running_store(directory) as url,
            replicas(directory, 2, joined.settings | {"store_url": url}) as running,
            asyncio.TaskGroup() as watching,
        ):
            scene = Scene(form, running, url, joined)
            watchers = scene.watch(watching, await last_token(scene.clients[0]))
            await scene.bear(form.warm_up_s)
            before = await scene.sizes()
            begun, begun_s, lives = scene.load.checks, time.monotonic(), scene.lives.ended.total()
            cpu_s = [each.process.cpu_s() for each in running]
            metrics = [await each.metrics() for each in running]
            await scene.bear(form.duration_s)
            took_s = time.monotonic() - begun_s
            cpu_s = [each.process.cpu_s() - used for each, used in zip(running, cpu_s, strict=True)]
            lags_s = [await each.lag_s(0.99, since) for each, since in zip(running, metrics, strict=True)]
            after = await scene.sizes()
            changes = await scene.assert_all_watched()
            for watcher in watchers:
                watcher.cancel()
    checks, lives = scene.load.checks - begun, scene.lives.ended.total() - lives
    record_property("figures", figures(scene, before, after, took_s, checks, lives, changes, cpu_s, lags_s))
    assert lives > form.duration_s
    assert checks > 50 * form.duration_s
    assert scene.truths.judged > checks / 2
    assert scene.truths.refused > lives
    for earlier, later in zip(before.memory_mib, after.memory_mib, strict=True):
        assert later < earlier + 32
    for earlier, later in zip(before.descriptors, after.descriptors, strict=True):
        assert later <= earlier + 12  # connections that are opened when many calls coincide, and kept
    for earlier, later in zip(before.tasks, after.tasks, strict=True):
        assert later <= earlier + 10
    assert after.store.log_entries < 110_000
    # A join that ended is remembered, in a size that its ids have.
    assert after.store.tombstones_mib < 0.1 + scene.lives.ended.total() * 2_500 / 2**20
    assert after.store.other_mib < before.store.other_mib + 2 + lives * 500 / 2**20


def figures(scene, before, after, took_s, checks, lives, changes, cpu_s, lags_s):
    unary, streamed, store = scene.load.unary_s, scene.load.streamed_s, after.store
    memory = [f"{a:.0f} -> {b:.0f} MiB" for a, b in zip(before.memory_mib, after.memory_mib, strict=True)]
    ended = scene.lives.ended.total()
    return f"""{took_s:.0f} s on two replicas, the client's part done by one process on the same machine:
{checks / took_s:.0f} checks/s; {lives / took_s:.1f} rooms/s joined, resynced and ended; {len(scene.watched)} watchers of {changes / (took_s + scene.form.warm_up_s):.0f} changes/s
{scene.truths.judged} verdicts judged, {scene.truths.refused} of them refusals; no error
Check: median {percentile_ms(unary, 0.5):.1f} ms, 99 % within {percentile_ms(unary, 0.99):.1f} ms; StreamCheck: {percentile_ms(streamed, 0.5):.1f} ms, {percentile_ms(streamed, 0.99):.1f} ms (as the client sees it)
CPU of both services: {sum(cpu_s) / took_s:.2f} cores, or {sum(cpu_s) / checks * 1e6:.0f} us for each check with all else included; event loops late by at most {max(lags_s) * 1000:.0f} ms in 99 %
memory {", ".join(memory)}; descriptors {before.descriptors} -> {after.descriptors}; tasks {before.tasks} -> {after.tasks}
store: keys {before.store.keys} -> {store.keys}; log {before.store.log_entries} -> {store.log_entries} entries, {store.log_mib:.1f} MiB; {store.tombstones_mib * 2**20 / max(ended, 1):.0f} bytes for each of {ended} ended joins; all else {before.store.other_mib:.1f} -> {store.other_mib:.1f} MiB"""

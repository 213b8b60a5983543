"""Each guarantee of Watch has its validator, and random histories are held against all of them."""

import asyncio
import random
from contextlib import aclosing, suppress
from dataclasses import replace

import pytest
from partialstate_service.domain.errors import ReaderTooSlowError, StaleGenerationError
from partialstate_service.domain.ids import Revision
from partialstate_service.domain.rooms import ReleaseReason, StateToken
from partialstate_service.store.open import open_store
from partialstate_service.store.protocol import Change
from support.store_rooms import NOW, join, recorded, register
from support.watch_guarantees import Stream, is_bookmarkable, is_ordered, is_reliable, is_resumable, is_unique

SEEDS = range(4)
WRITERS, WATCHERS, STEPS = 3, 6, 25


async def write(store, rng, writer):
    """A random life of some rooms."""
    for step in range(STEPS):
        room = f"!{writer}-{rng.randrange(3)}:here"
        registered = await register(store, join(room, f"$join-{room}-{rng.randrange(4)}"))
        if rng.random() < 0.5:
            await store.registry.record_partial_events(room, [recorded(f"${writer}-{step}", "$x")], NOW)
        if rng.random() < 0.4 and registered.ending is None:
            reason = rng.choice([ReleaseReason.LEFT, ReleaseReason.PURGED])
            with suppress(StaleGenerationError):  # the join is an earlier one of the room
                await store.registry.release(room, registered.generation, reason, NOW)


async def watch(stores, rng, start, end):
    """Watch from *start* to the token that *end* comes to, with reconnections and a short queue."""
    streams, token = [], start
    while not end.done() or token.revision < end.result().revision:
        stream = Stream(token.revision)
        streams.append(stream)
        patience = rng.randrange(1, 30)
        with suppress(ReaderTooSlowError):
            async with aclosing(rng.choice(stores).mirror.watch(token, rng.choice([3, 1000]))) as changes:
                async for change in changes:
                    stream.sent.append(change)
                    token = change.token
                    if len(stream.sent) >= patience:
                        break
                    for _ in range(rng.randrange(3)):
                        await asyncio.sleep(0)
    return streams


@pytest.mark.parametrize("seed", SEEDS)
async def test_random_histories_keep_all_five(settings, seed):
    rng = random.Random(seed)
    settings = replace(settings, bookmark_interval_s=0.01, mirror_history=20)
    async with open_store(settings) as first, open_store(settings) as second, asyncio.TaskGroup() as group:
        stores = [first, second]
        start = await first.registry.mark_reconciled()
        end = asyncio.get_running_loop().create_future()
        watching = [
            group.create_task(watch(stores, random.Random(rng.random()), start, end)) for _ in range(WATCHERS)
        ]
        writing = [
            group.create_task(write(stores[i % 2], random.Random(rng.random()), i)) for i in range(WRITERS)
        ]
        await asyncio.wait(writing)
        end.set_result(await first.registry.read_token())
        await asyncio.wait(watching)
        changes = first.registry._changes
        entries = await changes.server.command("XRANGE", changes.keys.of("log"), "-", "+")
    log = [Revision(int(entry_id.split(b"-")[0])) for entry_id, _ in entries]
    assert len(log) > STEPS
    for watched in watching:
        for stream in watched.result():
            is_ordered(stream)
            is_unique(stream)
            is_reliable(stream, log)
            is_bookmarkable(stream, log)
        is_resumable(watched.result(), log)


def stream_of(*revisions, after=0):
    """Changes; negative numbers are bookmarks."""
    return Stream(
        Revision(after),
        [
            Change(StateToken("s", Revision(abs(n)), "c"), "x" if n > 0 else "bookmark", None, None, None)
            for n in revisions
        ],
    )


LOG = [Revision(n) for n in range(1, 10)]


def test_a_good_stream_passes():
    stream = stream_of(1, 2, -2, 3)
    is_ordered(stream)
    is_unique(stream)
    is_reliable(stream, LOG)
    is_bookmarkable(stream, LOG)
    is_resumable([stream, stream_of(4, 5, after=3)], LOG)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda: is_ordered(stream_of(1, 3, 2)), id="out of order"),
        pytest.param(lambda: is_ordered(stream_of(1, after=1)), id="before its begin"),
        pytest.param(lambda: is_unique(stream_of(1, 2, 2)), id="twice"),
        pytest.param(lambda: is_reliable(stream_of(1, 3), LOG), id="left out"),
        pytest.param(lambda: is_reliable(stream_of(9, 10), LOG), id="never committed"),
        pytest.param(lambda: is_resumable([stream_of(1, 2), stream_of(2, 3, after=2)], LOG), id="repeated"),
        pytest.param(
            lambda: is_resumable([stream_of(1, 2), stream_of(4, after=2)], LOG), id="gap at resuming"
        ),
        pytest.param(lambda: is_bookmarkable(stream_of(1, -2, 2), LOG), id="bookmark too early"),
    ],
)
def test_each_validator_finds_what_it_is_for(broken):
    with pytest.raises(AssertionError):
        broken()

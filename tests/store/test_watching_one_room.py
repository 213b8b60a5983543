"""Who watches one room is shown its changes alone, and is told how far all others have come."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

from partialstate_service.domain.rooms import ReleaseReason
from partialstate_service.store.open import open_store
from partialstate_service.store.watchers import Watcher
from support.store_rooms import NOW, ROOM, join, register


async def test_changes_of_other_rooms_are_left_out_of_the_past_and_of_what_comes(store, settings):
    start = store.mirror.token
    await register(store, join("!other:here", "$other"))
    registered = await register(store)
    async with open_store(replace(settings, bookmark_interval_s=0.05)) as late:
        for mirror in (store.mirror, late.mirror):
            await mirror.fully_consistent(())
            async with aclosing(mirror.watch(start, 10, ROOM)) as changes:
                assert (await anext(changes)).token == registered.token
                for i in range(20):  # more than this reader may lag behind
                    await register(store, join(f"!{i}:here", f"$join-{i}-{id(mirror)}"))
                token = await store.registry.confirm_join(ROOM, registered.generation)
                while (change := await anext(changes)).kind == "bookmark":
                    pass
                assert (change.token, change.room_id) == (token, ROOM)
            start = token
            registered = await register(store, join(ROOM, f"$again-{id(mirror)}"))
    await store.registry.release(ROOM, registered.generation, ReleaseReason.PURGED, NOW)
    assert not store.mirror._watchers._watchers


async def test_its_bookmark_tells_of_the_changes_of_others(settings):
    async with (
        open_store(replace(settings, bookmark_interval_s=0.05)) as store,
        aclosing(store.mirror.watch(None, 10, ROOM)) as changes,
    ):
        await store.registry.mark_reconciled()
        token = (await register(store, join("!other:here", "$other"))).token
        await store.mirror.fully_consistent(())
        async with asyncio.timeout(10):
            while (bookmark := await anext(changes)).token != token:
                pass
        assert bookmark.kind == "bookmark"


async def test_a_change_that_comes_as_the_time_is_over_is_not_passed_by(store):
    watcher = Watcher(10)
    async with aclosing(store.mirror.watch(None, 10)) as changes:
        bookmark = await anext(changes)

    class Late:
        """An event that is never seen set in time, though the change is there."""

        async def wait(self):
            watcher._queue.append(bookmark)
            raise TimeoutError

        def clear(self):
            pass

    watcher._woken = Late()
    assert await watcher.next(1) is bookmark

"""A replica's copy: never behind what was committed before the question, and never wrong about the past."""

import asyncio
from dataclasses import replace

import pytest
from partialstate_service.domain.errors import (
    ForeignTokenError,
    NotReconciledError,
    ReaderTooSlowError,
    TokenTooOldError,
)
from partialstate_service.domain.ids import EventId, Revision, RoomId
from partialstate_service.domain.rooms import Ending, ReleaseReason, RoomStatus, StateToken
from partialstate_service.store.open import open_store
from support.store_rooms import JOIN, NOW, ROOM, claim, join, make_ready, recorded, register, resolve
from support.store_server import ask

CHAIN = "0123456789abcdef"


async def same_everywhere(store, *replicas):
    """Assert that each mirror has what the registry has."""
    rooms = (await store.registry.page(None, 1000, frozenset()))[0]
    for replica in (store, *replicas):
        await replica.mirror.fully_consistent(())
        assert dict(replica.mirror.rooms) == {room.room_id: room for room in rooms}
        assert replica.mirror.token == await store.registry.read_token()


async def a_life(store, room=ROOM):
    """Take a room through all kinds of changes; yield after each."""
    generation = (await register(store, join(room, f"$join-{room}"))).generation
    yield
    await store.registry.confirm_join(room, generation)
    yield
    event = replace(recorded(f"$a-{room}", "$x"), summary=join().summary)
    await store.registry.record_partial_events(room, [event], NOW)
    yield
    lease = await claim(store)
    await store.registry.mark_state_verified(lease)
    position = await resolve(store, lease, f"$join-{room}", f"$a-{room}")
    yield
    await store.registry.hand_back(lease, None)
    await store.registry.acknowledge(room, generation, position)
    yield
    await store.registry.confirm_import(room, generation, position, NOW)
    yield


async def test_every_replica_follows_every_change(store, replica):
    async for _ in a_life(store):
        await same_everywhere(store, replica)


async def test_a_check_sees_what_another_replica_committed_before_it(store, replica):
    for i in range(50):
        room = RoomId(f"!{i}:here")
        await register(store, join(room, f"$join-{i}"))
        assert await replica.mirror.fully_consistent([EventId(f"$join-{i}")]) == {f"$join-{i}": room}
        assert room in replica.mirror.rooms


async def test_a_replica_that_starts_later_has_everything(store, settings):
    async for _ in a_life(store):
        pass
    await register(store, join("!other:here", "$other"))
    async with open_store(settings) as late:
        await same_everywhere(store, late)


async def test_many_entries_at_once_are_caught_up(store, replica):
    await register(store)
    for i in range(0, 2500, 100):
        events = [recorded(f"$e{i + k}", "$x") for k in range(100)]
        await asyncio.gather(*(store.registry.record_partial_events(ROOM, [e], NOW) for e in events))
    await same_everywhere(store, replica)
    assert replica.mirror.rooms[ROOM].pending_events == 2501


async def test_the_event_rooms_of_thousands_of_events_come_in_one_answer(store):
    await register(store)
    asked = [EventId(f"$e{i}") for i in range(9000)] + [JOIN]
    assert await store.mirror.fully_consistent(asked) == {JOIN: ROOM}


class TestReconciliation:
    async def test_a_fresh_store_decides_nothing(self, settings):
        async with open_store(settings) as fresh, open_store(settings) as other:
            for mirror in (fresh.mirror, other.mirror):
                with pytest.raises(NotReconciledError):
                    await mirror.fully_consistent(())
                with pytest.raises(NotReconciledError):
                    await mirror.at_most_stale(60)
                with pytest.raises(NotReconciledError):
                    await mirror.at_least(mirror.token, 1)
            await fresh.registry.mark_reconciled()
            for mirror in (fresh.mirror, other.mirror):
                await mirror.fully_consistent(())

    async def test_a_wiped_store_is_noticed_by_every_replica(self, store, replica, server_socket):
        lost = await register(store)
        await same_everywhere(store, replica)
        ask(server_socket, "FLUSHALL")
        for mirror in (store.mirror, replica.mirror):
            with pytest.raises(NotReconciledError):
                await mirror.fully_consistent(())
            assert mirror.rooms == {}
        await store.registry.mark_reconciled()
        registered = await register(store)
        assert registered.generation > lost.generation, "it must never mean another join than before"
        await same_everywhere(store, replica)

    @pytest.mark.parametrize("new_writes", [0, 1, 5])
    async def test_lost_writes_are_noticed_by_every_replica(self, store, replica, server_socket, new_writes):
        """A server that comes back with an older state, and may have taken new writes since."""
        await register(store)
        await same_everywhere(store, replica)
        prefix = "mps:{registry}:"
        copies = {
            key: ask(server_socket, "COPY", prefix + key, "copy:{registry}:" + key, "REPLACE")
            for key in ("meta", "log", "rooms", f"room:{ROOM}")
        }
        assert set(copies.values()) == {b":1\r\n"}
        for i in range(3):
            await register(store, join(f"!{i}:here", f"$join-{i}"))
        await same_everywhere(store, replica)
        loss = [
            f"redis.call('COPY', 'copy:{{registry}}:{key}', '{prefix}{key}', 'REPLACE')" for key in copies
        ]
        for i in range(new_writes):
            write = f"redis.call('HINCRBY', '{prefix}meta', 'revision', 1) redis.call('HSET', '{prefix}meta', 'chain', 'x{i}')"
            log = (
                f"redis.call('XADD', '{prefix}log', redis.call('HGET', '{prefix}meta', 'revision') .. '-0', 'chain', "
                f"'x{i}', 'prev', 'x{i - 1}', 'kind', 'other', 'room', '')"
            )
            loss += [write, log]
        assert ask(server_socket, "EVAL", " ".join(loss), "0") == b"$-1\r\n"
        for mirror in (store.mirror, replica.mirror):
            with pytest.raises(NotReconciledError):
                await mirror.fully_consistent(())
            assert set(mirror.rooms) == {ROOM}
        await store.registry.mark_reconciled()
        await same_everywhere(store, replica)

    async def test_a_trimmed_log_is_no_loss(self, store, settings, server_socket):
        async with open_store(replace(settings, follow_interval_s=4)) as slow:
            await slow.mirror.fully_consistent(())
            before = slow.mirror._token
            for i in range(20):
                await register(store, join(f"!{i}:here", f"$join-{i}"))
            ask(server_socket, "XTRIM", "mps:{registry}:log", "MAXLEN", "2")
            slow.mirror._token = before
            await same_everywhere(store, slow)


class TestTokens:
    async def test_at_least_waits_for_what_another_replica_committed(self, store, replica):
        token = (await register(store)).token
        await replica.mirror.at_least(token, 5)
        assert ROOM in replica.mirror.rooms
        await replica.mirror.at_least(token, 5)

    async def test_a_foreign_token_is_refused(self, store):
        token = (await register(store)).token
        for foreign in (
            replace(token, store_id=CHAIN),
            replace(token, chain_id=CHAIN),
            replace(token, revision=Revision(token.revision + 1)),
        ):
            with pytest.raises(ForeignTokenError):
                await store.mirror.at_least(foreign, 5)
            with pytest.raises(ForeignTokenError):
                await anext(store.mirror.watch(foreign, 10))

    async def test_bounded_staleness_reads_only_when_it_must(self, store, replica):
        await replica.mirror.fully_consistent(())
        await replica.mirror.at_most_stale(60)
        await register(store)
        await replica.mirror.at_most_stale(0)
        assert ROOM in replica.mirror.rooms


class TestWatch:
    async def test_every_change_comes_once_in_order_from_any_token(self, store, replica):
        start = store.mirror.token
        rooms = []
        async for _ in a_life(store):
            room = (await store.registry.page(None, 1, frozenset()))[0]
            rooms.append((await store.registry.read_token(), room))
        await store.mirror.fully_consistent(())
        expected = await _watched(store, start, rooms[-1][0])
        assert [change.token.revision for change in expected] == list(
            range(start.revision + 1, rooms[-1][0].revision + 1)
        )
        seen = {change.token: change.room for change in expected}
        assert all(([seen[token]] if seen[token] else []) == list(room) for token, room in rooms)
        assert expected[-1].tombstone is not None
        assert expected[-1].tombstone.ending is Ending.IMPORTED
        for i in range(len(expected) - 1):
            assert await _watched(replica, expected[i].token, rooms[-1][0]) == expected[i + 1 :]

    async def test_the_log_itself_serves_those_who_come_back_late(self, store, settings):
        start = store.mirror.token
        async for _ in a_life(store):
            pass
        await store.mirror.fully_consistent(())
        expected = await _watched(store, start, store.mirror.token)
        async with open_store(settings) as late:
            for i in range(len(expected) - 1):
                again = await _watched(late, expected[i].token, store.mirror.token)
                assert [change.token for change in again] == [change.token for change in expected[i + 1 :]]
            assert await _watched(late, start, store.mirror.token) == expected

    async def test_what_memory_does_not_hold_comes_from_the_log(self, settings):
        async with open_store(replace(settings, mirror_history=2)) as store:
            start = await store.registry.mark_reconciled()
            for i in range(450):
                await register(store, join(f"!{i}:here", f"$join-{i}"))
            await store.mirror.fully_consistent(())
            changes = await _watched(store, start, store.mirror.token)
            assert [change.room_id for change in changes] == [f"!{i}:here" for i in range(450)]

    async def test_the_log_has_a_limit(self, settings, server_socket):
        async with open_store(replace(settings, log_limit=100)) as store:
            for i in range(400):
                await register(store, join(f"!{i}:here", f"$join-{i}"))
            assert int(ask(server_socket, "XLEN", "mps:{registry}:log")[1:-2]) < 300
            await store.registry.mark_reconciled()
            await store.mirror.fully_consistent(())
            assert len(store.mirror.rooms) == 400

    async def test_it_goes_on_live_and_after_now(self, store, replica):
        watch = replica.mirror.watch(None, 10)
        assert (await anext(watch)).kind == "bookmark"
        token = (await register(store)).token
        change = await anext(watch)
        assert (change.token, change.kind, change.room_id) == (token, "register", ROOM)
        await watch.aclose()

    async def test_a_bookmark_comes_when_nothing_changes(self, settings):
        async with open_store(replace(settings, bookmark_interval_s=0.05)) as store:
            watch = store.mirror.watch(store.mirror.token, 10)
            bookmark = await anext(watch)
            assert (bookmark.kind, bookmark.room_id, bookmark.token) == ("bookmark", None, store.mirror.token)
            await watch.aclose()

    async def test_a_thousand_watchers_cost_one_reader_of_the_store(self, store, server_socket):
        watches = [store.mirror.watch(None, 10) for _ in range(1000)]
        for watch in watches:
            await anext(watch)
        token = (await register(store)).token
        assert {(await anext(watch)).token for watch in watches} == {token}
        clients = ask(server_socket, "CLIENT", "LIST").decode().splitlines()
        waiting = [client for client in clients if " flags=b " in client]
        assert len(waiting) <= 1
        for watch in watches:
            await watch.aclose()

    async def test_a_slow_reader_is_ended_and_can_resume(self, store):
        watch = store.mirror.watch(None, 2)
        bookmark = await anext(watch)
        for i in range(4):
            await register(store, join(f"!{i}:here", f"$join-{i}"))
        await store.mirror.fully_consistent(())
        with pytest.raises(ReaderTooSlowError):
            await anext(watch)
        assert len(await _watched(store, bookmark.token, store.mirror.token)) == 4

    async def test_a_token_that_was_trimmed_is_too_old(self, store, settings, server_socket):
        start = store.mirror.token
        for i in range(10):
            await register(store, join(f"!{i}:here", f"$join-{i}"))
        ask(server_socket, "XTRIM", "mps:{registry}:log", "MAXLEN", "2")
        async with open_store(settings) as late:
            with pytest.raises(TokenTooOldError):
                await anext(late.mirror.watch(start, 10))

    async def test_a_watcher_of_a_wiped_store_is_ended(self, store, server_socket):
        watch = store.mirror.watch(None, 10)
        await anext(watch)
        ask(server_socket, "FLUSHALL")
        with pytest.raises(ForeignTokenError):
            await anext(watch)

    async def test_a_room_can_be_waited_for(self, store, replica):
        with replica.mirror.waking(ROOM) as signal:
            assert not await signal.wait(0.01)
            await register(store)
            assert await signal.wait(5)
            await register(store, join("!other:here", "$other"))
            await replica.mirror.fully_consistent(())
            assert not await signal.wait(0.01)


async def _watched(store, after: StateToken, last: StateToken):
    """Return the changes after one token up to another."""
    changes = []
    async with asyncio.timeout(10):
        async for change in store.mirror.watch(after, 1000):
            changes.append(change)
            if change.token == last:
                return changes
    raise AssertionError


async def test_a_released_room_is_gone_from_every_mirror(store, replica):
    generation, _ = await make_ready(store)
    await store.registry.release(ROOM, generation, ReleaseReason.LEFT, NOW)
    await same_everywhere(store, replica)
    assert replica.mirror.rooms[ROOM].status is RoomStatus.ABANDONED
    await store.registry.release(ROOM, generation, ReleaseReason.PURGED, NOW)
    await same_everywhere(store, replica)

"""Any sequence of calls, by any replica, keeps the registry to its model, and the mirrors to the registry."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from partialstate_service.domain.errors import (
    ImportIncompleteError,
    JoinConfirmedError,
    PositionOutOfRangeError,
    RoomAbandonedError,
    RoomNotPartialError,
)
from partialstate_service.domain.ids import EventId, Generation, Position
from partialstate_service.domain.rooms import ReleaseReason, RoomStatus
from partialstate_service.store.open import open_store
from support.room_model import RoomModel
from support.store_rooms import NOW, ROOM, TTL, join, recorded, register, resolve

events = st.sampled_from(["$a", "$b", "$c", "$d"])
known = st.sampled_from(["$a", "$b", "$c", "$join0", "$join1", "$elsewhere"])
steps = st.one_of(
    st.tuples(st.just("register"), st.integers(0, 2)),
    st.tuples(st.just("record"), events, st.lists(known, max_size=2, unique=True)),
    st.tuples(st.just("work"), st.lists(known, max_size=4, unique=True)),
    st.tuples(st.just("work"), st.just("all")),
    st.tuples(st.just("acknowledge"), st.integers(0, 3)),
    st.tuples(st.just("confirm_import"), st.integers(0, 1)),
    st.tuples(st.just("confirm_join")),
    st.tuples(st.just("release"), st.sampled_from(ReleaseReason)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), steps), max_size=25))
def test_any_sequence_of_calls(deployment, settings, sequence):
    asyncio.run(_run(deployment, settings, sequence))


async def _run(deployment, settings, sequence):
    deployment.clear()
    async with open_store(settings) as first, open_store(settings) as second:
        await first.registry.mark_reconciled()
        model, now_ms = RoomModel(), NOW
        for is_first, (name, *arguments) in sequence:
            store = first if is_first else second
            now_ms += 10 * TTL
            await CALLS[name](store, model, now_ms, *arguments)
            await _compare(first, model)
        for store in (first, second):
            await store.mirror.fully_consistent(())
            rooms = (await first.registry.page(None, 10, frozenset()))[0]
            assert list(store.mirror.rooms.values()) == rooms


async def _compare(store, model):
    try:
        room = await store.registry.get(ROOM)
    except RoomNotPartialError:
        assert not model.partial
        assert await store.registry.next_due_ms() is None
        assert await store.registry.known_event_rooms([EventId("$a"), EventId("$join0")]) == {}
        return
    assert model.partial
    assert (room.generation, room.join_event_id, room.status) == (model.generation, model.join, model.status)
    assert (room.pending_events, room.unimported_events) == (len(model.pending), model.unimported)
    assert (room.log_position, room.acknowledged) == (model.position, model.acknowledged)
    assert room.join_confirmed == (model.join in model.confirmed)
    recorded_events = await store.registry.recorded_events(ROOM)
    assert [event.event_id for event in recorded_events] == model.order
    assert [event.event_id for event in recorded_events if not event.resolved] == model.pending
    assert await store.registry.known_event_rooms(list(map(EventId, model.order))) == dict.fromkeys(
        model.order, ROOM
    )
    assert (await store.registry.next_due_ms() is not None) == model.is_due


async def _register(store, model, now_ms, number):
    result = await register(store, join(event_id=f"$join{number}"), now_ms)
    assert result.outcome == model.register(f"$join{number}", result.generation)
    ended = model.ended.get(f"$join{number}")
    assert result.ending == (ended[1] if ended else None)
    assert result.generation == (ended[0] if ended else model.joins[f"$join{number}"])


async def _record(store, model, now_ms, event, prevs):
    outcomes, generation, _ = await store.registry.record_partial_events(
        ROOM, [recorded(event, *prevs)], now_ms
    )
    assert outcomes == [model.record(event, prevs)]
    assert generation == (model.generation if model.partial else 0)


async def _work(store, model, now_ms, resolved):
    lease = await store.registry.claim_due("worker", now_ms, TTL)
    assert (lease is not None) == model.is_due
    if lease is not None:
        chosen = list(model.pending) if resolved == "all" else resolved
        model.resolve(chosen)
        assert await resolve(store, lease, *chosen) == model.position
        await store.registry.hand_back(lease, None)


async def _acknowledge(store, model, now_ms, position):
    accepted = model.acknowledge(position)
    try:
        await store.registry.acknowledge(ROOM, Generation(model.generation), Position(position))
        assert accepted or model.ended_generations[model.generation] == "IMPORTED"
    except (RoomNotPartialError, PositionOutOfRangeError):
        assert not accepted


async def _confirm_import(store, model, now_ms, missing):
    position = Position(max(0, model.position - missing))
    was_partial, was_abandoned = model.partial, model.status is RoomStatus.ABANDONED
    accepted = model.confirm_import(position)
    try:
        await store.registry.confirm_import(ROOM, Generation(model.generation), position, now_ms)
        assert accepted or (not was_partial and model.ended_generations[model.generation] == "IMPORTED")
    except ImportIncompleteError:
        assert was_partial
        assert not accepted
    except RoomAbandonedError:
        assert was_abandoned
    except RoomNotPartialError:
        assert not was_partial


async def _confirm_join(store, model, now_ms):
    try:
        await store.registry.confirm_join(ROOM, Generation(model.generation))
    except RoomNotPartialError:
        assert not model.partial
    else:
        if model.partial:
            model.confirm_join()


async def _release(store, model, now_ms, reason):
    given = Generation(model.generation)
    if not model.partial:
        if given in model.ended_generations:
            await store.registry.release(ROOM, given, reason, now_ms)
        else:
            with pytest.raises(RoomNotPartialError):
                await store.registry.release(ROOM, given, reason, now_ms)
        return
    try:
        token = await store.registry.release(ROOM, given, reason, now_ms)
    except JoinConfirmedError:
        assert reason is ReleaseReason.JOIN_FAILED
        assert model.join in model.confirmed
        return
    match reason:
        case ReleaseReason.LEFT:
            model.leave()
        case ReleaseReason.PURGED:
            model.purge()
        case ReleaseReason.JOIN_FAILED:
            assert model.fail(token.revision)
    assert await store.registry.release(ROOM, given, reason, now_ms) == token


CALLS = {
    "register": _register,
    "record": _record,
    "work": _work,
    "acknowledge": _acknowledge,
    "confirm_import": _confirm_import,
    "confirm_join": _confirm_join,
    "release": _release,
}

"""Calls share a time limit, and each is cut by itself."""

import asyncio
import contextlib

import pytest
from partialstate_service.rpc.time_limit import TimeLimit


async def forever(limit):
    with limit.begun():
        await asyncio.Event().wait()


async def test_a_call_that_ends_in_time_is_left_alone():
    limit = TimeLimit(0.05)
    with limit.begun():
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    assert not limit._calls
    assert limit._timer is None


async def test_each_call_is_cut_when_it_is_due():
    limit, loop = TimeLimit(0.2), asyncio.get_running_loop()

    async def late(delay_s):
        await asyncio.sleep(delay_s)
        begun_s = loop.time()
        with pytest.raises(TimeoutError):
            await forever(limit)
        return loop.time() - begun_s

    async with asyncio.timeout(10):
        took_s = await asyncio.gather(*(late(0.05 * number) for number in range(5)))
    assert min(took_s) >= 0.19
    assert not limit._calls
    assert asyncio.current_task().cancelling() == 0


async def test_a_call_that_swallows_its_cut_ends_as_it_likes():
    limit = TimeLimit(0.01)
    with limit.begun(), contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(10)
    assert asyncio.current_task().cancelling() == 0


async def test_who_cancels_a_call_is_obeyed_also_with_its_cut():
    limit = TimeLimit(10)
    task = asyncio.create_task(forever(limit))
    await asyncio.sleep(0)
    [call] = limit._calls
    call.cut()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_other_errors_pass():
    with pytest.raises(KeyError), TimeLimit(10).begun():
        raise KeyError

"""Messages of a stream are read ahead, up to a limit, and keep their order."""

import asyncio

import pytest
from partialstate_service.rpc.arrivals import Arrivals


async def counted(stop, read):
    for number in range(stop):
        read.append(number)
        yield number


async def test_all_that_waits_is_taken_together_in_order():
    read = []
    arrivals = Arrivals(counted(5, read), 64)
    await arrivals.read()
    assert await arrivals.take() == [0, 1, 2, 3, 4]
    assert await arrivals.take() == []


async def test_no_more_than_the_limit_is_read_ahead():
    read = []
    arrivals = Arrivals(counted(100, read), 8)
    reading = asyncio.create_task(arrivals.read())
    taken = []
    while more := await arrivals.take():
        taken += more
        assert len(read) - len(taken) <= 8
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert taken == list(range(100))
    await reading


async def test_who_takes_waits_for_the_next():
    queue = asyncio.Queue()

    async def stream():
        while (message := await queue.get()) is not None:
            yield message

    arrivals = Arrivals(stream(), 8)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(arrivals.read())
        for message in range(3):
            taking = group.create_task(arrivals.take())
            await asyncio.sleep(0)
            assert not taking.done()
            queue.put_nowait(message)
            assert await taking == [message]
        queue.put_nowait(None)
        assert await arrivals.take() == []


async def test_an_error_of_the_stream_comes_after_what_came_before_it():
    async def stream():
        yield 1
        raise ConnectionError

    arrivals = Arrivals(stream(), 8)
    await arrivals.read()
    assert await arrivals.take() == [1]
    with pytest.raises(ConnectionError):
        await arrivals.take()

"""Pieces of work in the background."""

import asyncio

import pytest
from partialstate_service.resync.some_ahead import some_ahead


async def taken(_):
    pass


@pytest.mark.parametrize("at_most", [1, 3])
async def test_some_run_at_a_time_and_their_results_are_taken_in_order(at_most):
    running, most, results = 0, 0, []

    async def work(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(10 - number):  # a later one is done sooner
            await asyncio.sleep(0)
        running -= 1
        return number

    async def take(number):
        results.append(number)

    async with some_ahead(at_most, take) as background:
        for number in range(10):
            await background.begin(work(number))
            await asyncio.sleep(0)
    assert results == list(range(10))
    assert most == at_most


@pytest.mark.parametrize("more", [0, 1])
async def test_what_goes_wrong_in_the_background_is_raised(more):
    async def fail():
        raise ValueError("in the background")

    async def work():
        pass

    async def failing():
        async with some_ahead(1, taken) as background:
            await background.begin(fail())
            for _ in range(more):
                await background.begin(work())

    with pytest.raises(ValueError, match="in the background"):
        await failing()


async def test_what_is_begun_is_given_up_when_its_maker_fails():
    given_up = []

    async def work(number):
        try:
            await asyncio.Event().wait()
        finally:
            given_up.append(number)

    async def failing():
        async with some_ahead(2, taken) as background:
            for number in range(2):
                await background.begin(work(number))
            await asyncio.sleep(0)
            raise ValueError("in the foreground")

    with pytest.raises(ValueError, match="in the foreground"):
        await failing()
    assert given_up == [0, 1]

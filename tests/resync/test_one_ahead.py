"""One piece of work in the background."""

import asyncio

import pytest
from partialstate_service.resync.one_ahead import one_ahead


async def test_each_piece_is_done_before_the_next_begins_and_all_at_the_end():
    done = []

    async def work(number):
        await asyncio.sleep(0)
        done.append(number)

    async with one_ahead() as background:
        for number in range(3):
            await background.begin(work(number))
            assert done == list(range(number))
    assert done == [0, 1, 2]


@pytest.mark.parametrize("more", [0, 1])
async def test_what_goes_wrong_in_the_background_is_raised(more):
    async def fail():
        raise ValueError("in the background")

    async def work():
        pass

    async def failing():
        async with one_ahead() as background:
            await background.begin(fail())
            for _ in range(more):
                await background.begin(work())

    with pytest.raises(ValueError, match="in the background"):
        await failing()


async def test_what_is_begun_is_given_up_when_its_maker_fails():
    given_up = asyncio.Event()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    async def failing():
        async with one_ahead() as background:
            await background.begin(work())
            await asyncio.sleep(0)
            raise ValueError("in the foreground")

    with pytest.raises(ValueError, match="in the foreground"):
        await failing()
    assert given_up.is_set()

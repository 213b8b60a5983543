"""A fake service and a client of it."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from partialstate import Deadlines, PartialStateClient, RetryPolicy
from support.fake_service import FakeService, running_fake


@pytest.fixture
def fake() -> Iterator[FakeService]:
    with running_fake() as service:
        yield service


@pytest_asyncio.fixture
async def client(fake: FakeService) -> AsyncIterator[PartialStateClient]:
    """A client with generous deadlines, so that a slow machine fails no test."""
    deadlines = Deadlines(check_s=20.0, read_s=20.0, write_s=20.0, upload_s=20.0)
    policy = RetryPolicy(first_delay_s=0.001, max_delay_s=0.01, resume_for_s=20.0)
    async with PartialStateClient(fake.target, deadlines=deadlines, retry_policy=policy) as client:
        yield client

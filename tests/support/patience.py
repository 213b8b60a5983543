"""What callers do about a store that is unavailable: they call again."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from partialstate_service.domain.errors import StoreUnavailableError

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], timeout_s: float = 60) -> T:
    """Return the result of *call*, repeated while the store is unavailable."""
    async with asyncio.timeout(timeout_s):
        while True:
            with suppress(StoreUnavailableError):
                return await call()
            await asyncio.sleep(0.1)

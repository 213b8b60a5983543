"""Endless works beside a block of code."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def meanwhile(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run endless works until the end of the block, which the failure of one ends too.

    What the block raises comes out as it is, what a work raises in a group.
    """
    raised: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work) for work in works]
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below
            raised = error
        finally:
            for task in running:
                task.cancel()
    if raised is not None:
        raise raised

"""Events that were taken but cannot be recorded yet, because the service does not answer."""

import asyncio

from partialstate import NoAnswerError

from partialstate_service.demo.frontend.homeserver import Homeserver
from partialstate_service.demo.frontend.receiving import take_event

RETRY_S = 1.0


async def work_off_staged_events(homeserver: Homeserver) -> None:
    """Take the staged events in their order, each as soon as the service answers; never ends."""
    while True:
        origin, raw = await homeserver.staged.get()
        while True:
            try:
                await take_event(homeserver, origin, raw)
            except NoAnswerError:
                await asyncio.sleep(RETRY_S)
            else:
                break

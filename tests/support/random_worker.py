"""What a worker does to a room that is due, through the store of a replica: some of it, or all."""

import random
import time
from collections.abc import Sequence

from partialstate_service.domain.errors import LeaseLostError, RoomNotPartialError, StoreUnavailableError
from partialstate_service.domain.ids import EventId
from support.api import Api
from support.api_calls import Answer, LostAnswerError
from support.called_rooms import Room
from support.linearizability import Call
from support.store_rooms import resolve


async def resync(api: Api, rooms: Sequence[Room], rng: random.Random) -> None:
    """Claim a room, verify it and append to its log; raises LostAnswerError wherever the store is unavailable."""
    registry = api.store.registry
    now_ms = int(time.time() * 1000)
    try:
        lease = await registry.claim_due("worker", now_ms, 50)
        if lease is None:
            return
        room = next(one for one in rooms if one.room_id == lease.room_id)
        pending = [
            event.event_id for event in await registry.recorded_events(lease.room_id) if not event.resolved
        ]
    except RoomNotPartialError:
        return  # it has ended since it was claimed
    except StoreUnavailableError as error:
        raise LostAnswerError from error
    chosen = pending if rng.random() < 0.7 else pending[: len(pending) // 2]

    async def verify() -> Answer:
        await registry.mark_state_verified(lease)
        return ("OK",)

    async def append() -> Answer:
        return "OK", await resolve(api.store, lease, *chosen)

    for name, arguments, call in (
        ("mark_verified", (lease.generation,), verify),
        ("append_log", (lease.generation, tuple(map(EventId, chosen))), append),
    ):
        begun = time.monotonic()
        try:
            answer = await call()
        except LeaseLostError:
            return  # it has done nothing
        except StoreUnavailableError as error:
            room.calls.append(Call(name, arguments, begun))
            raise LostAnswerError from error
        room.calls.append(Call(name, arguments, begun, time.monotonic(), answer))
    try:
        await registry.hand_back(lease, None)
    except StoreUnavailableError as error:
        raise LostAnswerError from error

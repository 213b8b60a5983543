"""Rooms that become partial and full again through the API, one life after the other."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing

from partialstate import LogEnd, PartialStateClient, RecoveredStates, ReleaseReason, ResyncPriority
from support.joined_rooms import MadeJoin
from support.room_truth import RoomTruth, Truths


class RoomLives:
    """A frontend's part in the lives of rooms; each call goes to any of the replicas."""

    def __init__(
        self,
        clients: Sequence[PartialStateClient],
        joins: Sequence[MadeJoin],
        truths: Truths,
        rng: random.Random,
        *,
        purged_share: float = 0.2,
    ) -> None:
        """*purged_share* of the rooms is released while they are partial; the others are recovered and imported."""
        self._clients = clients
        self._joins: Iterator[MadeJoin] = iter(joins)
        self._truths = truths
        self._rng = rng
        self._purged_share = purged_share
        self.ended: Counter[str] = Counter()

    def _any(self) -> PartialStateClient:
        return self._rng.choice(self._clients)

    async def live(self, is_over: Callable[[], bool], pause_s: float) -> None:
        """Live one room's life after the other until it is over."""
        while not is_over():
            await self.one(next(self._joins))
            await asyncio.sleep(self._rng.uniform(0, 2 * pause_s))

    async def one(self, join: MadeJoin, priority: ResyncPriority = ResyncPriority.NORMAL) -> None:
        """Register a join, confirm it, and let its partial state end."""
        truth = self._truths.of(join.room_id)
        async with truth.life:
            with truth.becoming(partial=True):
                registered = await self._any().register_partial_join(
                    join.partial_join(priority), join.response
                )
            await self._any().confirm_join(join.room_id, registered.generation)
            if self._rng.random() < self._purged_share:
                await asyncio.sleep(self._rng.uniform(0, 0.5))
                with truth.becoming(partial=False):
                    await self._any().release_room(join.room_id, registered.generation, ReleaseReason.PURGED)
                self.ended["purged"] += 1
            else:
                await self._import(join, registered.generation, truth)
                self.ended["imported"] += 1

    async def _import(self, join: MadeJoin, generation: int, truth: RoomTruth) -> None:
        end = await self._recovered(join, generation)
        await self._any().ack_import(join.room_id, generation, end.position)
        with truth.becoming(partial=False):
            await self._any().confirm_import(join.room_id, generation, end.position)

    async def _recovered(self, join: MadeJoin, generation: int) -> LogEnd:
        """Read the recovered state as it comes; return its end once it is complete, and exact."""
        states = RecoveredStates()
        async with aclosing(self._any().recovered_state(join.room_id, generation, follow=True)) as records:
            async for record in records:
                states.add(record)
                if isinstance(record, LogEnd) and record.complete:
                    assert set(states.current_state().values()) == join.state
                    return record
        raise AssertionError(f"the recovered state of {join.room_id} ended before it was complete")

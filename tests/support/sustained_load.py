"""Checks in all three forms and watchers, on all replicas, until it is over; every answer that can be judged is."""

import asyncio
import random
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from partialstate import (
    Bookmark,
    CheckRequest,
    Decision,
    Endpoint,
    PartialStateClient,
    PartialStateError,
    RoomChanged,
    StateToken,
)
from support.room_truth import Truths

BATCH = 100


def percentile_ms(took_s: Sequence[float], share: float) -> float:
    """Return below which time, in milliseconds, *share* of the times lie."""
    return 1000 * sorted(took_s)[min(int(share * len(took_s)), len(took_s) - 1)]


@dataclass
class Watched:
    """What one watcher saw."""

    room_id: str
    changes: dict[StateToken, str] = field(default_factory=dict)
    """The room of each change, in the order in which they came."""

    async def watch(self, client: PartialStateClient, after: StateToken) -> None:
        """Watch until cancelled; no change may come twice."""
        async with aclosing(client.watch(after, room_id=self.room_id)) as changes:
            async for change in changes:
                if isinstance(change, Bookmark):
                    continue
                assert change.state_token not in self.changes
                room_id = change.room.room_id if isinstance(change, RoomChanged) else change.room_id
                self.changes[change.state_token] = room_id

    def is_part_of(self, other: "Watched") -> bool:
        """Whether this one saw, in the same order, what the *other*, who watched all rooms, saw of its rooms."""
        return list(self.changes) == [
            token for token, room_id in other.changes.items() if self.room_id in {"", room_id}
        ]


@dataclass
class SustainedLoad:
    """The callers of one homeserver. Without *may_fail* a check that gets no decision is an error."""

    clients: Sequence[PartialStateClient]
    rooms: Sequence[str]
    truths: Truths
    rng: random.Random
    may_fail: bool = False
    over_s: float = 0.0
    unary_s: "array[float]" = field(default_factory=lambda: array("d"))
    """How long each Check took."""
    streamed_s: "array[float]" = field(default_factory=lambda: array("d"))
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def checks(self) -> int:
        """How many decisions there were, in whichever form."""
        return self.counts["unary"] + self.counts["stream"] + self.counts["batch"] * BATCH

    def is_over(self) -> bool:
        """Whether the callers are to end."""
        return time.monotonic() > self.over_s

    def _request(self) -> CheckRequest:
        return CheckRequest(Endpoint.STATE_IDS, "elsewhere.example", self.rng.choice(self.rooms), ("$event",))

    async def check(self, client: PartialStateClient, pause_s: float) -> None:
        """Check now and then."""
        while not self.is_over():
            await self._timed("unary", self.unary_s, client.check)
            await asyncio.sleep(self.rng.uniform(0, 2 * pause_s))

    async def stream(self, client: PartialStateClient, in_flight: int, pause_s: float) -> None:
        """Check over one stream, some at a time."""
        async with client.stream_check() as stream, asyncio.TaskGroup() as group:

            async def caller() -> None:
                while not self.is_over():
                    await self._timed("stream", self.streamed_s, stream.check)
                    await asyncio.sleep(self.rng.uniform(0, 2 * pause_s))

            for _ in range(in_flight):
                group.create_task(caller())

    async def batch(self, client: PartialStateClient, pause_s: float) -> None:
        """Check a hundred rooms in a call."""
        while not self.is_over():
            requests = [self._request() for _ in range(BATCH)]
            known = [self.truths.before(request.room_id) for request in requests]
            try:
                results = await client.batch_check(requests)
            except PartialStateError as error:
                self._failed(error)
            else:
                for before, result in zip(known, results, strict=True):
                    assert isinstance(result, Decision), result
                    self.truths.judge(before, result.verdict)
                self.counts["batch"] += 1
            await asyncio.sleep(self.rng.uniform(0, 2 * pause_s))

    async def _timed(
        self, kind: str, took_s: "array[float]", check: Callable[[CheckRequest], Awaitable[Decision]]
    ) -> None:
        request = self._request()
        known, begun_s = self.truths.before(request.room_id), time.perf_counter()
        try:
            decision = await check(request)
        except PartialStateError as error:
            self._failed(error)
        else:
            took_s.append(time.perf_counter() - begun_s)
            self.truths.judge(known, decision.verdict)
            self.counts[kind] += 1

    def _failed(self, error: PartialStateError) -> None:
        if not self.may_fail:
            raise error
        self.counts["no decision"] += 1

"""How often each client may call: a token bucket per client."""

import time
from collections.abc import Callable

MOST_BUCKETS = 10_000
"""How many clients are remembered, in a megabyte or two; those with a full bucket need not be."""


class CallRates:
    """The buckets: each holds *burst* calls at most, and gains *per_second*."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self.burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, client: str) -> float:
        """Take one call out of a bucket that holds it, and return 0; else the seconds until it does."""
        now_s = self._clock()
        held = self._held(client, now_s)
        if held < 1:
            return (1 - held) / self.per_second
        self._put(client, held - 1, now_s)
        return 0.0

    def owe(self, client: str, calls: int) -> float:
        """Take *calls* out of a bucket whatever it holds; return the seconds until it owes no call."""
        now_s = self._clock()
        held = self._held(client, now_s) - calls
        self._put(client, held, now_s)
        return max(-held, 0.0) / self.per_second

    def _held(self, client: str, now_s: float) -> float:
        bucket = self._buckets.get(client)
        if bucket is None:
            return self.burst
        held, at_s = bucket
        return min(held + (now_s - at_s) * self.per_second, self.burst)

    def _put(self, client: str, held: float, now_s: float) -> None:
        if len(self._buckets) >= MOST_BUCKETS and client not in self._buckets:
            self._forget(now_s)
        self._buckets[client] = (held, now_s)

    def _forget(self, now_s: float) -> None:
        """Forget the buckets that are full again, and all of them where none is: what is kept must have a bound."""
        self._buckets = {
            client: bucket
            for client, bucket in self._buckets.items()
            if self._held(client, now_s) < self.burst
        }
        if len(self._buckets) >= MOST_BUCKETS:
            self._buckets.clear()

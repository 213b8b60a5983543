"""A token bucket: how long to wait so that starts are no denser than a rate allows. Pure but for its clock and dice."""

from collections.abc import Callable


class TokenBucket:
    """Fills with *rate_per_s* tokens a second up to *burst*; it is full at first."""

    def __init__(
        self, rate_per_s: float, burst: int, *, now_s: Callable[[], float], jitter: Callable[[], float]
    ) -> None:
        """*jitter* returns numbers in [0, 1): waits are spread, so that many processes do not start in step."""
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._now_s = now_s
        self._jitter = jitter
        self._filled_s = now_s()

    def take_s(self) -> float:
        """Take a token, on credit if there is none, and return how many seconds to wait before it may be used."""
        now_s = self._now_s()
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._rate_per_s)
        self._filled_s = now_s
        self._tokens -= 1
        if self._tokens >= 0:
            return 0.0
        return (-self._tokens + self._jitter()) / self._rate_per_s

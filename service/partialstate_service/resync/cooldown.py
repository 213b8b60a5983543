"""How long a server is left alone after what it answered. Pure.

Source: `protos/MSC3895.md`, "What does the receiver of the error do?". A peer that is UNABLE is
a healthy one; a plain 403 soon after our join means that the join has not reached the peer (synapse#19210, #15115).
"""

from collections.abc import Callable
from dataclasses import dataclass

from partialstate_service.federation.outcomes import Outcome

Jitter = Callable[[], float]
"""Returns a number in [0, 1); `random.random` in production."""


@dataclass(frozen=True, slots=True)
class CooldownPolicy:
    """The scale of all cooldowns, in seconds."""

    first_s: float = 30.0
    """The first cooldown of a peer that may be well again soon; doubled with each further failure."""
    soft_cap_s: float = 300.0
    """The longest cooldown of a peer that is healthy but cannot answer yet."""
    hard_cap_s: float = 3600.0
    """The longest cooldown of a peer that fails or lies."""
    join_propagation_s: float = 3600.0
    """For how long after the join a 403 is taken for "has not heard of our join yet"."""
    late_forbidden_s: float = 1800.0
    """The cooldown of a peer that says 403 later than that."""


# Outcomes that say nothing about the peer's health, only that it cannot answer this question yet.
_SOFT = frozenset({Outcome.UNABLE, Outcome.NOT_FOUND})


def cooldown_s(
    outcome: Outcome,
    *,
    failures: int,
    since_join_s: float,
    retry_after_s: float | None,
    policy: CooldownPolicy,
    jitter: Jitter,
) -> float:
    """Return for how many seconds to leave a server alone after its *failures*-th failure in a row (from 1).

    Zero after a first time-out: the peer goes on computing, and its cache then answers at once (synapse#15115).
    """
    if outcome is Outcome.TIMEOUT and failures == 1:
        return 0.0
    if outcome is Outcome.FORBIDDEN and since_join_s > policy.join_propagation_s:
        return max(policy.late_forbidden_s, retry_after_s or 0.0)
    soft = outcome in _SOFT or outcome is Outcome.FORBIDDEN
    cap = policy.soft_cap_s if soft else policy.hard_cap_s
    longest = min(cap, policy.first_s * 2.0 ** min(failures - 1, 16))
    # Full jitter, but never at once: a herd of rooms shall not ask a struggling server in step.
    return max(longest * (0.1 + 0.9 * jitter()), retry_after_s or 0.0)

"""What an outcome costs a server, as a table (protocol: "Recommended contract for our service as requester")."""

import pytest
from partialstate_service.federation.outcomes import Outcome
from partialstate_service.resync.cooldown import CooldownPolicy, cooldown_s

POLICY = CooldownPolicy()
HOUR = 3600.0

# outcome, failures in a row, seconds since the join, Retry-After → the longest cooldown (jitter at its greatest)
CASES = [
    ("UNABLE is a healthy peer", Outcome.UNABLE, 1, 10, None, 30),
    ("UNABLE doubles", Outcome.UNABLE, 3, 10, None, 120),
    ("UNABLE stops at five minutes", Outcome.UNABLE, 9, 10, None, 300),
    ("an early 403 has not heard of our join (synapse#19210)", Outcome.FORBIDDEN, 1, 60, None, 30),
    ("early 403s stop at five minutes", Outcome.FORBIDDEN, 50, 60, None, 300),
    ("a late 403 is meant", Outcome.FORBIDDEN, 1, 2 * HOUR, None, 1800),
    ("not yet there", Outcome.NOT_FOUND, 4, 10, None, 240),
    ("the first time-out: its cache is warm now (synapse#15115)", Outcome.TIMEOUT, 1, 10, None, 0),
    ("the second time-out", Outcome.TIMEOUT, 2, 10, None, 60),
    ("a failing server", Outcome.SERVER_ERROR, 1, 10, None, 30),
    ("a failing server, up to an hour", Outcome.SERVER_ERROR, 20, 10, None, 3600),
    ("a lying server", Outcome.INVALID, 2, 10, None, 60),
    ("Retry-After is honoured", Outcome.RATE_LIMITED, 1, 10, 900.0, 900),
    ("a short Retry-After does not shorten", Outcome.RATE_LIMITED, 1, 10, 1.0, 30),
]


@pytest.mark.parametrize(
    ("outcome", "failures", "since_join_s", "retry_after_s", "longest"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_cooldown_is_what_the_table_says(outcome, failures, since_join_s, retry_after_s, longest):
    def cooldown(jitter: float) -> float:
        return cooldown_s(
            outcome,
            failures=failures,
            since_join_s=since_join_s,
            retry_after_s=retry_after_s,
            policy=POLICY,
            jitter=lambda: jitter,
        )

    assert cooldown(1.0) == pytest.approx(longest)
    assert cooldown(0.0) <= cooldown(0.5) <= longest
    if longest:
        assert cooldown(0.0) > 0, "a herd of rooms would ask at once"


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.OK])
def test_every_failure_has_a_bounded_cooldown(outcome):
    longest = max(
        cooldown_s(
            outcome, failures=n, since_join_s=10, retry_after_s=None, policy=POLICY, jitter=lambda: 1.0
        )
        for n in range(1, 100)
    )
    assert 0 < longest <= HOUR

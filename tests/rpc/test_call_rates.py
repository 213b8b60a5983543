"""The token buckets, with a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partialstate_service.rpc.call_rates import MOST_BUCKETS, CallRates


class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def test_a_burst_is_let_through_and_then_the_rate(clock):
    rates = CallRates(10, 3, clock)
    assert [rates.take("a") for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]
    clock.now_s += 0.05
    assert rates.take("a") == pytest.approx(0.05)
    clock.now_s += 0.051
    assert rates.take("a") == 0
    assert rates.take("a") > 0
    clock.now_s += 1000
    assert [rates.take("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_each_client_has_a_bucket(clock):
    rates = CallRates(1, 1, clock)
    assert [rates.take(name) > 0 for name in ("a", "b", "a")] == [False, False, True]


def test_a_call_that_counts_as_more_than_the_bucket_holds_is_owed(clock):
    rates = CallRates(10, 3, clock)
    assert rates.take("a") == 0
    assert rates.owe("a", 22) == pytest.approx(2.0)
    assert rates.take("a") == pytest.approx(2.1)


def test_what_cannot_be_refused_waits_in_its_order(clock):
    rates = CallRates(10, 1, clock)
    assert [rates.owe("a", 1) for _ in range(3)] == [0, pytest.approx(0.1), pytest.approx(0.2)]


@given(
    moves=st.lists(st.tuples(st.floats(0, 1, allow_nan=False), st.integers(1, 20)), min_size=1, max_size=50)
)
def test_no_more_passes_than_burst_and_rate_allow(moves):
    clock = Clock()
    rates = CallRates(5, 10, clock)
    passed, last, elapsed_s = 0, 0, 0.0
    for pause_s, calls in moves:
        clock.now_s += pause_s
        elapsed_s += pause_s
        if rates.take("a") == 0:
            rates.owe("a", calls - 1)
            # Only the last call that passed may be owed.
            assert passed <= 10 + 5 * elapsed_s - 1 + 1e-6
            passed, last = passed + calls, calls
    assert passed - last <= 10 + 5 * elapsed_s


def test_the_buckets_are_bounded_and_the_empty_ones_kept_longest(clock):
    rates = CallRates(1, 1, clock)
    for number in range(MOST_BUCKETS - 1):
        rates.take(f"idle {number}")
    clock.now_s += 2
    rates.take("busy")
    rates.take("new")  # one too many: those that are full again are forgotten
    assert rates.take("busy") > 0
    for number in range(2 * MOST_BUCKETS):
        rates.take(f"busy {number}")
    assert len(rates._buckets) <= MOST_BUCKETS

"""Starts are no denser than the rate allows, and spread."""

import random

from hypothesis import given
from hypothesis import strategies as st
from partialstate_service.resync.token_bucket import TokenBucket


def bucket(now_s, jitter=lambda: 0.0, rate=10.0, burst=4):
    return TokenBucket(rate, burst, now_s=now_s, jitter=jitter)


def test_a_burst_passes_at_once_and_the_rest_in_the_rate():
    waits = bucket(lambda: 0.0)
    assert [round(waits.take_s(), 3) for _ in range(7)] == [0, 0, 0, 0, 0.1, 0.2, 0.3]


def test_the_bucket_fills_again_up_to_the_burst():
    now = [0.0]
    waits = bucket(lambda: now[0])
    for _ in range(4):
        waits.take_s()
    now[0] = 100.0
    assert [waits.take_s() for _ in range(4)] == [0.0] * 4
    assert waits.take_s() > 0


def test_waits_are_spread_so_that_processes_do_not_start_in_step():
    rng = random.Random(1)
    waits = bucket(lambda: 0.0, jitter=rng.random, burst=1)
    waits.take_s()
    first = waits.take_s()
    assert 0.1 <= first < 0.2


@given(st.lists(st.floats(0, 1), max_size=60), st.integers(1, 10))
def test_no_window_has_more_starts_than_burst_and_rate_allow(pauses, burst):
    now = [0.0]
    waits = bucket(lambda: now[0], burst=burst)
    starts = []
    for pause in pauses:
        now[0] += pause
        now[0] += waits.take_s()  # whoever waits takes the next token only after that
        starts.append(now[0])
    for number, start in enumerate(starts):
        within = [other for other in starts[number:] if other - start <= 1.0]
        assert len(within) <= burst + 10 + 1

"""How long a body may take."""

import pytest
from partialstate_service.federation.progress import Progress, StalledError


def test_enough_bytes_open_a_new_window() -> None:
    """An honest slow body goes on until the total is spent."""
    progress = Progress(total_s=100, window_s=10, min_bytes=1000)
    for _ in range(11):
        progress.arrived(9, 1000)
    assert progress.allowance_s == 1
    with pytest.raises(StalledError):
        progress.arrived(1, 10**9)


def test_too_few_bytes_in_a_window_are_a_stall() -> None:
    """However regularly they come."""
    progress = Progress(total_s=100, window_s=10, min_bytes=1000)
    for _ in range(9):
        progress.arrived(1, 100)
    with pytest.raises(StalledError):
        progress.arrived(1, 99)

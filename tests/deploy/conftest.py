"""Every test that takes a `release` runs over every sample of values."""

import pytest
from support.helm_chart import SAMPLES, Release, sample


@pytest.fixture(params=SAMPLES)
def release(request) -> Release:
    return sample(request.param)

"""Latencies that were counted in buckets still say what they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.histogram import GROWTH, Histogram

SHARES = (1.0, 50.0, 90.0, 99.0, 99.9, 100.0)


@given(st.lists(st.floats(0.0, 1e8), min_size=1, max_size=300))
def test_percentiles_are_numpys_within_a_bucket(latencies: list[float]) -> None:
    """Every percentile is the one of the latencies themselves (the least at or below which so many lie), within 1 %."""
    histogram = Histogram()
    for each in latencies:
        histogram.add(each)
    assert len(histogram) == len(latencies)
    for share in SHARES:
        exact = float(np.percentile(latencies, share, method="inverted_cdf"))
        found = histogram.percentile(share)
        assert found == pytest.approx(exact, rel=GROWTH - 1 + 1e-9, abs=1.0)
        assert found <= max(latencies)


def test_a_long_tail_is_not_averaged_away() -> None:
    """One in a thousand shows in p99.9 and not in p99."""
    histogram = Histogram()
    for number in range(10_000):
        histogram.add(50_000.0 if number % 900 == 0 else 1_000.0)
    assert histogram.percentile(99.0) == pytest.approx(1_000.0, rel=0.01)
    assert histogram.percentile(99.9) == pytest.approx(50_000.0, rel=0.01)


def test_no_latencies_have_no_percentile() -> None:
    """Not 0, which would look like a fast answer."""
    assert np.isnan(Histogram().percentile(50.0))

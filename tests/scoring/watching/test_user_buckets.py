"""Buckets of users: intervals hold the truth as often as they say, though rows of a user are alike."""

import numpy as np
import pytest
from scipy.stats import t

from behavior.partition import partition_of
from scoring.watching.user_buckets import BUCKETS, FEWEST, LEVEL, around, bucket_of, jackknife, student_quantile


def share(sums: np.ndarray) -> np.ndarray:
    found: np.ndarray = sums[..., 1] / sums[..., 0]
    return found


@pytest.mark.parametrize("freedom", range(FEWEST - 1, BUCKETS))
@pytest.mark.parametrize("p", [0.005, 0.025, 0.9, 0.975, 0.995])
def test_quantiles_are_those_of_student(p: float, freedom: int) -> None:
    """To two thousandths of themselves, for as few buckets as an interval is told of."""
    assert student_quantile(p, freedom) == pytest.approx(t.ppf(p, freedom), rel=2e-3)


def test_too_few_buckets_tell_a_value_without_an_interval() -> None:
    """With fewer than FEWEST buckets that hold rows the bounds are NaN, and nothing is excluded."""
    sums = np.zeros((BUCKETS, 2))
    sums[: FEWEST - 1] = (10.0, 10.0)
    found = jackknife(sums, share)
    assert found.value == 1.0
    assert np.isnan([found.error, found.low, found.high]).all()
    assert not found.excludes_zero
    sums[FEWEST - 1] = (10.0, 10.0)
    assert jackknife(sums, share).excludes_zero


def test_of_buckets_of_one_size_it_is_the_error_of_their_mean() -> None:
    """Where all buckets hold as many rows, the error is the standard error of the mean of their shares."""
    rng = np.random.default_rng(1)
    sums = np.stack([np.full(BUCKETS, 20.0), rng.integers(0, 20, BUCKETS).astype(float)], axis=1)
    assert jackknife(sums, share).error == pytest.approx(share(sums).std(ddof=1) / np.sqrt(BUCKETS))


def test_a_partition_fills_all_buckets() -> None:
    """The users of one partition are not those of one bucket: who watches one partition still has its intervals."""
    mine = [user for user in (f"k1-{number:06x}" for number in range(64 * 200)) if partition_of(user, 64) == 0]
    assert {bucket_of(user) for user in mine} == set(range(BUCKETS))


def test_more_certainty_takes_more_room() -> None:
    """An interval of a higher level holds that of a lower one."""
    inner, outer = around(0.0, 1.0, 31, LEVEL), around(0.0, 1.0, 31, 0.99)
    assert outer.low < inner.low < 0.0 < inner.high < outer.high

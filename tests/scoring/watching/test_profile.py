"""The profile: what it expects, how sure it is, and that it continues bit for bit."""

from datetime import UTC, datetime

import numpy as np
import pytest

from behavior.event import HOUR_US, SECOND_US
from scoring.learners import canonical_hash
from scoring.watching.profile import Profile
from tests.scoring.watching.series import A_DAY, INTERVAL_S, at, counts


def learned(values: np.ndarray, zone: str = "UTC") -> Profile:
    """A profile that has learned the series."""
    profile = Profile(zone, INTERVAL_S)
    for place, value in enumerate(values.tolist()):
        profile.learn(at(place), value)
    return profile


@pytest.mark.parametrize(("volume", "within"), [(0.5, 0.4), (20.0, 0.15)])
def test_it_knows_the_rhythm_of_the_day(volume: float, within: float) -> None:
    """After four weeks the best hour and the worst, a fourth of it, are known; of few events less well."""
    profile = learned(counts(28, volume, seed=1))
    best, worst = (profile.expect(at(28 * A_DAY + hour * 12)).mean for hour in (15, 3))
    assert best == pytest.approx(1.6 * volume, rel=within)
    assert worst == pytest.approx(0.4 * volume, rel=within)


@pytest.mark.parametrize(("over", "low", "high"), [(0.0, 0.0, 0.02), (0.3, 0.2, 0.4)])
def test_it_learns_how_much_more_than_poisson_counts_vary(over: float, low: float, high: float) -> None:
    """The variance at the best hour is that of the series that made it."""
    expected = learned(counts(28, 50.0, seed=2, over=over)).expect(at(28 * A_DAY + 180))
    assert low <= expected.variance / expected.mean**2 - 1.0 / expected.mean <= high


def test_amounts_vary_by_the_size_of_one() -> None:
    """Counts times 250 have 250 times the mean, and 250 times the deviation."""
    series = counts(21, 5.0, seed=3)
    one, many = (learned(values).expect(at(21 * A_DAY + 150)) for values in (series, series * 250.0))
    assert many.mean == pytest.approx(250.0 * one.mean, rel=0.05)
    assert many.sd == pytest.approx(250.0 * one.sd, rel=0.15)


def test_hours_are_local_and_the_clock_may_change() -> None:
    """What happens from 9 to 10 in New York is expected there before and after the clocks change (10 March 2024)."""
    profile = Profile("America/New_York", INTERVAL_S)
    first = int(datetime(2024, 2, 12, tzinfo=UTC).timestamp()) * SECOND_US
    for place in range(26 * A_DAY):  # all of it in standard time, UTC - 5
        t = first + place * INTERVAL_S * SECOND_US
        profile.learn(t, 100.0 if t // HOUR_US % 24 == 14 else 10.0)
    summer = int(datetime(2024, 3, 12, 13, 30, tzinfo=UTC).timestamp()) * SECOND_US
    assert profile.expect(summer).mean > 60.0 > profile.expect(summer + 90 * 60 * SECOND_US).mean


def test_a_spike_teaches_little_and_a_change_is_learned_within_days() -> None:
    """An hour of a hundred times the usual moves the level by less than a tenth; a doubling is known after six days."""
    series = counts(22, 20.0, seed=4)
    usual = learned(series[: 21 * A_DAY]).expect(at(21 * A_DAY + 180)).mean
    spiked = series[: 21 * A_DAY].copy()
    spiked[-12:] *= 100.0
    assert learned(spiked).expect(at(21 * A_DAY + 180)).mean == pytest.approx(usual, rel=0.1)
    doubled = np.concatenate([series[: 21 * A_DAY], 2.0 * counts(6, 20.0, seed=5)])
    assert learned(doubled).expect(at(27 * A_DAY + 180)).mean == pytest.approx(2.0 * usual, rel=0.2)


def test_a_series_of_nothing_is_no_error() -> None:
    """Where nothing ever happens, nothing is expected, with a variance."""
    expected = learned(np.zeros(3 * A_DAY)).expect(at(3 * A_DAY))
    assert expected.mean == 0.0
    assert expected.sd > 0.0


@pytest.mark.parametrize("cut", [1, 100, 5 * A_DAY + 7])
def test_it_continues_bit_for_bit(cut: int) -> None:
    """Restored from its numbers at any interval, it ends with the same ones."""
    series = counts(8, 3.0, seed=6)
    whole, second = learned(series), Profile("UTC", INTERVAL_S)
    second.restore(learned(series[:cut]).numbers())
    for place in range(cut, len(series)):
        second.learn(at(place), float(series[place]))
    assert canonical_hash(second.numbers()) == canonical_hash(whole.numbers())

"""Anomalies: found where they are, one episode each, and seldom where there are none."""

import math
import random

import numpy as np
import pytest
from river import drift
from scipy.stats import nbinom, poisson

from scoring.learners import canonical_hash
from scoring.watching.anomalies import Anomaly, Detector, Kind, Severity, contributions, tails
from scoring.watching.floods import Heaviest
from scoring.watching.page_hinkley import PageHinkley, threshold_of
from scoring.watching.profile import Expected
from tests.scoring.watching.series import A_DAY, INTERVAL_S, at, counts

QUIET = 15 * A_DAY


def watched(values: np.ndarray) -> list[Anomaly]:
    """All that begins and ends in the series."""
    detector = Detector("carts", "UTC", INTERVAL_S)
    return [each for place, value in enumerate(values.tolist()) for each in detector.observe(at(place), value)]


def test_a_drop_is_one_episode_with_a_start_and_an_end() -> None:
    """Two hours without events are seen at once, end when they end, and say what was expected."""
    series = counts(16, 50.0, seed=1)
    lost = float(series[QUIET + 150 : QUIET + 174].sum())
    series[QUIET + 150 : QUIET + 174] = 0.0
    begun, ended = [each for each in watched(series) if each.found >= at(QUIET)]
    assert (begun.kind, begun.start, begun.end) == (Kind.DROP, at(QUIET + 150), 0)
    assert (ended.start, ended.end, ended.severity) == (at(QUIET + 150), at(QUIET + 174), Severity.CRITICAL)
    assert ended.expected == pytest.approx(lost, rel=0.2)
    assert ended.seen == 0.0


def test_a_spike_of_one_interval_ends_with_it() -> None:
    """One interval of four times the usual is one episode, not two."""
    series = counts(16, 50.0, seed=2)
    series[QUIET + 100] *= 4.0
    begun, ended = [each for each in watched(series) if each.found >= at(QUIET)]
    assert begun.kind is Kind.SPIKE
    assert (ended.start, ended.end) == (at(QUIET + 100), at(QUIET + 101))


def test_few_events_that_cease_are_slow() -> None:
    """At one event in two intervals no single one tells; that none came for six hours is seen, with its start."""
    series = counts(16, 0.5, seed=3)
    series[QUIET + 150 : QUIET + 222] = 0.0
    begun = next(each for each in watched(series) if each.found >= at(QUIET + 150))
    assert begun.kind is Kind.SLOW
    assert at(QUIET + 120) <= begun.start <= at(QUIET + 160)
    assert begun.found < at(QUIET + 222)
    assert begun.seen < begun.expected


def test_a_holiday_is_one_anomaly() -> None:
    """A whole day at 60 % of its usual shape begins one episode, night and day, and none comes after it."""
    series = counts(18, 100.0, seed=4)
    series[QUIET : QUIET + A_DAY] = np.floor(0.6 * series[QUIET : QUIET + A_DAY])
    begun = [each for each in watched(series) if each.found >= at(QUIET) and not each.end]
    assert len(begun) == 1
    assert begun[0].found < at(QUIET + A_DAY)


def test_a_spike_within_a_drop_is_seen() -> None:
    """What lasts does not hide what is worse and of the other direction."""
    series = counts(16, 100.0, seed=5)
    series[QUIET : QUIET + 200] = np.floor(0.6 * series[QUIET : QUIET + 200])
    series[QUIET + 150] *= 6.0
    found = [each.kind for each in watched(series) if each.found == at(QUIET + 150) and not each.end]
    assert found == [Kind.SPIKE]


def test_stable_series_seldom_alarm() -> None:
    """Of 60 quiet days at three volumes at most six begin an alarm: 0.1 a day."""
    found = [watched(counts(34, volume, seed=6)) for volume in (0.5, 10.0, 200.0)]
    begun = [each for anomalies in found for each in anomalies if not each.end and each.found >= at(14 * A_DAY)]
    assert len(begun) <= 6


@pytest.mark.parametrize("cut", [5, 14 * A_DAY, QUIET + 155, QUIET + 176])
def test_it_continues_bit_for_bit(cut: int) -> None:
    """Restored at any interval, within an episode too, it says and ends with the same."""
    series = counts(17, 20.0, seed=7)
    series[QUIET + 150 : QUIET + 174] = 0.0
    whole, first, second = (Detector("carts", "UTC", INTERVAL_S) for _ in range(3))
    for place in range(cut):
        whole.observe(at(place), float(series[place]))
        first.observe(at(place), float(series[place]))
    second.restore(first.numbers())
    for place in range(cut, len(series)):
        assert second.observe(at(place), float(series[place])) == whole.observe(at(place), float(series[place]))
    assert canonical_hash(second.numbers()) == canonical_hash(whole.numbers())


def test_page_hinkley_is_rivers() -> None:
    """It alarms at the value at which River's does with alpha 1, up and down."""
    for seed in range(20):
        rng = random.Random(seed)
        values = [rng.gauss(0.0, 1.0) for _ in range(200)]
        values += [rng.gauss(1.0 if seed % 2 else -1.0, 1.0) for _ in range(200)]
        theirs, ours = drift.PageHinkley(min_instances=1, delta=0.25, threshold=20.0, alpha=1.0), PageHinkley(20.0)
        found = []
        for place, value in enumerate(values):
            theirs.update(value)
            found.append((ours.update(value, place, 0.25), theirs.drift_detected))
            if theirs.drift_detected:
                break
        assert found[-1] == (1 if seed % 2 else -1, True)
        assert not any(mine or its for mine, its in found[:-1])


def test_page_hinkley_alarms_at_the_rate_of_its_threshold() -> None:
    """On independent normal values, both sides together, within a factor of 1.6 of what Siegmund's formula says."""
    rng, rate, alarms = np.random.default_rng(8), 1 / 500, 0
    watch = PageHinkley(threshold_of(rate, 0.25))
    for place, value in enumerate(rng.normal(size=100_000).tolist()):
        if watch.update(value, place, 0.25):
            alarms += 1
            watch.rest()
    assert 1 / 1.6 < alarms / (2 * rate * 100_000) < 1.6


@pytest.mark.parametrize("value", [0, 3, 10, 40])
def test_tails_are_those_of_the_distributions(value: int) -> None:
    """Poisson without overdispersion, negative binomial with it, as SciPy's distributions say."""
    plain, over = tails(Expected(9.0, 1.0, 0.0), value), tails(Expected(9.0, 1.0, 0.25), value)
    binomial = nbinom(4.0, 4.0 / 13.0)
    assert plain == pytest.approx((poisson(9.0).cdf(value), poisson(9.0).sf(value - 1)))
    assert over == pytest.approx((binomial.cdf(value), binomial.sf(value - 1)))


def test_contributions_sum_to_the_difference() -> None:
    """What only one side knows is a part too, and the largest stands first."""
    parts = contributions({"app": 50.0, "web": 30.0}, {"web": 32.0, "kiosk": 1.0})
    assert [each.name for each in parts] == ["app", "web", "kiosk"]
    assert math.isclose(sum(each.difference for each in parts), 33.0 - 80.0)
    assert math.isclose(sum(each.share for each in parts), 1.0)


def test_a_flood_names_its_few_users_in_bounded_memory() -> None:
    """One user among ten thousand is found with 64 places; the same excess by everybody is no flood."""
    rng = np.random.default_rng(9)
    flood, crowd = Heaviest(), Heaviest()
    for place, user in enumerate(rng.integers(0, 10_000, 20_000).tolist()):
        crowd.add(f"u{user}")
        flood.add("bot" if place % 2 else f"u{user}")
    found = flood.flood(expected=10_000.0, seen=20_000.0)
    assert found is not None
    assert found.users == ("bot",)
    assert crowd.flood(expected=10_000.0, seen=20_000.0) is None
    assert len(flood.numbers()) == 64
    again = Heaviest()
    again.restore(flood.numbers())
    assert again.flood(10_000.0, 20_000.0) == found

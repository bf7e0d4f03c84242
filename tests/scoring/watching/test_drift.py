"""Drift: a stable column alarms as rarely as stated, a real change is found and named, and a trifle is none."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from scoring.watching.drift import FEWEST_ROWS, GATE, SHARES, Finding, drift, gap
from scoring.watching.sketch import BLOCKS, Column, Sketch, reference_of
from tests.benchmarks.drift import SHAPES, drawn, wilson

# With so great a rate a few hundred days tell whether it is kept.
RATE = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """A column and the users of its rows."""

    column: Column
    users: np.ndarray


def normal(seed: int, rows: int, shift: float = 0.0) -> Sample:
    """Independent rows of a normal column."""
    random = np.random.default_rng(seed)
    return Sample(random.standard_normal(rows) + shift, random.integers(0, 2**62, rows))


def findings(reference: Sample, day: Sample, rate: float = 0.001, looks: int = 1) -> dict[str, Finding]:
    """What is found of a day, by test."""
    sketch = Sketch(reference_of(reference.column, reference.users))
    sketch.add(day.column, day.users)
    return {each.test: each for each in drift("spend", sketch, rate, looks)}


def stable_share(shape: str, days: int, *, rows: int = 1000) -> tuple[float, float]:
    """Wilson's interval of the share of days that the test finds where nothing drifts."""
    random, hits = np.random.default_rng(11), 0
    for _ in range(days):
        reference, day = (Sample(*drawn(random, shape, n)) for n in (2000, rows))
        hits += any(each.p <= each.threshold for each in findings(reference, day, RATE).values())
    return wilson(hits, days)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_stated_rate_is_kept(shape: str) -> None:
    """Of stable days no more are found than stated, rows hanging together by user or not, and not far fewer."""
    low, high = stable_share(shape, 300)
    assert low <= RATE
    assert high >= 0.6 * RATE


def test_rows_of_a_user_would_alarm_without_blocks() -> None:
    """The negative control: with every row a user of its own, the same column is found far more often than stated."""
    random, hits = np.random.default_rng(11), 0
    for _ in range(100):
        reference, day = (Sample(drawn(random, SHAPES[3], n)[0], random.permutation(n)) for n in (2000, 1000))
        hits += findings(reference, day, RATE)["distribution"].p <= RATE
    assert wilson(hits, 100)[0] > 3 * RATE


def test_a_quarter_of_a_standard_deviation_is_found_in_1000_rows() -> None:
    """Nine in ten days or more alarm, upwards, against a reference of 10,000 rows."""
    reference = normal(0, 10_000)
    found = [findings(reference, normal(seed, 1000, 0.25))["distribution"] for seed in range(1, 61)]
    assert sum(each.drifts for each in found) >= 54
    assert {each.direction for each in found if each.drifts} == {"higher"}
    assert findings(reference, normal(1, 1000, -0.5))["distribution"].direction == "lower"


def test_a_trifle_is_no_alarm_however_sure() -> None:
    """With 300,000 rows a shift of 0.07 standard deviations is certain, and too small to matter."""
    found = findings(normal(0, 100_000), normal(1, 300_000, 0.07))["distribution"]
    assert found.p < 1e-9
    assert 0.001 < found.psi - found.chance_psi < GATE
    assert not found.drifts


def test_psi_is_the_square_of_a_small_shift() -> None:
    """The J-divergence of two normals of variance 1 is their distance squared, a little less in ten cells."""
    found = findings(normal(0, 400_000), normal(1, 400_000, 0.3))["distribution"]
    assert 0.93 * 0.09 < found.psi < 0.09


def test_independent_rows_make_it_pearsons_test() -> None:
    """The distance is X² over its sizes, and of independent rows its expectation is close to the cells less one."""
    reference, day = normal(2, 20_000), normal(3, 20_000)
    sketch = Sketch(reference_of(reference.column, reference.users))
    sketch.add(day.column, day.users)
    counts = sketch.counts[:, :-2], np.asarray(sketch.reference.counts)[:, :-2]
    found = gap(*counts)
    scale = 1 / found.day_rows + 1 / found.reference_rows
    pearson = chi2_contingency(np.stack([each.sum(0) for each in counts]), correction=False).statistic
    assert found.distance / scale == pytest.approx(pearson)
    assert found.expected / scale == pytest.approx(9, rel=0.2)
    assert found.freedom > 7
    assert found.n_effective == pytest.approx(20_000, rel=0.2)


def test_rows_that_are_repeated_tell_nothing_more() -> None:
    """Every row of reference and day ten times over: the same p, a tenth of the rows effective."""
    once = normal(4, 5000), normal(5, 2000, 0.1)
    tenfold = [Sample(np.repeat(each.column, 10), np.repeat(each.users, 10)) for each in once]
    found, again = findings(*once)["distribution"], findings(*tenfold)["distribution"]
    assert again.p == pytest.approx(found.p)
    assert again.n_effective == pytest.approx(found.n_effective)


@pytest.mark.parametrize(("before", "after", "direction"), [(0.0, 0.03, "higher"), (0.3, 0.12, "lower")])
def test_missing_values_are_found(before: float, after: float, direction: str) -> None:
    """More or fewer rows without a value alarm as such, and leave the distribution alone."""
    samples = [normal(6, 10_000), normal(7, 2000)]
    for sample, share in zip(samples, (before, after), strict=True):
        sample.column[: int(share * len(sample.column))] = np.nan
    found = findings(*samples)
    assert found["missing"].drifts
    assert found["missing"].direction == direction
    assert found["missing"].statistic == pytest.approx(after - before, abs=1e-3)
    assert not found["distribution"].drifts
    assert not found["unseen"].drifts


def test_a_few_missing_rows_of_one_user_are_chance() -> None:
    """Sixty rows without a value alarm when they are many users', and not when one user has them all."""
    reference, day = normal(8, 10_000), normal(9, 2000)
    day.column[:60] = np.nan
    assert findings(reference, day)["missing"].drifts
    day.users[:60] = day.users[0]
    assert not findings(reference, day)["missing"].drifts


def test_new_values_are_found_by_name() -> None:
    """A category that the reference does not know alarms; one that was rare all along does not."""
    random = np.random.default_rng(10)
    known = Sample(random.choice(np.array(["tea", "milk"]), 10_000), random.integers(0, 2**62, 10_000))
    day = Sample(random.choice(np.array(["tea", "milk", "mate"]), 2000, p=[0.48, 0.48, 0.04]), known.users[:2000])
    assert findings(known, day)["unseen"].drifts
    known.column[:400] = "mate"
    assert not findings(known, day)["unseen"].drifts
    assert findings(known, Sample(np.full(2000, "tea"), day.users))["distribution"].direction in {
        "more tea",
        "less milk",
    }


def test_numbers_beyond_the_reference_are_found() -> None:
    """A constant that becomes another, which no cell shows, is outside of the range."""
    reference, day = (Sample(np.full(n, value), np.arange(n)) for n, value in ((5000, 3.0), (1000, 4.0)))
    found = findings(reference, day)
    assert found["unseen"].drifts
    assert found["distribution"].p == 1.0
    assert not any(each.drifts for each in findings(reference, reference).values())


def test_looks_share_the_rate() -> None:
    """The tests of all looks at a day have together what is stated of the day."""
    found = findings(normal(0, 1000), normal(1, 1000), rate=0.01, looks=24)
    assert set(found) == set(SHARES)
    assert 24 * sum(each.threshold for each in found.values()) == pytest.approx(0.01)


def test_too_few_rows_say_nothing() -> None:
    """Below 200 rows there is no finding, not even of a column that is all different; a day of missing rows has two."""
    assert findings(normal(0, 1000), normal(1, FEWEST_ROWS - 1, 9.0)) == {}
    gone = Sample(np.full(1000, np.nan), np.arange(1000))
    assert findings(normal(0, 1000), gone)["missing"].drifts
    assert "distribution" not in findings(normal(0, 1000), gone)
    assert BLOCKS < FEWEST_ROWS

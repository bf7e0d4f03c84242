"""Drift: how often a stable stream alarms, beside what is stated, how small a shift is found, and what a row costs.

Made-up columns, each a function of a normal number whose mean a shift moves, in standard deviations. A feature-day has
a reference of 10,000 rows and a day of 2,000, both drawn anew. Beside it stands Pearson's test, which takes rows for
independent: what it does to rows that hang together by user is why blocks are counted. Powers are those of the test,
and those of an alarm, which asks for an effect that matters besides.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from rich.table import Table
from scipy.special import chdtrc

from scoring.watching.drift import RATE, Finding, drift, gap
from scoring.watching.sketch import Column, Reference, Sketch, reference_of

REFERENCE_ROWS, DAY_ROWS = 10_000, 2_000
# Beside the stated rate a greater one, which as many replays tell more about.
RATES = (RATE, 0.05)
SHIFTS_SD = (0.1, 0.25, 0.5)
# Rows of a day, and how many days are drawn in each round.
DAYS = {1_000: 40, 10_000: 20, 100_000: 4}
STABLE_DAYS = 200
ROWS_OF_A_USER, WITHIN_USER = 20, 0.3
SHAPES = ("normal", "zero-inflated counts", "categories", "clustered by user")
Users = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stable:
    """Feature-days without any drift; intervals are Wilson's, of 95 %. `tested` leaves the effect's size aside."""

    shape: str
    stated_rate: float
    feature_days: int
    tested: int
    alarms: int
    tested_rate: float
    tested_rate_low: float
    tested_rate_high: float
    pearson_rate: float


@dataclass(frozen=True, slots=True)
class Power:
    """The share of drifting feature-days that the test finds, and that are alarms."""

    shape: str
    rows: int
    shift_sd: float
    feature_days: int
    tested: float
    alarms: float


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of counting a row of a column, in blocks of 10,000 rows."""

    shape: str
    cpu_per_row_ns: float


@dataclass(frozen=True, slots=True)
class DriftBench:
    """What was measured; see the module."""

    source: str
    stable: tuple[Stable, ...]
    power: tuple[Power, ...]
    cost: tuple[Cost, ...]


def measure(home: Path, rounds: int) -> DriftBench:
    """Simulate 200 stable days of each column for each round; nothing in the home is needed."""
    return DriftBench(
        "simulated", tuple(_stable(rounds)), tuple(_power(rounds)), tuple(_cost(shape, rounds) for shape in SHAPES)
    )


def render(found: DriftBench) -> Table:
    """The figures as a table for people."""
    table = Table("column", "what", "found by the test", "alarms", title="simulated drift")
    for day in found.stable:
        table.add_row(
            day.shape,
            f"stable, {day.stated_rate:.1%} stated; Pearson {day.pearson_rate:.2%}",
            f"{day.tested_rate:.2%} [{day.tested_rate_low:.2%}, {day.tested_rate_high:.2%}]",
            f"{day.alarms} of {day.feature_days}",
        )
    for each in found.power:
        table.add_row(each.shape, f"{each.shift_sd} sd, {each.rows:,} rows", f"{each.tested:.2f}", f"{each.alarms:.2f}")
    for cost in found.cost:
        table.add_row(cost.shape, f"{cost.cpu_per_row_ns:.0f} ns of CPU per row", "", "")
    return table


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Wilson's interval of 95 % for a share (JASA 22, 1927)."""
    z = NormalDist().inv_cdf(0.975)
    middle, reach = hits + z * z / 2, z * np.sqrt(hits * (of - hits) / of + z * z / 4)
    return float((middle - reach) / (of + z * z)), float((middle + reach) / (of + z * z))


def drawn(random: np.random.Generator, shape: str, rows: int, shift_sd: float = 0.0) -> tuple[Column, Users]:
    """A column of this shape and the users of its rows."""
    z = random.standard_normal(rows) + shift_sd
    users = random.integers(0, 2**62, rows)
    if shape == "zero-inflated counts":
        return np.floor(np.exp(1.2 * z - 0.5)), users
    if shape == "categories":
        return np.array(list("abcdefgh"))[np.searchsorted([-1.5, -0.8, -0.3, 0.1, 0.5, 1.0, 1.8], z)], users
    if shape == "clustered by user":
        several = rows // ROWS_OF_A_USER
        own = np.repeat(random.standard_normal(several), ROWS_OF_A_USER)
        z = np.sqrt(WITHIN_USER) * own + np.sqrt(1 - WITHIN_USER) * (z - shift_sd) + shift_sd
        return z, np.repeat(random.integers(0, 2**62, several), ROWS_OF_A_USER)
    return z, users


def _sketched(random: np.random.Generator, reference: Reference, shape: str, rows: int, shift_sd: float) -> Sketch:
    sketch = Sketch(reference)
    sketch.add(*drawn(random, shape, rows, shift_sd))
    return sketch


def _is_found(findings: list[Finding]) -> bool:
    return any(each.p <= each.threshold for each in findings)


def _stable(rounds: int) -> Iterator[Stable]:
    for number, shape in enumerate(SHAPES):
        random = np.random.default_rng(number)
        sketches = []
        for _ in range(STABLE_DAYS * rounds):
            reference = reference_of(*drawn(random, shape, REFERENCE_ROWS))
            sketches.append(_sketched(random, reference, shape, DAY_ROWS, 0.0))
        for rate in RATES:
            found = [drift(shape, sketch, rate) for sketch in sketches]
            tested = sum(map(_is_found, found))
            alarms = sum(any(each.drifts for each in findings) for findings in found)
            pearson = sum(_pearson(sketch) <= rate for sketch in sketches) / len(sketches)
            of = len(sketches)
            yield Stable(shape, rate, of, tested, alarms, tested / of, *wilson(tested, of), pearson)


def _pearson(sketch: Sketch) -> float:
    """The p of the test that takes rows for independent."""
    found = gap(sketch.counts[:, :-2], np.asarray(sketch.reference.counts)[:, :-2])
    return float(chdtrc(len(found.day) - 1, found.distance / (1 / found.day_rows + 1 / found.reference_rows)))


def _power(rounds: int) -> Iterator[Power]:
    for number, shape in enumerate(SHAPES):
        random = np.random.default_rng(100 + number)
        reference = reference_of(*drawn(random, shape, REFERENCE_ROWS))
        for rows, days in DAYS.items():
            for shift_sd in SHIFTS_SD:
                of = days * rounds
                found = [drift(shape, _sketched(random, reference, shape, rows, shift_sd)) for _ in range(of)]
                alarms = sum(any(each.drifts for each in findings) for findings in found)
                yield Power(shape, rows, shift_sd, of, sum(map(_is_found, found)) / of, alarms / of)


def _cost(shape: str, rounds: int) -> Cost:
    random = np.random.default_rng(7)
    sketch = Sketch(reference_of(*drawn(random, shape, REFERENCE_ROWS)))
    column, users = drawn(random, shape, 10_000)
    started = time.process_time()
    for _ in range(20 * rounds):
        sketch.add(column, users)
    return Cost(shape, (time.process_time() - started) / (20 * rounds * len(column)) * 1e9)

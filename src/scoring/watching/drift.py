"""Whether a day's rows of a column differ from its reference by more than chance, and by enough to matter.

Three tests share the stated rate of false alarms of a feature and day: of the distribution over cells (80 %), of the
share that is missing (10 %), and of the share that is unseen (10 %). Looks at a day share it evenly (Bonferroni), so
the rate holds for the day however often it is looked at. An alarm also needs a population stability index of `GATE`
beyond what chance alone gives: so with many rows alarms are rarer than stated.

Chance is estimated from how 64 blocks of users differ, not from the number of rows, with day and reference paired in
each block. So it holds for rows that hang together by user, for users who are in both, and for samples of any sizes;
where rows are independent, the test is Pearson's of homogeneity. With about a hundred users in a day the far tail is an
approximation: 1.2 % at a stated 1 %, but 0.4 % at a stated 0.1 %, for 20 rows a user that correlate by 0.3.
"""

from dataclasses import dataclass
from statistics import NormalDist

import msgspec
import numpy as np
from scipy.special import betainc, fdtrc, stdtrit

from scoring.watching.sketch import BLOCKS, Bins, Floats, Sketch

# The share of stable feature-days with an alarm, and how the tests share it.
RATE = 0.001
SHARES = {"distribution": 0.8, "missing": 0.1, "unseen": 0.1}
# PSI beyond chance; 0.02 is what a shift by 0.14 standard deviations makes of a normal column (PSI = shift²).
GATE = 0.02
# Rows of a day, and of the reference, below which nothing is said: about three for each block.
FEWEST_ROWS = 200


class Finding(msgspec.Struct, frozen=True):
    """What one test says of one column and day.

    test         `distribution`, `missing` or `unseen`
    statistic    the distribution's F; else the share less the reference's
    p            the chance of so much or more where nothing has changed
    threshold    what p must not exceed for an alarm
    psi          population stability index; chance_psi is what is to be expected of it where nothing has changed
    direction    `higher`, `lower`; of categories, the value that changed most, after `more` or `less`
    n            rows that were compared; n_effective, how many independent rows tell as much
    drifts       whether it is an alarm
    """

    feature: str
    test: str
    statistic: float
    p: float
    threshold: float
    psi: float
    chance_psi: float
    direction: str
    n: float
    n_effective: float
    drifts: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """Day and reference beside each other; all are float64[cells] or numbers.

    distance        Σ (p − q)² / pooled share, Pearson's X² per row
    expected        what it is on the average by chance: the trace of the differences' covariance over pooled shares
    freedom         of the approximating χ²: trace² / trace of the square
    of_expected     degrees of freedom of `expected` as an estimate: fewer where few blocks make most of it
    """

    day: Floats
    reference: Floats
    day_rows: float
    reference_rows: float
    distance: float
    expected: float
    freedom: float
    of_expected: float

    @property
    def psi(self) -> float:
        """Σ (p − q) ln(p / q), of shares that are smoothed by half a row in each cell (Jeffreys' prior).

        Source: Siddiqi, Credit Risk Scorecards (2006), on stability; it is the J-divergence of Jeffreys (1946).
        """
        half = 0.5 * len(self.day)
        p = (self.day * self.day_rows + 0.5) / (self.day_rows + half)
        q = (self.reference * self.reference_rows + 0.5) / (self.reference_rows + half)
        return float(((p - q) * np.log(p / q)).sum())

    @property
    def n_effective(self) -> float:
        """Rows of the day over the design effect (Kish 1965)."""
        independent = (len(self.day) - 1) * (1 / self.day_rows + 1 / self.reference_rows)
        return self.day_rows * independent / self.expected if self.expected > 0 else self.day_rows


def drift(feature: str, sketch: Sketch, rate: float = RATE, looks: int = 1) -> list[Finding]:
    """What each test says; none where day or reference have fewer than 200 rows.

    `rate` is that of false alarms per feature and day, and `looks` is how often a day is asked about.
    """
    day, reference = sketch.counts, np.asarray(sketch.reference.counts)
    if min(day[:, :-1].sum(), reference[:, :-1].sum()) < FEWEST_ROWS:
        return []
    levels = {test: share * rate / looks for test, share in SHARES.items()}
    found = [
        _of_share(feature, "missing", day, reference, levels["missing"]),
        _of_share(feature, "unseen", day, reference, levels["unseen"]),
    ]
    if min(day[:, :-2].sum(), reference[:, :-2].sum()) >= FEWEST_ROWS:
        found.insert(0, _of_distribution(feature, sketch, reference, levels["distribution"]))
    return found


def gap(day: Floats, reference: Floats) -> Gap:
    """Compare counts by block, float64[64, cells] each; cells that are empty in both are left out.

    Shares are ratios, and blocks are what was sampled, so the covariance is theirs, by the jackknife (Wolter,
    Introduction to Variance Estimation, 1985, 4). The trace of the square is corrected for
    being estimated from 63 degrees of freedom (Bai and Saranadasa, Statistica Sinica 6, 1996, 3.1).
    """
    there = (day.sum(0) + reference.sum(0)) > 0
    day, reference = day[:, there], reference[:, there]
    n, m = day.sum(), reference.sum()
    p, q = day.sum(0) / n, reference.sum(0) / m
    pooled = (n * p + m * q) / (n + m)
    scaled = (_influence(day, p) - _influence(reference, q)) / np.sqrt(pooled)
    covariance = BLOCKS / (BLOCKS - 1) * scaled.T @ scaled
    trace, free = float(np.trace(covariance)), BLOCKS - 1
    square = free**2 / ((free - 1) * (free + 2)) * (float((covariance**2).sum()) - trace**2 / free)
    most = max(len(p) - 1.0, 1.0)
    freedom = float(np.clip(trace**2 / square, 1.0, most)) if square > 0 else most
    parts = (scaled**2).sum(1)
    spread = float(((parts - parts.mean()) ** 2).sum())
    of_expected = min(2 * float(parts.sum()) ** 2 / spread if spread > 0 else np.inf, freedom * free)
    return Gap(p, q, float(n), float(m), float(((p - q) ** 2 / pooled).sum()), trace, freedom, of_expected)


def _influence(counts: Floats, shares: Floats) -> Floats:
    """float64[64, cells], by how much the shares would change without a block: the jackknife, which few and unequal
    blocks ask for.
    """
    rows = counts.sum(1, keepdims=True)
    changed: Floats = (counts - rows * shares) / np.maximum(rows.sum() - rows, 1.0)
    return changed


def _of_distribution(feature: str, sketch: Sketch, reference: Floats, level: float) -> Finding:
    """Rao and Scott's test of second order, as F (Annals of Statistics 12, 1984; Thomas and Rao, JASA 82, 1987).

    The distance is a sum of χ² with unequal weights. Over its expectation it is F with as many degrees of freedom as
    χ² of the same mean and variance (Satterthwaite 1946); so are those of the expectation, as blocks vary around it.
    """
    found = gap(sketch.counts[:, :-2], reference[:, :-2])
    # Without any chance in it (all rows alike), there is a difference for sure or none at all.
    statistic = found.distance / found.expected if found.expected > 0 else (np.inf if found.distance > 0 else 0.0)
    p = float(fdtrc(found.freedom, found.of_expected, statistic))
    towards = _direction(sketch, reference)
    return _finding(feature, "distribution", found, float(statistic), p, level, towards)


def _of_share(feature: str, test: str, day: Floats, reference: Floats, level: float) -> Finding:
    """Two small counts against each other: conditional on their sum, the day's is binomial (Przyborowski and Wilenski,
    Biometrika 31, 1940), and it stays exact in the tail where a normal approximation is wrong by far.

    Counts are divided by what their variance is over Poisson's, as Korn and Graubard do (Survey Methodology 24, 1998),
    with their factor for its being estimated. Of what is unseen only more is an alarm.
    """
    column = -2 if test == "missing" else -1
    found = gap(*(_two_cells(counts, column) for counts in (day, reference)))
    is_more = bool(found.day[0] >= found.reference[0]) if len(found.day) == 2 else True
    rows, others = float(day[:, column].sum()), float(reference[:, column].sum())
    p = _tail(found, rows, others, level, is_more=is_more)
    if test == "missing":
        p = min(1.0, 2 * p)
    elif not is_more:
        p = 1.0
    n, m = found.day_rows, found.reference_rows
    return _finding(feature, test, found, rows / n - others / m, p, level, "higher" if is_more else "lower")


def _tail(found: Gap, rows: float, others: float, level: float, *, is_more: bool) -> float:
    """The chance of a count so extreme on its side, given the sum of both."""
    if rows + others == 0:
        return 1.0
    n, m = found.day_rows, found.reference_rows
    # Pearson's expectation for two cells is V / (share × (1 − share)); Poisson's variance is share × (1/n + 1/m).
    absent = 1 - (rows + others) / (n + m)
    over = absent * max(1.0, found.expected / (1 / n + 1 / m)) if absent > 0 else 1.0
    over *= (float(stdtrit(BLOCKS - 1, 1 - level / 2)) / NormalDist().inv_cdf(1 - level / 2)) ** 2
    chance = n / (n + m)
    if not is_more:
        rows, others, chance = others, rows, 1 - chance
    return float(betainc(rows / over, others / over + 1, chance)) if rows > 0 else 1.0


def _two_cells(counts: Floats, column: int) -> Floats:
    """float64[64, 2]: rows of this column of a sketch, and all others."""
    return np.stack([counts[:, column], counts[:, :-1].sum(1) - counts[:, column]], axis=1)


def _direction(sketch: Sketch, reference: Floats) -> str:
    """Where a distribution went; see `Finding`."""
    day, before = sketch.counts[:, :-2].sum(0), reference[:, :-2].sum(0)
    moved = day / day.sum() - before / before.sum()
    if isinstance(sketch.reference.scale, Bins):
        return "higher" if moved @ np.arange(len(moved)) > 0 else "lower"
    most = int(np.argmax(np.abs(moved)))
    values = (*sketch.reference.scale.frequent, "others")
    return f"{'more' if moved[most] > 0 else 'less'} {values[most]}"


def _finding(feature: str, test: str, found: Gap, statistic: float, p: float, level: float, direction: str) -> Finding:
    matters = found.psi - found.expected >= GATE
    return Finding(
        feature, test, statistic, p, level, found.psi, found.expected, direction,
        found.day_rows, found.n_effective, p <= level and matters,
    )  # fmt: skip

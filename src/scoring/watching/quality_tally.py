"""What is kept of the rows of one window: sums by buckets of users, and counts by bins of margins.

    margins, labels ──┬─▶ sums   float64[BUCKETS, 2 + 7 per judged]     means, and intervals that respect users
                      └─▶ bins   float64[judged, 3, BINS]               AUC and calibration

Every term is rounded to a multiple of 2⁻²⁰ before it is added: sums below 2³³ are then exact. Rows may come in any
order and tallies be merged in any way, the bits stay the same; a mean is off by 2⁻²¹ at most. That holds for 100
million rows of the greatest loss that a margin can make.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from behavior.calibration import propensities
from scoring.watching.margin_bins import BINS, bins_of
from scoring.watching.user_buckets import BUCKETS

# What stands in the first columns of the sums, for all that is judged alike.
ROWS, POSITIVES = 0, 1
_ALIKE = 2
_EXACT = 2.0**20


class Judged(IntEnum):
    """What is judged: the batch model, its sum with the correction, and the correction alone, on the base rate."""

    BATCH = 0
    SUM = 1
    LEARNER = 2


class Sum(IntEnum):
    """What is added up of each that is judged; of probability p, margin m and label y.

    LOSS               −log of the probability of what came
    SQUARE             (p − y)², Brier's score
    PREDICTED          p
    EXPECTED_LOSS      the mean of the loss if p is right, the entropy of p
    SPREAD             p (1 − p): the variance of y, and the mean of the square, if p is right
    LOSS_VARIANCE      p (1 − p) m², of the loss if p is right
    SQUARE_VARIANCE    p (1 − p) (1 − 2 p)², of the square if p is right

    What needs labels is 0 where there are none.
    """

    LOSS = 0
    SQUARE = 1
    PREDICTED = 2
    EXPECTED_LOSS = 3
    SPREAD = 4
    LOSS_VARIANCE = 5
    SQUARE_VARIANCE = 6


def column(judged: Judged, what: Sum) -> int:
    """Where it stands in the sums of a tally."""
    return _ALIKE + len(Sum) * judged + what


@dataclass(frozen=True, slots=True)
class Rows:
    """What n rows add to a tally, be it that of their placement or of all together.

    buckets    intp[n], of their users
    terms      float64[n, 2 + 7 judged], in the order of the sums
    counted    float64[judged, 3, BINS]
    """

    buckets: np.ndarray
    terms: np.ndarray
    counted: np.ndarray

    @classmethod
    def of(cls, buckets: np.ndarray, margins: np.ndarray, labels: np.ndarray | None = None) -> "Rows":
        """Rows of margins float64[n, judged] and, where they are known, labels bool[n]."""
        n, judged = margins.shape
        p = propensities(margins)
        seen = np.zeros(n) if labels is None else labels.astype(np.float64)
        terms = np.column_stack([np.ones(n), seen, _terms(margins, p, labels).reshape(n, -1)])
        # By judged, what is counted, and bin.
        weights = np.stack([np.ones_like(p), _rounded(p), np.broadcast_to(seen[:, None], p.shape)], axis=2)
        where = bins_of(margins)[:, :, None] + BINS * np.arange(3 * judged).reshape(judged, 3)
        counted = np.bincount(where.ravel(), weights.ravel(), 3 * judged * BINS).reshape(judged, 3, BINS)
        return cls(buckets, _rounded(terms), counted)


class Tally:
    """The sums and counts of rows; `judged` says how many of `Judged`, from the first on.

    sums   float64[BUCKETS, 2 + 7 judged]: rows, positives, and by `column`
    bins   float64[judged, 3, BINS]: rows, the sum of their probabilities, positives

    >>> tally = Tally(1)
    >>> tally.add(Rows.of(np.array([3, 3]), np.array([[0.0], [0.0]]), np.array([True, False])))
    >>> tally.rows, tally.positives, tally.sums[3, column(Judged.BATCH, Sum.SQUARE)].item()
    (2, 1, 0.5)
    """

    def __init__(self, judged: int) -> None:
        self.sums = np.zeros((BUCKETS, _ALIKE + len(Sum) * judged))
        self.bins = np.zeros((judged, 3, BINS))
        self.rows = self.positives = 0

    def add(self, rows: Rows) -> None:
        """Take rows."""
        np.add.at(self.sums, rows.buckets, rows.terms)
        self.bins += rows.counted
        self.rows += len(rows.buckets)
        self.positives += int(rows.terms[:, POSITIVES].sum())

    def merge(self, other: "Tally") -> None:
        """Add what another has kept."""
        self.sums += other.sums
        self.bins += other.bins
        self.rows += other.rows
        self.positives += other.positives

    def numbers(self) -> tuple[float, ...]:
        """All of it, one after the other."""
        return (*self.sums.ravel().tolist(), *self.bins.ravel().tolist())

    @classmethod
    def of(cls, judged: int, numbers: tuple[float, ...]) -> "Tally":
        """The tally of these numbers."""
        tally = cls(judged)
        size = tally.sums.size
        tally.sums = np.array(numbers[:size]).reshape(tally.sums.shape)
        tally.bins = np.array(numbers[size:]).reshape(tally.bins.shape)
        tally.rows = int(tally.sums[:, ROWS].sum())
        tally.positives = int(tally.sums[:, POSITIVES].sum())
        return tally


def mean_of(added: int, taken: int | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """The statistic that is the mean over rows of one column of sums, less that of another."""

    def mean(sums: np.ndarray) -> np.ndarray:
        difference = sums[..., added] if taken is None else sums[..., added] - sums[..., taken]
        found: np.ndarray = difference / sums[..., ROWS]
        return found

    return mean


def _rounded(terms: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.rint(terms * _EXACT) / _EXACT
    return rounded


def _terms(margins: np.ndarray, p: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """The terms float64[n, judged, 7] of the sums, in the order of `Sum`."""
    spread = p * (1.0 - p)
    expected = np.logaddexp(0.0, margins) - p * margins
    if labels is None:
        loss = square = np.zeros_like(p)
    else:
        missed = p - labels[:, None]
        loss, square = expected + missed * margins, missed * missed
    # Far out the entropy is a difference of large numbers: no loss and no entropy is below 0.
    means = (np.maximum(loss, 0.0), square, p, np.maximum(expected, 0.0), spread)
    return np.stack([*means, spread * margins * margins, spread * (1.0 - 2.0 * p) ** 2], axis=-1)

"""Quality before labels come: what calibrated scores say of themselves, and whether labels then part from it.

If a row of probability p comes to something with probability p, the mean of each measure is known without labels. Over
n rows of margin m:

    positives    Σ p                            varying by Σ p (1 − p)
    log loss     Σ entropy(p) / n                          Σ p (1 − p) m² / n²
    Brier        Σ p (1 − p) / n                           Σ p (1 − p) (1 − 2 p)² / n²
    AUC          of p expected positives and 1 − p expected negatives in each row's bin, varying as in `area_variance`

Confidence-based performance estimation (CBPE): Białek et al., "Estimating Model Performance Under Covariate Shift
Without Labels", 2024 (arXiv:2401.08348), as NannyML has it. It follows a shift of who comes and what is shown, but is
blind to a change of what scores mean: only labels tell that, and `Parting` is where they do.

The variances hold for rows that are independent given their scores. Those of a user are not, so that they are
multiplied by the design effect (Kish, "Survey Sampling", 1965, section 8.2) that labelled rows have shown: the variance
of realised − expected between buckets of users, over that of independent rows. It carries over where users have about
as many rows. With 300 users intervals of 95 % then hold what labels show in 93 %, and in 75 to 79 % without; that of
the AUC, which takes the greatest effect, is too wide.
"""

import math
from dataclasses import dataclass

import numpy as np

from behavior.event import DAY_US
from scoring.crosses import MAX_MARGIN
from scoring.watching.margin_bins import area, area_variance
from scoring.watching.quality_tally import POSITIVES, Judged, Rows, Sum, Tally, column, mean_of
from scoring.watching.quality_windows import QualityWindows
from scoring.watching.user_buckets import BUCKETS, LEVEL, Estimate, around, bucket_of, jackknife

# Four measures are compared: each at such a level that one of them parts by chance in one of 20 looks at most.
_MEASURES = 4
_FREEDOM = BUCKETS - 1


@dataclass(frozen=True, slots=True)
class Effects:
    """How many times the variance of independent rows the rows of users have, by measure; 1 or more."""

    positives: float = 1.0
    log_loss: float = 1.0
    brier: float = 1.0

    @property
    def greatest(self) -> float:
        """That of a measure for which none was seen."""
        return max(self.positives, self.log_loss, self.brier)


@dataclass(frozen=True, slots=True)
class Expected:
    """How good something is if its probabilities are right; intervals are of what labels will show."""

    rows: int
    positives: Estimate
    log_loss: Estimate
    brier: Estimate
    auc: Estimate


@dataclass(frozen=True, slots=True)
class Parting:
    """Realised − expected, on the same labelled rows: all 0, within their intervals, as long as scores can be believed.

    positives    of the share of positives
    """

    positives: Estimate
    log_loss: Estimate
    brier: Estimate
    auc: Estimate

    @property
    def parts(self) -> tuple[str, ...]:
        """The measures of which what came is not what was expected; none, if all is well, in 19 of 20 looks."""
        measures = {
            "positives": self.positives,
            "log_loss": self.log_loss,
            "brier": self.brier,
            "auc": self.auc,
        }
        return tuple(name for name, each in measures.items() if each.excludes_zero)


class ExpectedQuality(QualityWindows):
    """Adds up the scores of what was shown, in the order of the log: of the batch model, and of its sum.

    span_us    how long a window is, µs of event time

    Pure; the state is that of `QualityWindows`, with tallies of 2 judged: 4.4 MB at most.

    >>> shown = ExpectedQuality()
    >>> shown.take("u1", "home", 0, np.array([0.0, 0.0]), np.array([0.0, 0.0]))
    >>> found = expected(shown.over("home"), Judged.BATCH)
    >>> found.rows, found.positives.value, found.brier.value
    (2, 1.0, 0.25)
    """

    def __init__(self, span_us: int = DAY_US) -> None:
        super().__init__(2, span_us)

    def take(self, user_id: str, placement: str, t: int, margins: np.ndarray, corrections: np.ndarray) -> None:
        """Take what was shown to a user at t (µs): calibrated margins [n] of the batch model, and corrections [n].

        What is too late for the held windows, or whose margin is no number or far out, is counted as left out.
        """
        both = np.stack([margins, margins + corrections], axis=1).astype(np.float64)
        sane = both[(np.abs(both) <= MAX_MARGIN).all(axis=1)]
        tallies = self.open(placement, t) if len(sane) else ()
        if tallies:
            rows = Rows.of(np.full(len(sane), bucket_of(user_id)), sane)
            for tally in tallies:
                tally.add(rows)
        self._left_out += len(both) - (len(sane) if tallies else 0)


def expected(tally: Tally, judged: Judged, effects: Effects | None = None, level: float = LEVEL) -> Expected:
    """How good it is on the rows of a tally, labelled or not, if its probabilities are right; NaN where there are none.

    effects    as `effects_of` tells them from labelled rows; without any, rows count as independent
    """
    effects = effects or Effects()
    rows, predicted, _ = tally.bins[judged]
    n = tally.rows or math.nan

    def estimate(mean: Sum, variance: Sum, effect: float, over: float) -> Estimate:
        error = math.sqrt(_total(tally, judged, variance) * effect) / over
        return around(_total(tally, judged, mean) / over, error, _FREEDOM, level)

    error = math.sqrt(area_variance(predicted, rows - predicted) * effects.greatest)
    return Expected(
        rows=tally.rows,
        positives=estimate(Sum.PREDICTED, Sum.SPREAD, effects.positives, 1.0),
        log_loss=estimate(Sum.EXPECTED_LOSS, Sum.LOSS_VARIANCE, effects.log_loss, n),
        brier=estimate(Sum.SPREAD, Sum.SQUARE_VARIANCE, effects.brier, n),
        auc=around(area(predicted, rows - predicted).value, error, _FREEDOM, level),
    )


def effects_of(tally: Tally, judged: Judged) -> Effects:
    """The design effects that the labelled rows of a tally show; 1 where there are too few users to tell."""
    positives, log_loss, brier = _differences(tally, judged, LEVEL)
    return Effects(
        _effect(tally, positives, _total(tally, judged, Sum.SPREAD)),
        _effect(tally, log_loss, _total(tally, judged, Sum.LOSS_VARIANCE)),
        _effect(tally, brier, _total(tally, judged, Sum.SQUARE_VARIANCE)),
    )


def parting(tally: Tally, judged: Judged, level: float = LEVEL) -> Parting:
    """How far labels part from what was expected of the same rows; `level` is that of all four intervals together."""
    each = 1.0 - (1.0 - level) / _MEASURES  # Bonferroni
    rows, _, positives = tally.bins[judged]
    hoped = expected(tally, judged, effects_of(tally, judged), each).auc
    apart = area(positives, rows - positives).value - hoped.value
    return Parting(*_differences(tally, judged, each), around(apart, hoped.error, _FREEDOM, each))


def _differences(tally: Tally, judged: Judged, level: float) -> tuple[Estimate, Estimate, Estimate]:
    """Realised − expected of the share of positives, the log loss and Brier's score."""

    def difference(realised: int, hoped: Sum) -> Estimate:
        return jackknife(tally.sums, mean_of(realised, column(judged, hoped)), level)

    return (
        difference(POSITIVES, Sum.PREDICTED),
        difference(column(judged, Sum.LOSS), Sum.EXPECTED_LOSS),
        difference(column(judged, Sum.SQUARE), Sum.SPREAD),
    )


def _effect(tally: Tally, difference: Estimate, variance: float) -> float:
    seen = (difference.error * tally.rows) ** 2
    return max(seen / variance, 1.0) if variance and math.isfinite(seen) else 1.0


def _total(tally: Tally, judged: Judged, what: Sum) -> float:
    return float(tally.sums[:, column(judged, what)].sum())

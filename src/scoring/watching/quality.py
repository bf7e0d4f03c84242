"""Quality as outcomes arrive: of the batch model, of what was learned on top, and of their sum.

Each labelled example is judged before it is learned, so that nothing is judged by what it has seen (prequential: Dawid,
"Statistical Theory: The Prequential Approach", JRSS A 147, 1984). Three margins are judged by its label:

    batch      the example's margin
    sum        margin + correction
    learner    logit of the base rate + correction        the base rate is that of the held windows, before this example

Whether the learner helps is told as a difference of losses of the same examples, with an interval that respects users.
Pure; the state is that of `QualityWindows`, bit for bit the same after a restart at any example. Merged, what each has
judged is added up; its base rate is that of what it has seen itself.
"""

import math
from dataclasses import dataclass

import numpy as np

from behavior.calibration import Calibration
from behavior.event import DAY_US
from scoring.crosses import MAX_MARGIN
from scoring.example import Example
from scoring.watching.calibration_curve import CalibrationError, Reliability, calibration_error, curve, recalibration
from scoring.watching.margin_bins import Area, area
from scoring.watching.quality_tally import POSITIVES, Judged, Rows, Sum, Tally, column, mean_of
from scoring.watching.quality_windows import QualityWindows
from scoring.watching.user_buckets import LEVEL, Estimate, bucket_of, jackknife


@dataclass(frozen=True, slots=True)
class Realised:
    """How good something was, by the labels that have come.

    log_loss, brier    means over rows
    in_the_large       mean probability − share of positives: 0 if calibrated in the large (Cox, Biometrika 45, 1958)
    auc                with what binning may have cost; without an interval of users, which would need rows by bucket
    curve, calibration_error    of the reliability curve
    recalibration      what would mend the margins; None if nothing can
    """

    rows: int
    positives: int
    log_loss: Estimate
    brier: Estimate
    in_the_large: Estimate
    auc: Area
    curve: tuple[Reliability, ...]
    calibration_error: CalibrationError
    recalibration: Calibration | None


@dataclass(frozen=True, slots=True)
class Gain:
    """What the learner has changed: sum − batch on the same rows; losses below 0 and an AUC above 0 are for the better.

    auc    the difference, within the sum of what binning may have cost
    """

    log_loss: Estimate
    brier: Estimate
    auc: Area

    @property
    def helps(self) -> bool | None:
        """Whether the learner helps by its log loss; None as long as the interval holds 0, or there are few users."""
        return self.log_loss.value < 0.0 if self.log_loss.excludes_zero else None


class Quality(QualityWindows):
    """Judges labelled examples in the order of the log.

    span_us    how long a window is, µs of event time

    >>> words = ("loyal", "home", 1, "category", "TEA", "TEA", "evening", "mon", "phone", "front")
    >>> quality = Quality()
    >>> for user in range(100):
    ...     is_bought = user % 2 == 0
    ...     example = Example(f"r{user}", f"u{user}", *words, user, -1.0, "", 0.0, True, is_bought)
    ...     quality.take(example, correction=1.0)
    >>> gain(quality.over("home")).helps  # a margin of 0 instead of -1, where one half is bought
    True
    """

    def __init__(self, span_us: int = DAY_US) -> None:
        super().__init__(len(Judged), span_us)

    def take(self, example: Example, correction: float) -> None:
        """Judge an example before it is learned; `correction` is that of the learner as it is then, in logits.

        Without a label nothing is judged. What is too late for the held windows, or whose margin is no number or far
        out, is counted as left out.
        """
        if example.label is None:
            return
        is_sane = abs(example.margin) <= MAX_MARGIN and abs(correction) <= MAX_MARGIN
        base = self._base_margin()  # before a new window takes the oldest away
        tallies = self.open(example.placement, example.t) if is_sane else ()
        if not tallies:
            self._left_out += 1
            return
        bucket, label = np.array([bucket_of(example.user_id)]), np.array([example.label])
        margins = np.array([[example.margin, example.margin + correction, base + correction]])
        rows = Rows.of(bucket, margins, label)
        for tally in tallies:
            tally.add(rows)

    def _base_margin(self) -> float:
        """The logit of the share of positives, from half a row of each on."""
        rows, positives = self.counts
        return math.log((positives + 0.5) / (rows - positives + 0.5))


def realised(tally: Tally, judged: Judged, level: float = LEVEL) -> Realised:
    """How good it was on the labelled rows of a tally; NaN where there are none, intervals at `level`."""

    def mean(what: Sum) -> Estimate:
        return jackknife(tally.sums, mean_of(column(judged, what)), level)

    rows, predicted, positives = tally.bins[judged]
    found = curve(rows, predicted, positives)
    return Realised(
        rows=tally.rows,
        positives=tally.positives,
        log_loss=mean(Sum.LOSS),
        brier=mean(Sum.SQUARE),
        in_the_large=jackknife(tally.sums, mean_of(column(judged, Sum.PREDICTED), POSITIVES), level),
        auc=area(positives, rows - positives),
        curve=found,
        calibration_error=calibration_error(found),
        recalibration=recalibration(rows, predicted, positives),
    )


def gain(tally: Tally, level: float = LEVEL) -> Gain:
    """What the learner has changed on the labelled rows of a tally, intervals at `level`."""

    def difference(what: Sum) -> Estimate:
        return jackknife(tally.sums, mean_of(column(Judged.SUM, what), column(Judged.BATCH, what)), level)

    batch, both = (area(bins[2], bins[0] - bins[2]) for bins in tally.bins[[Judged.BATCH, Judged.SUM]])
    return Gain(
        log_loss=difference(Sum.LOSS),
        brier=difference(Sum.SQUARE),
        auc=Area(both.value - batch.value, both.within + batch.within),
    )

"""Calibration from binned margins: the reliability curve, how far it lies from the diagonal, and what would mend it.

Counts are float64[BINS] as in `margin_bins`: rows, the sum of their probabilities, and positives.
"""

import math
from dataclasses import dataclass

import numpy as np

from behavior.calibration import Calibration, propensities

# How many bins of about equally many rows a curve is made of.
CURVE = 15
_ROUNDS = 50
_ENOUGH = 1e-9
# Rows that count as half in each class at margin 0: a curve without one of the classes has no best calibration.
_LEAN = 1.0


@dataclass(frozen=True, slots=True)
class Reliability:
    """One bin of the curve: how many rows, their mean probability, and the share of positives that was seen."""

    rows: int
    predicted: float
    seen: float


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """The expected calibration error, and what it would be on average by chance, were the model calibrated."""

    value: float
    by_chance: float

    @property
    def beyond_chance(self) -> float:
        """What is left of the error when chance is taken off, at least 0."""
        return max(self.value - self.by_chance, 0.0)


def curve(rows: np.ndarray, predicted: np.ndarray, positives: np.ndarray) -> tuple[Reliability, ...]:
    """The reliability curve, from the lowest probabilities up: at most CURVE bins, equally full as far as may be.

    A bin of the curve is a run of bins of margins, none of which is split.
    """
    held = rows > 0
    if not held.any():
        return ()
    counts = np.stack([rows[held], predicted[held], positives[held]])
    middles = np.cumsum(counts[0]) - counts[0] / 2.0
    of_curve = np.floor(CURVE * middles / counts[0].sum())
    starts = np.flatnonzero(np.diff(of_curve, prepend=-1.0))
    runs = np.add.reduceat(counts, starts, axis=1).T.tolist()
    return tuple(Reliability(int(n), p / n, y / n) for n, p, y in runs)


def calibration_error(found: tuple[Reliability, ...]) -> CalibrationError:
    """The mean of |predicted − seen| over rows, and what finite bins of a calibrated model give.

    Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015. The plain error is
    biased upwards: a bin of n rows is off by the mean of |Normal(0, p (1 − p) / n)|, √(2 p (1 − p) / (π n)), by chance
    alone; that is for rows that are independent, and more where users' rows are not. On such bias: Bröcker, "Estimating
    reliability and resolution of probability forecasts", Climate Dynamics 39, 2012.

    >>> calibration_error((Reliability(100, 0.5, 0.6),)).by_chance == math.sqrt(0.5 / (math.pi * 100))
    True
    """
    total = sum(each.rows for each in found)
    if not total:
        return CalibrationError(math.nan, math.nan)
    error = sum(each.rows * abs(each.predicted - each.seen) for each in found) / total
    chance = sum(math.sqrt(2.0 * each.rows * each.predicted * (1.0 - each.predicted) / math.pi) for each in found)
    return CalibrationError(error, chance / total)


def recalibration(rows: np.ndarray, predicted: np.ndarray, positives: np.ndarray) -> Calibration | None:
    """The slope and intercept that would mend the margins, 1 and 0 if nothing is to mend; None if there are none.

    Cox, "Two further applications of a model for binary regression", Biometrika 45, 1958: logistic regression of the
    labels on the margin, here that of the bin's mean probability, by Newton's method. A slope below 1 says that margins
    are too extreme. Without an increasing relation there is nothing to mend with.
    """
    held = rows > 0
    if not held.any():
        return None
    share = np.clip(predicted[held] / rows[held], 1e-12, 1.0 - 1e-12)
    x = np.append(np.log(share / (1.0 - share)), 0.0)
    n, y = np.append(rows[held], _LEAN), np.append(positives[held], _LEAN / 2.0)
    line = np.stack([x, np.ones_like(x)])
    point = np.array([1.0, 0.0])
    for _ in range(_ROUNDS):
        p = propensities(point @ line)
        hessian = (line * (n * p * (1.0 - p))) @ line.T + _ENOUGH * np.eye(2)
        step = np.linalg.solve(hessian, line @ (y - n * p))
        point = point + np.clip(step, -1.0, 1.0)  # far from the solution a whole step may lead astray
        if np.abs(step).max() <= _ENOUGH:
            break
    slope, intercept = (float(each) for each in point)
    return Calibration(slope, intercept) if slope > 0.0 and math.isfinite(slope + intercept) else None

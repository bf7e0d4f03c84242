"""The curves of a report from measured rows, with bands from resampled users: ROC, precision and recall, lift,
reliability.

Rows are counted once, per user and propensity bin. A replicate is then one row of a product of matrices, however many
rows there are. Bins are cut at quantiles, ten times finer at the top, where precision is decided.
"""

from dataclasses import dataclass

import numpy as np

from behavior.calibration import propensities
from training.measured import Measured
from training.metrics import BINS, user_replicates

GRID = np.linspace(0, 1, 101)
DECILES = 10
# Quantiles at which bins of propensity are cut: hundredths up to 0.9, then finer up to the top 0.01 %.
_CUTS = np.concatenate([np.arange(1, 91) / 100, 1 - np.geomspace(0.1, 1e-4, 61)[1:]])
_USERS = 4096  # users whose counts are in memory at a time


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """y over x float64[p], with the band [low, high] that holds 95 % of the replicates at each x."""

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """What was said and what came true in b bins of about equal mass: mean, share float64; rows, positives int64."""

    mean: np.ndarray
    share: np.ndarray
    rows: np.ndarray
    positives: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error of these bins."""
        return float(np.average(np.abs(self.mean - self.share), weights=self.rows))


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """All curves of one model; `lift` is that of the deciles 1 (the greatest propensities) to 10."""

    roc: Curve
    precision: Curve
    lift: Curve
    before: Reliability
    after: Reliability
    positive_share: float


def curves(measured: Measured, *, replicates: int, seed: int = 1) -> Curves:
    """The curves of one model's answers on rows of both labels."""
    positives, negatives = _counts(measured, replicates, seed)
    return Curves(
        roc=_roc(positives, negatives),
        precision=_precision(positives, negatives),
        lift=_lift(positives, negatives),
        before=_reliability(measured.label, propensities(measured.margin)),
        after=_reliability(measured.label, measured.propensity),
        positive_share=float(measured.label.mean()),
    )


def _counts(measured: Measured, replicates: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives float64[1 + replicates, bins], the greatest propensities first; row 0 is undrawn."""
    edges = np.unique(np.quantile(measured.propensity, _CUTS, method="inverted_cdf"))
    bins = len(edges) + 1
    place = bins - 1 - np.searchsorted(edges, measured.propensity, side="left")
    users, user = np.unique(measured.user, return_inverse=True)
    weights = np.vstack([np.ones((1, len(users)), np.int32), user_replicates(len(users), replicates, seed)])
    order = np.argsort(user, kind="stable")
    cell = (place * 2 + measured.label)[order]
    bounds = np.searchsorted(user[order], np.arange(0, len(users) + _USERS, _USERS))
    total = np.zeros((len(weights), bins * 2))
    for block, start in enumerate(range(0, len(users), _USERS)):
        stretch = slice(bounds[block], bounds[block + 1])
        size = min(_USERS, len(users) - start)
        inside = (user[order][stretch] - start) * bins * 2 + cell[stretch]
        counted = np.bincount(inside, minlength=size * bins * 2).reshape(size, bins * 2)
        total += weights[:, start : start + size].astype(np.float64) @ counted
    return total[:, 1::2], total[:, 0::2]


def _roc(positives: np.ndarray, negatives: np.ndarray) -> Curve:
    """True positive rate over false positive rate."""
    hits, alarms = _cumulated(positives), _cumulated(negatives)
    return _band(GRID, [np.interp(GRID, x, y) for x, y in zip(alarms, hits, strict=True)])


def _precision(positives: np.ndarray, negatives: np.ndarray) -> Curve:
    """Precision over recall."""
    found = np.cumsum(positives, axis=1)
    precision = found / np.maximum(found + np.cumsum(negatives, axis=1), 1)
    recall = found / np.maximum(found[:, -1:], 1)
    grid = GRID[1:]
    return _band(grid, [np.interp(grid, x, y) for x, y in zip(recall, precision, strict=True)])


def _lift(positives: np.ndarray, negatives: np.ndarray) -> Curve:
    """Share of positives in each tenth of the rows, over the share in all rows."""
    rows = positives + negatives
    base = positives.sum(axis=1) / np.maximum(rows.sum(axis=1), 1)
    lifts = []
    for p, n, share in zip(positives, rows, base, strict=True):
        # A bin that a decile's bound cuts through gives each side its part: equal propensities have no order.
        upto = np.interp(np.linspace(0, n.sum(), DECILES + 1), np.append(0, np.cumsum(n)), np.append(0, np.cumsum(p)))
        lifts.append(np.diff(upto) / (n.sum() / DECILES) / max(share, 1e-12))
    return _band(np.arange(1, DECILES + 1), lifts)


def _reliability(label: np.ndarray, propensity: np.ndarray) -> Reliability:
    edges = np.unique(np.quantile(propensity, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    place = np.searchsorted(edges, propensity, side="left")
    rows = np.bincount(place, minlength=len(edges) + 1)
    some = rows > 0
    mean = np.bincount(place, weights=propensity, minlength=len(rows))[some] / rows[some]
    positives = np.bincount(place, weights=label, minlength=len(rows))[some]
    return Reliability(mean, positives / rows[some], rows[some], positives.astype(np.int64))


def _cumulated(counts: np.ndarray) -> np.ndarray:
    """Shares 0..1 reached before and after each bin, float64[replicates, bins + 1]."""
    running = np.cumsum(counts, axis=1)
    return np.hstack([np.zeros((len(counts), 1)), running / np.maximum(running[:, -1:], 1)])


def _band(x: np.ndarray, ys: list[np.ndarray]) -> Curve:
    low, high = np.quantile(np.array(ys[1:]), [0.025, 0.975], axis=0)
    return Curve(x, ys[0], low, high)

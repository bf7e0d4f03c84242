"""Metrics of ranked propensities with intervals from resampled users: numpy only.

A bootstrap replicate draws users with replacement, so it is nothing but a whole number per user. All metrics here
are weighted, everything that needs sorting is sorted once, and a replicate costs a few weighted sums.

Ties are decided without the row order: AUC counts a tied pair as half; within a group NDCG takes equal scores in the
expectation over all their orders (McSherry and Najork, "Computing Information Retrieval Performance Measures
Efficiently in the Presence of Tied Scores", ECIR 2008); calibration never splits equal propensities over two bins.
"""

from dataclasses import dataclass

import numpy as np

NDCG_DEPTH = 10
BINS = 20
_SMALLEST = 1e-15  # log loss clips propensities to [1e-15, 1 - 1e-15], so that one certain mistake stays finite


@dataclass(frozen=True, slots=True)
class Rows:
    """n scored rows in any order.

    user    int64[n], 0..users-1: the unit that is resampled
    group   int64[n], 0..groups-1: (user, cut-off), the list that is ranked; a group belongs to one user
    label   uint8[n], 0 or 1
    """

    user: np.ndarray
    group: np.ndarray
    label: np.ndarray

    @property
    def users(self) -> int:
        """How many users there are to resample."""
        return int(np.max(self.user)) + 1 if len(self.user) else 0


class Auc:
    """Area under the ROC curve of one score, for any weights of users; a tied pair counts as half."""

    def __init__(self, rows: Rows, score: np.ndarray) -> None:
        positive = rows.label == 1
        negatives = score[~positive]
        order = np.argsort(negatives, kind="stable")
        ordered = negatives[order]
        # Negatives in the order of their scores; for each positive how many of them are below, and how many not above.
        self._negative_user = rows.user[~positive][order].astype(np.int32)
        self._positive_user = rows.user[positive].astype(np.int32)
        self._below = np.searchsorted(ordered, score[positive], side="left")
        self._not_above = np.searchsorted(ordered, score[positive], side="right")
        # Used again by every replicate: fresh arrays of this size cost more than the sums.
        self._weights = np.empty(len(ordered), dtype=np.int32)
        self._running = np.zeros(len(ordered) + 1, dtype=np.int64)

    def __call__(self, user_weight: np.ndarray) -> float:
        """AUC with each row counted `user_weight[user]` times (int32[users]); NaN if only one class has weight."""
        running, positive = self._running, user_weight[self._positive_user].astype(np.int64)
        np.take(user_weight, self._negative_user, out=self._weights, mode="clip")
        np.cumsum(self._weights, out=running[1:])
        pairs = float(positive.sum()) * float(running[-1])
        won = float(np.dot(positive, running[self._below] + running[self._not_above])) / 2
        return won / pairs if pairs else float("nan")


class Mean:
    """A weighted mean of one value per unit (row or group), each unit belonging to a user."""

    def __init__(self, user: np.ndarray, value: np.ndarray, users: int) -> None:
        # Sums and counts per user suffice: no replicate looks at the rows again.
        self._sums = np.bincount(user, weights=value, minlength=users)
        self._counts = np.bincount(user, minlength=users)

    def __call__(self, user_weight: np.ndarray) -> float:
        """The mean with each unit counted `user_weight[user]` times; NaN without any."""
        total = float(np.dot(user_weight, self._counts))
        return float(np.dot(user_weight, self._sums)) / total if total else float("nan")


class CalibrationError:
    """Expected calibration error: the mean of |mean propensity - share of positives| over bins of equal mass.

    The bins are cut once, on all rows; rows with equal propensities share a bin.
    """

    def __init__(self, rows: Rows, propensity: np.ndarray, bins: int = BINS) -> None:
        edges = np.quantile(propensity, np.arange(1, bins) / bins, method="inverted_cdf")
        bin_of = np.searchsorted(np.unique(edges), propensity, side="left")
        self._bins = int(np.max(bin_of)) + 1
        shape = (rows.users, self._bins)
        cell = rows.user * self._bins + bin_of
        size = shape[0] * shape[1]
        gap = np.bincount(cell, weights=propensity - rows.label, minlength=size)
        self._gap = gap.reshape(shape)
        self._rows_per_user = np.bincount(rows.user, minlength=shape[0])

    def __call__(self, user_weight: np.ndarray) -> float:
        """The error with each row counted `user_weight[user]` times; NaN without any."""
        total = float(np.dot(user_weight, self._rows_per_user))
        return float(np.abs(user_weight @ self._gap).sum()) / total if total else float("nan")


def log_losses(label: np.ndarray, propensity: np.ndarray) -> np.ndarray:
    """Minus the log likelihood of each row, float64[n], natural logarithm."""
    p = np.clip(propensity.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    return -np.where(label == 1, np.log(p), np.log1p(-p))


def group_ndcg(rows: Rows, score: np.ndarray, depth: int = NDCG_DEPTH) -> tuple[np.ndarray, np.ndarray]:
    """NDCG at `depth` of every group with at least one positive: (user int64[g], ndcg float64[g]), by group.

    Gain 1 for a positive, discount 1 / log2(1 + rank); equal scores share the mean discount of their ranks.
    """
    order = np.lexsort((-score, rows.group))
    group, label, ordered = rows.group[order], rows.label[order].astype(np.float64), score[order]
    new_group = np.concatenate(([True], group[1:] != group[:-1]))
    first = np.flatnonzero(new_group)
    sizes = np.diff(np.concatenate((first, [len(group)])))
    rank = np.arange(len(group)) - np.repeat(first, sizes)
    new_tie = new_group | np.concatenate(([True], ordered[1:] != ordered[:-1]))
    tie_first = np.flatnonzero(new_tie)
    tie_sizes = np.diff(np.concatenate((tie_first, [len(group)])))
    # upto[r] = sum of the discounts of the ranks before r, flat from `depth` on.
    upto = np.concatenate(([0.0], np.cumsum(1 / np.log2(np.arange(2, depth + 2)))))
    start = rank[tie_first]
    share = (upto[np.minimum(start + tie_sizes, depth)] - upto[np.minimum(start, depth)]) / tie_sizes
    gain = np.add.reduceat(label * np.repeat(share, tie_sizes), first)
    positives = np.add.reduceat(label, first).astype(np.int64)
    has = positives > 0
    return rows.user[order][first][has], gain[has] / upto[np.minimum(positives[has], depth)]


def user_replicates(users: int, replicates: int, seed: int) -> np.ndarray:
    """How often each user is drawn in each bootstrap replicate, int32[replicates, users]; rows sum to `users`."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(users, np.full(users, 1 / users), size=replicates).astype(np.int32)


def interval(replicated: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central percentile interval of a metric's bootstrap replicates; replicates without a value are left out."""
    known = replicated[~np.isnan(replicated)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

"""Values that are made of ratios of sums over users, with intervals.

Users are independent, their decisions are not: so sums per user are the observations, and the standard error is that of
the delta method over users. Few great weights carry most of it, so it is itself less sure than so many users suggest:
Student's t gets the degrees of freedom that a variance of such tails has, 2 u / (kurtosis − 1) of u users
(Satterthwaite's match of the first two moments, Biometrics Bulletin 1946), and u − 1 at most. A studentised bootstrap
over users was tried: its 95 % intervals of DR covered 92 to 93 %, where these cover 95 % (`opportune bench ope`).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from training.evaluation import Estimate

LEVEL = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class RatioSum:
    """Σ over c of (sum of `over` / sum of `under`), both float64[u, c], a row for each of u users."""

    over: np.ndarray
    under: np.ndarray

    @classmethod
    def of(cls, user: np.ndarray, over: np.ndarray, under: np.ndarray) -> "RatioSum":
        """Summed up per user: int64[n] from 0 on, and float64[n, c] both."""
        users = int(user.max()) + 1
        return cls(_per_user(user, over, users), _per_user(user, under, users))

    def less(self, other: "RatioSum") -> "RatioSum":
        """The difference, of the same users."""
        return RatioSum(np.hstack([self.over, -other.over]), np.hstack([self.under, other.under]))

    def estimate(self, least: float = -np.inf) -> Estimate:
        """The value with its 95 % interval; NaN where there are not two users, or nothing is under the line.

        `least` is what the true value is at least: an interval does not reach below.

        >>> both = RatioSum(np.array([[1.0], [2.0], [3.0]]), np.ones((3, 1)))
        >>> found = both.estimate()
        >>> found.value, round(found.low, 2), round(found.high, 2)
        (2.0, -0.48, 4.48)
        """
        over, under = self.over.sum(axis=0), self.under.sum(axis=0)
        if not under.all():
            return Estimate(*[float("nan")] * 3)
        ratios = over / under
        value, users = float(ratios.sum()), len(self.over)
        if users < 2:
            return Estimate(value, float("nan"), float("nan"))
        influence = (self.over - ratios * self.under) @ (1 / under)
        squares = float((influence**2).sum())
        if not squares:
            return Estimate(value, value, value)
        kurtosis = users * float((influence**4).sum()) / squares**2
        freedom = min(users - 1, 2 * users / (kurtosis - 1)) if kurtosis > 1 else users - 1
        reach = float(student.ppf((1 + LEVEL) / 2, freedom)) * np.sqrt(squares * users / (users - 1))
        return Estimate(value, max(value - float(reach), least), value + float(reach))


def _per_user(user: np.ndarray, values: np.ndarray, users: int) -> np.ndarray:
    return np.stack([np.bincount(user, weights=column, minlength=users) for column in values.T], axis=1)

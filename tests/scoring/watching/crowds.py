"""Crowds whose users give many rows each, all alike within: what intervals must respect."""

import numpy as np
from scipy.stats import norm

from behavior.calibration import propensities
from scoring.watching.quality_tally import Rows, Tally
from scoring.watching.user_buckets import BUCKETS

USERS = 300


def users_of(rng: np.random.Generator, users: int = USERS) -> np.ndarray:
    """The user int64[n] of each row: most give few rows, some give many, 8 on average."""
    return np.repeat(np.arange(users), rng.geometric(1 / 8, users))


def labels_of(rng: np.random.Generator, users: np.ndarray, margins: np.ndarray, alike: float = 0.3) -> np.ndarray:
    """Labels bool[n] that each come with the probability of its margin, and go together within a user.

    A Gaussian copula: the rows of a user share the part `alike` of what decides.
    """
    shared, own = rng.normal(size=users.max() + 1)[users], rng.normal(size=len(users))
    decided: np.ndarray = norm.cdf(np.sqrt(alike) * shared + np.sqrt(1 - alike) * own) < propensities(margins)
    return decided


def tally_of(
    rng: np.random.Generator, users: np.ndarray, margins: np.ndarray, labels: np.ndarray | None = None
) -> Tally:
    """The tally of rows of margins [n, judged], of users who are spread over the buckets by chance."""
    buckets = rng.integers(0, BUCKETS, users.max() + 1)[users]
    tally = Tally(margins.shape[1])
    tally.add(Rows.of(buckets, margins, labels))
    return tally

"""How much more than usual, in logits: the formulas of the factors of relevance, pure and over arrays.

Shares are smoothed towards what is expected without evidence, so that every value is finite and little evidence says
little: the posterior mean of a share under a Dirichlet prior of weight κ at the expected shares (Gelman et al.,
*Bayesian Data Analysis*, 3rd ed., 3.4). All arrays are float64.
"""

import numpy as np

# What a user's purchases are smoothed with: as many as are expected by everybody's shares.
USER_PRIOR = 10.0
# What everybody's purchases of categories and of items are smoothed with.
CROWD_PRIOR = 100.0


def shares(counts: np.ndarray, expected: np.ndarray | float, total: float, prior: float) -> np.ndarray:
    """Smoothed shares (n + κ·expected) / (total + κ).

    >>> shares(np.array([90.0, 0.0]), 0.5, 90.0, prior=10.0).tolist()
    [0.95, 0.05]
    """
    smoothed: np.ndarray = (counts + prior * expected) / (total + prior)
    return smoothed


def lift(counts: np.ndarray, total: float, crowd: np.ndarray, prior: float = USER_PRIOR) -> np.ndarray:
    """The log of how many times a user's smoothed share exceeds everybody's, of each of n.

    counts  of the user, 0 where there are none
    total   of the user, over all
    crowd   everybody's shares, above 0

    Without any evidence, and where the user does what everybody does, it is 0.

    >>> lift(np.array([0.0]), 0.0, np.array([0.01])).tolist()
    [0.0]
    >>> [round(each, 2) for each in lift(np.array([8.0, 0.0]), 10.0, np.array([0.1, 0.1])).tolist()]
    [1.5, -0.69]
    """
    lifted: np.ndarray = np.log(shares(counts, crowd, total, prior) / crowd)
    return lifted


def odds(likes: np.ndarray, dislikes: np.ndarray) -> np.ndarray:
    """The log of the odds that the next judgement is a like, by Laplace's rule: log((likes + 1) / (dislikes + 1)).

    >>> [round(each, 2) for each in odds(np.array([0.0, 3.0]), np.array([0.0, 0.0])).tolist()]
    [0.0, 1.39]
    """
    liked: np.ndarray = np.log((likes + 1.0) / (dislikes + 1.0))
    return liked


def freshness(age_s: np.ndarray, half_life_s: float) -> np.ndarray:
    """1 now, 1/2 after a half-life, 0 of what never was (an age of infinity).

    >>> freshness(np.array([0.0, 60.0, np.inf]), 60.0).tolist()
    [1.0, 0.5, 0.0]
    """
    fresh: np.ndarray = np.exp2(-age_s / half_life_s)
    return fresh


def weariness(shown: np.ndarray) -> np.ndarray:
    """−log2(1 + s) of the summed freshness s of what was bought or shown: 0 for nothing, −1 for one just now.

    The logarithm lets each one more say less.

    >>> weariness(np.array([0.0, 1.0, 3.0])).tolist() == [0, -1, -2]
    True
    """
    weary: np.ndarray = -np.log2(1.0 + shown)
    return weary

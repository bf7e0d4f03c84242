"""What is to be expected from a position on, told by what stands there: the model within the doubly robust estimate.

A ridge regression per position, from the last to the first: it learns the reward of its own position and what the next
one's model expects of the candidate. Linear, because then what is expected over all that the candidate might put there
is what is expected of its expected inputs: no pool has to be kept. A bad model costs precision and no truth.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.ope.decisions import Decisions

FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class RewardsToCome:
    """The sum of rewards from each position on, float64[n, m], 0 beyond an answer's positions.

    shown      given what stands there
    expected   in expectation over what the candidate would put there
    expected_of_log   in expectation over what the log would put there; after it the candidate's order goes on
    """

    shown: np.ndarray
    expected: np.ndarray
    expected_of_log: np.ndarray


def cross_fitted(decisions: Decisions, folds: int = FOLDS, seed: int = 1) -> RewardsToCome:
    """What models say that were fitted without the user: each of `folds` parts is told by those of the others.

    With fewer users than parts nothing is expected, and DR is IPS.
    """
    users = int(decisions.user.max()) + 1
    found = RewardsToCome(*np.zeros((3, *decisions.reward.shape)))
    if users >= folds:
        part = np.random.default_rng(seed).permutation(users)[decisions.user] % folds
        for each in range(folds):
            _tell(decisions, part != each, part == each, found)
    return found


def _tell(decisions: Decisions, learned: np.ndarray, asked: np.ndarray, found: RewardsToCome) -> None:
    """Fill in the rows that are asked, with models of those that are learned."""
    next_one = np.zeros(len(decisions))
    for position in reversed(range(decisions.positions)):
        exists = decisions.size > position
        rows = np.flatnonzero(learned & exists)
        if not len(rows):
            continue
        inputs, would_be = decisions.shown[:, position], decisions.expected[:, position]
        model: Any = make_pipeline(StandardScaler(), Ridge())
        model.fit(inputs[rows], decisions.reward[rows, position] + next_one[rows])
        next_one[exists] = model.predict(would_be[exists])
        told = np.flatnonzero(asked & exists)
        if len(told):
            found.shown[told, position] = model.predict(inputs[told])
            found.expected[told, position] = next_one[told]
            found.expected_of_log[told, position] = model.predict(decisions.expected_of_log[told, position])

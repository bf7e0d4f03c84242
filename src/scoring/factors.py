"""The factors of relevance: named addends in margin (logit) space, each one entry in one list.

The score is the sum of the contributions, added in float64 from the first factor to the last. That order is part of the
contract: whoever adds up the breakdown of an answer gets its score to the last bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Evidence:
    """What factors are made from, n candidates.

    margins     float64[n], the model's margins, calibrated where the bundle has a calibration
    residuals   float64[n], the learner's bounded corrections of them
    """

    margins: np.ndarray
    residuals: np.ndarray


@dataclass(frozen=True, slots=True)
class Factor:
    """One addend: its name, its weight, and its value for each candidate, float64[n]."""

    name: str
    summary: str
    weight: float
    of: Callable[[Evidence], np.ndarray]


@dataclass(frozen=True, slots=True)
class Weighed:
    """A factor's share in the scores of n candidates, float64[n] each; contribution = weight × value."""

    name: str
    weight: float
    values: np.ndarray
    contributions: np.ndarray


FACTORS: tuple[Factor, ...] = (
    Factor(
        "propensity", "the model's margin: how likely the outcome is", 1.0,
        lambda evidence: evidence.margins,
    ),
    Factor(
        "learner", "what the learner has learned since the model was trained, bounded", 1.0,
        lambda evidence: evidence.residuals,
    ),
)  # fmt: skip


def weigh(evidence: Evidence, factors: Sequence[Factor] = FACTORS) -> list[Weighed]:
    """Each factor's values and contributions, in the order in which they are added."""
    return [_weighed(factor, factor.of(evidence)) for factor in factors]


def relevance(weighed: Sequence[Weighed]) -> np.ndarray:
    """The scores, float64[n]: the contributions added one after the other.

    >>> first, second = np.array([0.1]), np.array([0.2])
    >>> float(relevance([Weighed("a", 1.0, first, first), Weighed("b", 1.0, second, second)])[0]) == 0.1 + 0.2
    True
    """
    scores: np.ndarray = np.zeros(len(weighed[0].contributions), dtype=np.float64)
    for factor in weighed:
        scores = scores + factor.contributions
    return scores


def _weighed(factor: Factor, values: np.ndarray) -> Weighed:
    return Weighed(factor.name, factor.weight, values, factor.weight * values)

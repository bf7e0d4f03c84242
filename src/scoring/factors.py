"""The factors of relevance: named addends in margin (logit) space, each one entry in one list.

The score is the sum of the contributions, added in float64 from the first factor to the last. That order is part of the
contract: whoever adds up the breakdown of an answer gets its score to the last bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from behavior.column import Column
from behavior.moment import Moment
from scoring.candidates import Candidates
from scoring.placements import Placement
from scoring.request import ScoreRequest
from scoring.stages import timed


@dataclass(frozen=True, slots=True)
class Evidence:
    """What factors are made from, n candidates.

    request, placement   what was asked, and where it will be shown
    candidates   what is ranked
    moment       one row: the instant that the answer is for, and the user's offset then
    persona      the user's, empty where there are none
    finals       final values by feature, one row per candidate, or one that stands for all
    margins      float64[n], the model's margins, calibrated where the bundle has a calibration
    residuals    float64[n], the learner's bounded corrections of them
    """

    request: ScoreRequest
    placement: Placement
    candidates: Candidates
    moment: Moment
    persona: str
    finals: Mapping[str, Column]
    margins: np.ndarray
    residuals: np.ndarray


@dataclass(frozen=True, slots=True)
class Factor:
    """One addend: its name, its weight where a placement gives none, and its value for each candidate, float64[n]."""

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


@timed("factors")
def weigh(evidence: Evidence, factors: Sequence[Factor] = FACTORS) -> list[Weighed]:
    """Each factor's values and contributions, in the order in which they are added.

    A factor that the placement gives a weight of 0 is left out.
    """
    weights = evidence.placement.weights
    weighed = []
    for factor in factors:
        weight = weights.get(factor.name, factor.weight)
        if weight:
            values = factor.of(evidence)
            weighed.append(Weighed(factor.name, weight, values, weight * values))
    return weighed


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

"""The factors of relevance: named addends in margin (logit) space, each one entry in one list.

The score is the sum of the contributions, added in float64 from the first factor to the last. That order is part of the
contract: whoever adds up the breakdown of an answer gets its score to the last bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from behavior.column import Column
from behavior.context import ContextTables
from behavior.moment import Moment
from behavior.relevance import CONTEXT_FACTORS, PROPENSITY_WEIGHT, Context, ContextFactor, added
from scoring.candidates import Candidates
from scoring.placements import Placement
from scoring.request import ScoreRequest


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
    tables       the bundle's lifts of categories in their contexts, None if it has none
    """

    request: ScoreRequest
    placement: Placement
    candidates: Candidates
    moment: Moment
    persona: str
    finals: Mapping[str, Column]
    margins: np.ndarray
    residuals: np.ndarray
    tables: ContextTables | None = None


@dataclass(frozen=True, slots=True)
class Factor:
    """One addend: its name, its weight where a placement gives none, and its value for each candidate, float64[n].

    The value is None where there is nothing to make it from: the factor is no part of the breakdown then.
    """

    name: str
    summary: str
    weight: float
    of: Callable[[Evidence], np.ndarray | None]


@dataclass(frozen=True, slots=True)
class Weighed:
    """A factor's share in the scores of n candidates, float64[n] each; contribution = weight × value."""

    name: str
    weight: float
    values: np.ndarray
    contributions: np.ndarray


def _from_tables(factor: ContextFactor) -> Factor:
    """A factor that an evaluation adds up too."""

    def value(evidence: Evidence) -> np.ndarray | None:
        if evidence.tables is None:
            return None
        context = Context(evidence.candidates.categories, evidence.moment, (evidence.persona,))
        return factor.of(evidence.tables, context)

    return Factor(factor.name, factor.summary, factor.weight, value)


FACTORS: tuple[Factor, ...] = (
    Factor(
        "propensity", "the model's margin: how likely the outcome is", PROPENSITY_WEIGHT,
        lambda evidence: evidence.margins,
    ),
    Factor(
        "learner", "what the learner has learned since the model was trained, bounded", 1.0,
        lambda evidence: evidence.residuals,
    ),
    *(_from_tables(factor) for factor in CONTEXT_FACTORS),
)  # fmt: skip


def weigh(evidence: Evidence, factors: Sequence[Factor] = FACTORS) -> list[Weighed]:
    """Each factor's values and contributions, in the order in which they are added.

    A factor that the placement gives a weight of 0 is left out, and one that there is nothing to make from.
    """
    weights = evidence.placement.weights
    weighed = []
    for factor in factors:
        weight = weights.get(factor.name, factor.weight)
        if weight:
            values = factor.of(evidence)
            if values is None:
                continue
            weighed.append(Weighed(factor.name, weight, values, weight * values))
    return weighed


def relevance(weighed: Sequence[Weighed]) -> np.ndarray:
    """The scores, float64[n]: the contributions added one after the other.

    >>> first, second = np.array([0.1]), np.array([0.2])
    >>> float(relevance([Weighed("a", 1.0, first, first), Weighed("b", 1.0, second, second)])[0]) == 0.1 + 0.2
    True
    """
    return added([each.contributions for each in weighed])

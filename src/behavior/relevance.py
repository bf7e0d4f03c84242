"""What makes the relevance of a category by default, offline and online alike: the margin, and what fits the context.

The list of factors (`scoring.factors`) takes the context factors from here; an evaluation, which has no server's
state, adds up the same ones. What only a server has, the learner's correction, is 0 before it has learned.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from behavior.context import ContextTables
from behavior.moment import Moment

PROPENSITY_WEIGHT = 1.0


@dataclass(frozen=True, slots=True)
class Context:
    """When and for whom n categories are ranked; `moment` and `personas` (names) have n rows, or one for all."""

    categories: Sequence[str]
    moment: Moment
    personas: Sequence[str]


@dataclass(frozen=True, slots=True)
class ContextFactor:
    """One addend that is read from the context tables: its default weight, what 0 says, its value float64[n]."""

    name: str
    summary: str
    missing: str
    weight: float
    of: Callable[[ContextTables, Context], np.ndarray]


# Weights: docs/adr/0031. A placement whose items are wanted at once, and not within a week, may give them more.
CONTEXT_FACTORS: tuple[ContextFactor, ...] = (
    ContextFactor(
        "persona", "how much more users of the persona want the category than all users do",
        "the persona wants it as all do, or is not known", 0.0,
        lambda tables, context: tables.persona_prior(context.categories, context.personas),
    ),
    ContextFactor(
        "daypart", "how much more the category is wanted at this part of the user's day",
        "it is wanted at every hour alike", 0.0,
        lambda tables, context: tables.daypart_fit(context.categories, context.moment),
    ),
    ContextFactor(
        "weekday", "how much more the category is wanted on this day of the user's week",
        "it is wanted on every day alike", 0.0,
        lambda tables, context: tables.weekday_fit(context.categories, context.moment),
    ),
)  # fmt: skip


def added(contributions: Sequence[np.ndarray], n: int) -> np.ndarray:
    """The contributions float64[n] added in float64 one after the other: the one way to add up a breakdown.

    >>> float(added([np.array([0.1]), np.array([0.2])], 1)[0]) == 0.1 + 0.2
    True
    """
    scores: np.ndarray = np.zeros(n, dtype=np.float64)
    for each in contributions:
        scores += each
    return scores


def default_relevance(
    margins: np.ndarray,
    tables: ContextTables | None,
    context: Context,
    weights: Mapping[str, float] | None = None,
) -> np.ndarray:
    """The relevance float64[n] of believed margins float64[n], with default weights and without a learner.

    weights    {context factor: weight} where they are not the factors' own; without tables they weigh nothing
    """
    said = weights or {}
    parts = [PROPENSITY_WEIGHT * margins]
    if tables is not None:
        weighed = [(factor, said.get(factor.name, factor.weight)) for factor in CONTEXT_FACTORS]
        parts += [weight * factor.of(tables, context) for factor, weight in weighed if weight]
    return added(parts, len(margins))

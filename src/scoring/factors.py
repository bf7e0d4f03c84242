"""The factors of relevance: named addends in margin (logit) space, each one entry in one list.

The score is the sum of the contributions, added in float64 from the first factor to the last. That order is part of the
contract: whoever adds up the breakdown of an answer gets its score to the last bit.

A factor that a placement does not weigh is not computed, and one that there is nothing to make from (no feature in the
plan, no table in the placement) is left out; every value of the others is finite. The formulas are in
`behavior.lifts`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np

from behavior.column import Column
from behavior.context import ContextTables
from behavior.event import HOUR_US, SECOND_US
from behavior.lifts import freshness, lift, odds, weariness
from behavior.moment import Moment
from behavior.relevance import CONTEXT_FACTORS, PROPENSITY_WEIGHT, Context, ContextFactor, added
from behavior.served import ITEM
from scoring.candidates import Candidates
from scoring.placements import Placement
from scoring.request import ScoreRequest
from scoring.signals import Signals, view_of
from scoring.stages import timed
from scoring.standing import Standing

# After a week without anything in a category half of its recency is left: the rhythm of shopping for groceries.
RECENCY_HALF_LIFE_S = 7 * 86_400.0
HOUR_S = HOUR_US // SECOND_US
# What tires: other events of `recent`, such as views, are no sign of having had enough.
TIRING = ("purchase", "impression")


class Evidence(msgspec.Struct, frozen=True, eq=False):
    """What factors are made from, n candidates.

    request, placement   what was asked, and where it will be shown
    candidates   what is ranked
    moment       one row: the instant that the answer is for, and the user's offset then
    persona      the user's, empty where there are none
    finals       final values by feature, one row per candidate, or one that stands for all
    margins      float64[n], the model's margins, calibrated where the bundle has a calibration
    residuals    float64[n], the learner's bounded corrections of them
    signals      which of `finals` say what
    standing     how candidates stand with everybody
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
    signals: Signals
    standing: Standing
    tables: ContextTables | None = None

    def counts(self, ref: str) -> np.ndarray:
        """The values of a count, float64, 0 where nothing is known."""
        column = self.finals[ref]
        return np.where(column.valid, column.values, 0).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)  # told apart as objects: compared at each request
class Factor:
    """One addend.

    weight   where a placement gives none
    missing  what a value of 0 says
    of       its value for each candidate, float64[n], finite; None if there is nothing to make it from
    reads    the fields of `Signals` that it is made from; without one of these it is left out
    is_retraced  whether the journal and the bundle suffice to make its values again; else, where it is made from how
             things stood with everybody or from the placement's tables, they are taken from the entry
    """

    name: str
    summary: str
    missing: str
    weight: float
    of: Callable[[Evidence], np.ndarray | None]
    reads: tuple[str, ...] = ()
    is_retraced: bool = True


class Weighed(msgspec.Struct, frozen=True, eq=False):
    """A factor's share in the scores of n candidates, float64[n] each; contribution = weight × value."""

    name: str
    weight: float
    values: np.ndarray
    contributions: np.ndarray


def affinity(evidence: Evidence) -> np.ndarray:
    """The smoothed lift of the category's share in what the user buys over its share in what everybody buys."""
    pair, user = (evidence.counts(str(ref)) for ref in (evidence.signals.pair_count, evidence.signals.user_count))
    return lift(pair, float(user[0]), evidence.standing.shares_of(evidence.candidates.categories))


def preference(evidence: Evidence) -> np.ndarray:
    """The odds of the user's own likes and dislikes within the category."""
    likes, dislikes = evidence.signals.likes, evidence.signals.dislikes
    return odds(evidence.counts(str(likes)), evidence.counts(str(dislikes)))


def recency(evidence: Evidence) -> np.ndarray:
    """How fresh the user's latest act within the category is: 1 now, half of it after RECENCY_HALF_LIFE_S."""
    columns = [evidence.finals[ref] for ref in evidence.signals.pair_ages]
    ages = [np.where(each.valid, each.values, np.inf).astype(np.float64) for each in columns]
    return freshness(np.minimum.reduce(ages), RECENCY_HALF_LIFE_S)


def popularity(evidence: Evidence) -> np.ndarray:
    """How much more than the average of its kind everybody buys it."""
    candidates = evidence.candidates
    return evidence.standing.popularity(candidates.kind, candidates.ids, candidates.categories)


def device_fit(evidence: Evidence) -> np.ndarray | None:
    """What the placement adds on the request's device."""
    return _of_categories(evidence, evidence.placement.devices, evidence.request.device)


def page_fit(evidence: Evidence) -> np.ndarray | None:
    """What the placement adds on the request's page."""
    return _of_categories(evidence, evidence.placement.pages, evidence.request.page)


def fatigue(evidence: Evidence) -> np.ndarray:
    """How much of it the user has bought or been shown lately, negative: of an item itself, of a category its items."""
    found = evidence.finals[str(evidence.signals.recent)]
    events = [event.split("|", 2) for event in found.values[0]] if found.valid[0] else []
    tiring = [(item, int(e)) for kind, e, item in events if kind in TIRING and item]
    ages_s = (int(evidence.moment.t[0]) - np.array([e for _, e in tiring], dtype=np.int64)) / SECOND_US
    fresh = freshness(np.maximum(ages_s, 0.0), evidence.placement.fatigue_half_life_h * HOUR_S)
    is_item = evidence.candidates.kind == ITEM
    had: dict[str, float] = {}
    for (item, _), share in zip(tiring, fresh.tolist(), strict=True):
        thing = item if is_item else evidence.standing.category_of(item)
        had[thing] = had.get(thing, 0.0) + share
    had.pop("", None)  # items of which nobody knows the category
    return weariness(np.array([had.get(each, 0.0) for each in evidence.candidates.ids], dtype=np.float64))


def boost(evidence: Evidence) -> np.ndarray | None:
    """What the business adds to an item, else to its category."""
    boosts, candidates = evidence.placement.boosts, evidence.candidates
    if not boosts:
        return None
    pairs = zip(candidates.ids, candidates.categories, strict=True)
    return np.array([boosts.get(each, boosts.get(category, 0.0)) for each, category in pairs], dtype=np.float64)


def _of_categories(evidence: Evidence, tables: Mapping[str, Mapping[str, float]], name: str) -> np.ndarray | None:
    """The logits of the table of a name for each candidate's category; None if the placement has no tables."""
    if not tables:
        return None
    table = tables.get(name, {})
    return np.array([table.get(category, 0.0) for category in evidence.candidates.categories], dtype=np.float64)


def _from_tables(factor: ContextFactor) -> Factor:
    """A factor that an evaluation adds up too."""

    def value(evidence: Evidence) -> np.ndarray | None:
        if evidence.tables is None:
            return None
        context = Context(evidence.candidates.categories, evidence.moment, (evidence.persona,))
        return factor.of(evidence.tables, context)

    return Factor(factor.name, factor.summary, factor.missing, factor.weight, value)


FACTORS: tuple[Factor, ...] = (
    Factor(
        "propensity", "the model's margin, calibrated where the bundle has a calibration: how likely the outcome is",
        "the outcome is as likely as not", PROPENSITY_WEIGHT, lambda evidence: evidence.margins,
    ),
    Factor(
        "affinity", "implicit: how much larger a share the category has in what the user buys than in what everybody "
        "buys, smoothed",
        "the user buys it as everybody does, or nothing is known of the user", 0.0, affinity,
        reads=("pair_count", "user_count"), is_retraced=False,
    ),
    Factor(
        "preference", "explicit: the smoothed odds of the user's `like` events against the `dislike` events within the "
        "category",
        "the user has not judged, or is undecided", 0.0, preference, reads=("likes", "dislikes"),
    ),
    Factor(
        "recency", "1 for a category in which the user has done something just now, half of it after 7 days",
        "the user never did anything there", 0.0, recency, reads=("pair_ages",),
    ),
    Factor(
        "popularity", "how much more than the average everybody buys it, smoothed: an item towards its category, a "
        "category towards all",
        "it is bought as often as the average of its kind", 0.0, popularity, is_retraced=False,
    ),
    *(_from_tables(factor) for factor in CONTEXT_FACTORS),
    Factor(
        "learner", "what the learner has learned since the model was trained, bounded",
        "nothing was learned about the category", 1.0, lambda evidence: evidence.residuals,
    ),
    Factor(
        "device", "what `devices` of the placement gives the category on the request's device",
        "nothing is said of the category or the device", 1.0, device_fit, is_retraced=False,
    ),
    Factor(
        "page", "what `pages` of the placement gives the category on the request's page",
        "nothing is said of the category or the page", 1.0, page_fit, is_retraced=False,
    ),
    Factor(
        "fatigue", "never above 0: the user bought it or was shown it lately, an item itself, of a category its items; "
        "−1 for once just now, fading with `fatigue_half_life_h` of the placement",
        "neither is among the user's latest events", 0.0, fatigue, reads=("recent",), is_retraced=False,
    ),
    Factor(
        "boost", "what `boosts` of the placement gives the item, else its category",
        "nothing is said of either", 1.0, boost, is_retraced=False,
    ),
)  # fmt: skip


class Weighing(NamedTuple):
    """What a placement weighs of a plan's features.

    factors   those that count, with their weights: none of weight 0, none whose features the plan has not
    views     the names of the views that they read
    """

    factors: tuple[tuple[Factor, float], ...]
    views: frozenset[str]


def views_read(placement: Placement, signals: Signals, factors: Sequence[Factor] = FACTORS) -> frozenset[str]:
    """The names of the views that the weighed factors read."""
    return _weighing(tuple(placement.weights.items()), signals, tuple(factors)).views


@timed("factors")
def weigh(evidence: Evidence, factors: Sequence[Factor] = FACTORS) -> list[Weighed]:
    """Each factor's values and contributions, in the order in which they are added.

    A factor that the placement gives a weight of 0 is left out, and one that there is nothing to make from.
    """
    weighed = []
    weighing = _weighing(tuple(evidence.placement.weights.items()), evidence.signals, tuple(factors))
    for factor, weight in weighing.factors:
        values = factor.of(evidence)
        if values is not None:
            # Most weigh 1: what it makes of a number is the number itself.
            weighed.append(Weighed(factor.name, weight, values, values if weight == 1.0 else weight * values))
    return weighed


def relevance(weighed: Sequence[Weighed], n: int) -> np.ndarray:
    """The scores of n candidates, float64[n]: the contributions added one after the other.

    >>> first, second = np.array([0.1]), np.array([0.2])
    >>> float(relevance([Weighed("a", 1.0, first, first), Weighed("b", 1.0, second, second)], 1)[0]) == 0.1 + 0.2
    True
    """
    return added([each.contributions for each in weighed], n)


@lru_cache(maxsize=256)  # one per placement that is in use, and plan
def _weighing(weights: tuple[tuple[str, float], ...], signals: Signals, factors: tuple[Factor, ...]) -> Weighing:
    """What weights that differ from the factors' own let count."""
    said = dict(weights)
    counted = tuple(
        (factor, weight)
        for factor in factors
        if (weight := said.get(factor.name, factor.weight)) and all(map(signals.refs, factor.reads))
    )
    refs = (ref for factor, _ in counted for name in factor.reads for ref in signals.refs(name))
    return Weighing(counted, frozenset(map(view_of, refs)))

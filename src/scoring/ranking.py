"""The ranking of candidates: how they are weighed and ordered, and what is known of those that are shown."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from behavior.served import Explored
from scoring.candidates import Candidates
from scoring.diversity import diversified
from scoring.exploring import Drawing, chances_in, draw
from scoring.factors import Evidence, Weighed, relevance, weigh
from scoring.placements import Diversity
from scoring.stages import timed
from scoring.standing import Standing

try:
    from scoring.compiled_ranking import few, picked, propensities_of, rows_at
except ImportError:  # where there is no C compiler

    def few(scores: np.ndarray, ids: Sequence[str], top_k: int) -> list[int] | None:
        """Sort all."""
        return None

    def picked(columns: Sequence[np.ndarray], places: Sequence[int]) -> list[list[float]]:
        """The numbers of columns float64[n] or float32[n] at the places, a list for each."""
        return [column[list(places)].tolist() for column in columns]

    def propensities_of(margins: Sequence[float]) -> list[float]:
        """The propensity of each margin."""
        return [propensity_of(each) for each in margins]

    def rows_at(matrix: np.ndarray, places: Sequence[int]) -> list[bytes]:
        """The rows of a float32[n, d] at the places, each as its little-endian bytes."""
        return [matrix[place].astype("<f4").tobytes() for place in places]


FeatureValue = int | float | str | None
# What nothing is known of, of each of n things: their kind, ids and categories.
Marks = Callable[[str, Sequence[str], Sequence[str]], Sequence[tuple[str, ...]]]


class Addend(NamedTuple):
    """A factor's share in one candidate's score; contribution = weight × value."""

    name: str
    value: float
    weight: float
    contribution: float


class Ranked(msgspec.Struct, frozen=True):
    """A candidate at its place.

    kind, id     what it is; `category` is what it belongs to, of a category its own id
    score        the float64 sum of the addends' contributions, first to last
    margin       the model's raw margin, float32
    residual     the learner's bounded correction of it
    propensity   sigmoid of the margin, of the calibrated one if the bundle has a calibration
    vector       the model's row, float32 little-endian
    features     what the row was made from, by input; empty unless asked for
    marks        what nothing is known of: `unknown_item`, `unknown_category`
    relevance_position   its place by score alone, from 1; another than its own where diversity or chance has moved it
    chance       the probability that it was drawn here, given what stands before it; 0 where nothing was drawn
    """

    kind: str
    id: str
    category: str
    score: float
    addends: tuple[Addend, ...]
    margin: float
    residual: float
    propensity: float
    vector: bytes
    features: Mapping[str, FeatureValue]
    marks: tuple[str, ...] = ()
    relevance_position: int = 0
    chance: float = 0.0


class Ranking(msgspec.Struct, frozen=True, eq=False):
    """The m candidates that are shown, best first, column by column; `ranking[place]` is one of them as a `Ranked`.

    places          intp[m], where each stands among all candidates
    kind, factors   of all of them: what they are; (name, weight) of the addends, in the order in which they are added
    values, contributions   of each factor, m
    features        {input: m values}; empty unless asked for
    explored        how the order was drawn; None, and no chances, where it was not

    The others have m entries, what they say is in `Ranked`; `positions` are those by score alone.
    """

    kind: str
    places: np.ndarray
    ids: Sequence[str]
    categories: Sequence[str]
    scores: Sequence[float]
    factors: tuple[tuple[str, float], ...]
    values: Sequence[Sequence[float]]
    contributions: Sequence[Sequence[float]]
    margins: Sequence[float]
    residuals: Sequence[float]
    propensities: Sequence[float]
    vectors: Sequence[bytes]
    features: Mapping[str, Sequence[FeatureValue]]
    marks: Sequence[tuple[str, ...]]
    positions: Sequence[int]
    chances: Sequence[float] = ()
    explored: Explored | None = None

    def __len__(self) -> int:
        """How many are shown."""
        return len(self.ids)

    def __iter__(self) -> Iterator[Ranked]:
        """All of them, best first."""
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, place: int) -> Ranked:
        """The one at a place, counted from 0. Raises IndexError."""
        shares = zip(self.factors, self.values, self.contributions, strict=True)
        return Ranked(
            kind=self.kind,
            id=self.ids[place],
            category=self.categories[place],
            score=self.scores[place],
            addends=tuple(Addend(name, value[place], weight, added[place]) for (name, weight), value, added in shares),
            margin=self.margins[place],
            residual=self.residuals[place],
            propensity=self.propensities[place],
            vector=self.vectors[place],
            features={name: values[place] for name, values in self.features.items()},
            marks=self.marks[place],
            relevance_position=self.positions[place],
            chance=self.chances[place] if self.chances else 0.0,
        )


class Scored(msgspec.Struct, frozen=True, eq=False):
    """All n candidates before they are ranked: vector float32[n, d], margins float32[n], the others float64[n].

    `believed` are the margins, calibrated where the bundle has a calibration.
    """

    candidates: Candidates
    vector: np.ndarray
    margins: np.ndarray
    believed: np.ndarray
    residuals: np.ndarray
    weighed: Sequence[Weighed]
    scores: np.ndarray

    @classmethod
    def of(cls, evidence: Evidence, vector: np.ndarray, margins: np.ndarray) -> "Scored":
        """The candidates weighed and added up."""
        weighed = weigh(evidence)
        scores = relevance(weighed, len(evidence.candidates))
        return cls(evidence.candidates, vector, margins, evidence.margins, evidence.residuals, weighed, scores)

    @timed("rank")
    def ranked(
        self,
        top_k: int,
        features: Mapping[str, Sequence[FeatureValue]],
        standing: Standing,
        diversity: Diversity | None = None,
        drawing: Drawing | None = None,
    ) -> Ranking:
        """The best `top_k` (0 for all), best first, equal scores in the order of their ids; mixed or drawn, if asked.

        features   {input: n values}
        """
        order, positions, explored = self._order(top_k, diversity, drawing)
        ranking = self.at(order, features, standing.marks, positions)
        return ranking if explored is None else replace(ranking, chances=chances_in(explored), explored=explored)

    def at(
        self,
        order: Sequence[int],
        features: Mapping[str, Sequence[FeatureValue]],
        marks: Marks,
        positions: Sequence[int],
    ) -> Ranking:
        """The candidates at these places, in this order; `features` are of all n, positions of theirs."""
        candidates, weighed = self.candidates, self.weighed
        ids = [candidates.ids[place] for place in order]
        is_same = candidates.categories is candidates.ids  # of categories both are one object
        categories = ids if is_same else [candidates.categories[place] for place in order]
        scores, margins, residuals, believed, *shares = picked(
            [
                self.scores, self.margins, self.residuals, self.believed,
                *[each.values for each in weighed], *[each.contributions for each in weighed],
            ],
            order,
        )  # fmt: skip
        return Ranking(
            kind=candidates.kind,
            places=np.array(order, dtype=np.intp),
            ids=ids,
            categories=categories,
            scores=scores,
            factors=tuple([(each.name, each.weight) for each in weighed]),
            values=shares[: len(weighed)],
            contributions=shares[len(weighed) :],
            margins=margins,
            residuals=residuals,
            propensities=propensities_of(believed),
            vectors=rows_at(self.vector, order),
            features={name: [column[place] for place in order] for name, column in features.items()},
            marks=marks(candidates.kind, ids, categories),
            positions=positions,
        )

    def _order(
        self, top_k: int, diversity: Diversity | None, drawing: Drawing | None
    ) -> tuple[list[int], Sequence[int], Explored | None]:
        """The places that are answered, the position of each by score alone, and how they were drawn, if they were."""
        if diversity is None and drawing is None:
            order = rank(self.scores, self.candidates.ids, top_k)
            return order, range(1, len(order) + 1), None
        sought = top_k and max(top_k, drawing.said.over) if drawing is not None else 0
        order = best = rank(self.scores, self.candidates.ids, sought)
        explored = None
        if diversity is not None:
            order = diversified(best, self.scores, self.candidates.categories, diversity)[: top_k or None]
        if drawing is not None:
            order, explored = draw(drawing, best, top_k, self.weighed, self.candidates)
        positions = dict(zip(best, range(1, len(best) + 1), strict=True))
        return order, [positions[place] for place in order], explored


def rank(scores: np.ndarray, candidates: Sequence[str], top_k: int = 0) -> list[int]:
    """The places of the best `top_k` candidates (0 for all), best first; equal scores in the order of their ids.

    >>> rank(np.array([1.0, 2.0, 2.0]), ["a", "c", "b"], top_k=2)
    [2, 1]
    """
    found = few(scores, candidates, top_k)
    return sorted_places(scores, candidates)[: top_k or None] if found is None else found


def sorted_places(scores: np.ndarray, candidates: Sequence[str]) -> list[int]:
    """The places of all candidates, as `rank` gives the best."""
    order = np.argsort(-scores, kind="stable")
    best = scores[order]
    if np.count_nonzero(best[1:] == best[:-1]):
        ties = sorted(zip((-scores).tolist(), candidates, range(len(candidates)), strict=True))
        return [place for _, _, place in ties]
    found: list[int] = order.tolist()
    return found


def propensity_of(margin: float) -> float:
    """The sigmoid of a margin, without overflow at either end.

    >>> propensity_of(0.0), propensity_of(-1000.0), propensity_of(1000.0)
    (0.5, 0.0, 1.0)
    """
    tail = math.exp(-abs(margin))
    return (1.0 if margin >= 0 else tail) / (1.0 + tail)

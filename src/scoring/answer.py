"""The answer to a request: ranked candidates, each with the addends that make up its score and what the model saw."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from behavior.calibration import Calibration
from behavior.column import Column
from behavior.moment import Moment
from behavior.served import ITEM, Basis, Served, Shown
from behavior.vector import CANDIDATE_INPUT, MOMENT_INPUTS
from scoring.candidates import Candidates
from scoring.diversity import diversified
from scoring.factors import Evidence, Weighed, relevance, weigh
from scoring.placements import Diversity
from scoring.stages import timed
from scoring.standing import Standing

FeatureValue = int | float | str | None


class Addend(NamedTuple):
    """A factor's share in one candidate's score; contribution = weight × value."""

    name: str
    value: float
    weight: float
    contribution: float


class Degradation(NamedTuple):
    """What an answer had to do without."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate at its place.

    kind, id     what it is; `category` is what it belongs to, of a category its own id
    score        the float64 sum of the addends' contributions, first to last
    margin       the model's raw margin, float32
    residual     the learner's bounded correction of it
    propensity   sigmoid of the margin, of the calibrated one if the bundle has a calibration
    vector       the model's row, float32 little-endian
    features     what the row was made from, by input; empty unless asked for
    marks        what nothing is known of: `unknown_item`, `unknown_category`
    relevance_position   its place by score alone, from 1; another than its own where diversity has moved it
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


@dataclass(frozen=True, slots=True)
class Answer:
    """A ranked answer and all that it was made with; instants in µs UTC, `offset` of the user's partition.

    `persona` is empty where there are none; `candidates_from` are the sources of what was ranked; `placements_id` is of
    the placements' file, empty without one; `due` is when the answer must be out, an instant of `time.monotonic`;
    `basis` is what the journal keeps to make the answer again.
    """

    request_id: str
    user_id: str
    placement: str | None
    as_of: int
    offset: int
    s: int
    bundle_id: str
    target: str
    calibration: Calibration | None
    learner_version: int
    ranked: tuple[Ranked, ...]
    degraded: tuple[Degradation, ...]
    persona: str = ""
    candidates_from: tuple[str, ...] = ()
    placements_id: str = ""
    due: float = math.inf
    basis: Basis | None = None

    @property
    def calibrated(self) -> bool:
        """Whether propensities are made from calibrated margins."""
        return self.calibration is not None


@dataclass(frozen=True, slots=True)
class Scored:
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
    ) -> tuple[Ranked, ...]:
        """The best `top_k` (0 for all), best first, equal scores in the order of their ids; mixed, if that is asked."""
        kind, ids, categories = self.candidates.kind, self.candidates.ids, self.candidates.categories
        order, by_score = self._order(top_k, diversity)
        rows = self.vector[order].astype("<f4", copy=False)
        columns = zip(
            order, by_score, rows, self.scores[order].tolist(), self.margins[order].tolist(),
            self.residuals[order].tolist(), self.believed[order].tolist(), self._addends(order), strict=True,
        )  # fmt: skip
        return tuple(
            Ranked(
                kind=kind,
                id=ids[place],
                category=categories[place],
                score=score,
                addends=addends,
                margin=margin,
                residual=residual,
                propensity=propensity_of(believed),
                vector=row.tobytes(),
                features={name: values[place] for name, values in features.items()},
                marks=standing.marks(kind, ids[place], categories[place]),
                relevance_position=position,
            )
            for place, position, row, score, margin, residual, believed, addends in columns
        )

    def _order(self, top_k: int, diversity: Diversity | None) -> tuple[list[int], Sequence[int]]:
        """The places that are answered, best first, and the position of each by score alone."""
        if diversity is None:
            order = rank(self.scores, self.candidates.ids, top_k)
            return order, range(1, len(order) + 1)
        order = rank(self.scores, self.candidates.ids)
        positions = {place: position for position, place in enumerate(order, 1)}
        order = diversified(order, self.scores, self.candidates.categories, diversity)[: top_k or None]
        return order, [positions[place] for place in order]

    def _addends(self, order: list[int]) -> list[tuple[Addend, ...]]:
        """What the scores at these places are made of."""
        shares = [
            [
                Addend(each.name, value, each.weight, contribution)
                for value, contribution in zip(
                    each.values[order].tolist(), each.contributions[order].tolist(), strict=True
                )
            ]
            for each in self.weighed
        ]
        return list(zip(*shares, strict=True)) if shares else [() for _ in order]


def rank(scores: np.ndarray, candidates: Sequence[str], top_k: int = 0) -> list[int]:
    """The places of the best `top_k` candidates (0 for all), best first; equal scores in the order of their ids.

    >>> rank(np.array([1.0, 2.0, 2.0]), ["a", "c", "b"], top_k=2)
    [2, 1]
    """
    order = np.argsort(-scores, kind="stable")
    best = scores[order[: top_k + 1 if top_k else None]]
    if np.count_nonzero(best[1:] == best[:-1]):
        ties = sorted(zip((-scores).tolist(), candidates, range(len(candidates)), strict=True))
        return [place for _, _, place in ties[: top_k or None]]
    found: list[int] = order[: top_k or None].tolist()
    return found


def propensity_of(margin: float) -> float:
    """The sigmoid of a margin, without overflow at either end.

    >>> propensity_of(0.0), propensity_of(-1000.0), propensity_of(1000.0)
    (0.5, 0.0, 1.0)
    """
    tail = math.exp(-abs(margin))
    return (1.0 if margin >= 0 else tail) / (1.0 + tail)


def explained(
    inputs: Sequence[str], finals: Mapping[str, Column], moment: Moment, candidates: Sequence[str]
) -> dict[str, list[FeatureValue]]:
    """What the model saw, by input in the model's order, before texts became codes: one value per candidate."""
    n = len(candidates)
    shown: dict[str, list[FeatureValue]] = {}
    for name in inputs:
        if name == CANDIDATE_INPUT:
            shown[name] = list(candidates)
        elif name in MOMENT_INPUTS:
            shown[name] = [int((moment.hour if name == "moment:hour" else moment.weekday)[0])] * n
        else:
            values = _values(finals[name])
            shown[name] = values * n if len(values) == 1 else values
    return shown


def served(answer: Answer) -> Served:
    """The answer as the log keeps it."""
    ranked = answer.ranked
    positions = tuple(each.relevance_position for each in ranked)
    shown = (Shown(each.kind, each.id, each.margin, each.residual, each.score, each.vector) for each in ranked)
    return Served(
        request_id=answer.request_id,
        user_id=answer.user_id,
        as_of=answer.as_of,
        offset=answer.offset,
        s=answer.s,
        bundle_id=answer.bundle_id,
        learner_version=answer.learner_version,
        shown=tuple(shown),
        placement=answer.placement,
        calibration=answer.calibration,
        persona=answer.persona,
        basis=answer.basis,
        factors=tuple((each.name, each.weight) for each in ranked[0].addends) if ranked else (),
        values=_float64([each.value for one in ranked for each in one.addends]),
        propensities=_float64([each.propensity for each in ranked]),
        categories=tuple(each.category for each in ranked) if any(each.kind == ITEM for each in ranked) else (),
        degraded=tuple(each.reason for each in answer.degraded),
        placements_id=answer.placements_id,
        relevance_positions=() if positions == tuple(range(1, len(ranked) + 1)) else positions,
    )


def _float64(numbers: Sequence[float]) -> bytes:
    return np.array(numbers, dtype="<f8").tobytes()


def _values(column: Column) -> list[FeatureValue]:
    return [value if known else None for value, known in zip(column.values.tolist(), column.valid, strict=True)]

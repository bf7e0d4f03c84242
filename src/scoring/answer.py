"""The answer to a request: the ranking, and all that it was made with; what the model saw, and what the log keeps."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from behavior.calibration import Calibration
from behavior.column import Column
from behavior.moment import Moment
from behavior.served import ITEM, Basis, Served, Shown
from behavior.vector import CANDIDATE_INPUT, MOMENT_INPUTS
from scoring.ranking import FeatureValue, Ranking


class Degradation(NamedTuple):
    """What an answer had to do without."""

    reason: str
    detail: str


class Answer(msgspec.Struct, frozen=True, eq=False):
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
    ranked: Ranking
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
    positions = tuple(ranked.positions)
    return Served(
        request_id=answer.request_id,
        user_id=answer.user_id,
        as_of=answer.as_of,
        offset=answer.offset,
        s=answer.s,
        bundle_id=answer.bundle_id,
        learner_version=answer.learner_version,
        shown=_shown(ranked),
        placement=answer.placement,
        calibration=answer.calibration,
        persona=answer.persona,
        basis=answer.basis,
        factors=ranked.factors if ranked else (),
        values=_float64([value for row in zip(*ranked.values, strict=True) for value in row]),
        propensities=_float64(ranked.propensities),
        categories=tuple(ranked.categories) if ranked and ranked.kind == ITEM else (),
        degraded=tuple(each.reason for each in answer.degraded),
        placements_id=answer.placements_id,
        relevance_positions=() if positions == tuple(range(1, len(ranked) + 1)) else positions,
    )


def _shown(ranked: Ranking) -> tuple[Shown, ...]:
    columns = zip(ranked.ids, ranked.margins, ranked.residuals, ranked.scores, ranked.vectors, strict=True)
    return tuple([Shown(ranked.kind, *each) for each in columns])


def _float64(numbers: Sequence[float]) -> bytes:
    return np.array(numbers, dtype="<f8").tobytes()


def _values(column: Column) -> list[FeatureValue]:
    return [value if known else None for value, known in zip(column.values.tolist(), column.valid, strict=True)]

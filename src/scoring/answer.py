"""The answer to a request: the ranking, and all that it was made with; what the model saw."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from behavior.calibration import Calibration
from behavior.column import Column
from behavior.moment import Moment
from behavior.served import Basis
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


def _values(column: Column) -> list[FeatureValue]:
    return [value if known else None for value, known in zip(column.values.tolist(), column.valid, strict=True)]

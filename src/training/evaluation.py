"""Evaluating scores of one set of rows beside each other: metrics, intervals, paired differences.

Intervals resample users, and every score is measured on the same replicates, so that a difference is judged by its own
interval: two scores may overlap and yet differ surely.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from behavior.errors import BadInput
from training.metrics import Auc, CalibrationError, Mean, Rows, group_ndcg, interval, log_losses, user_replicates

REPLICATES = 200
TITLES = {"auc": "AUC", "ndcg_10": "NDCG@10", "log_loss": "log loss", "calibration_error": "calibration error"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric on all rows, with its 95 % interval over resampled users."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0: for a difference, whether it is sure."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Scored:
    """One score's metrics by name; what asks for propensities is absent where the score is none."""

    name: str
    metrics: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more `name` has of each metric than `baseline`, on the same replicates."""

    name: str
    baseline: str
    metrics: dict[str, Estimate]

    def beats(self, metric: str) -> bool:
        """Whether the metric is greater beyond the interval."""
        return self.metrics[metric].low > 0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All scores on the same rows; `differences` are those of the first score to each other one."""

    rows: int
    users: int
    groups: int
    positive_share: float
    replicates: int
    scores: tuple[Scored, ...]
    differences: tuple[Difference, ...]


def evaluate(
    user: np.ndarray,
    group: np.ndarray,
    label: np.ndarray,
    scores: Mapping[str, np.ndarray],
    *,
    propensities: Sequence[str] = (),
    replicates: int = REPLICATES,
    seed: int = 1,
) -> Evaluation:
    """Measure every score on the same n rows.

    user, group     [n] of any integers or texts: the unit of resampling, and the list that is ranked within one user
    label           [n], 0 or 1
    scores          {name: float64[n]}, greater is better; the first is compared with each other one
    propensities    names of those scores that are probabilities: they also get log loss and calibration error
    Raises BadInput if lengths differ, a score is not finite, or a propensity is outside [0, 1].
    """
    rows = _rows(user, group, label)
    _check(rows, scores, propensities)
    weights = user_replicates(rows.users, replicates, seed)
    everyone = np.ones(rows.users, dtype=np.int32)
    values: dict[str, dict[str, tuple[float, np.ndarray]]] = {}
    for name, score in scores.items():
        # One at a time: the sorted copies of one score are released before the next is sorted.
        values[name] = {
            metric: (measure(everyone), np.array([measure(weight) for weight in weights]))
            for metric, measure in _measures(rows, score.astype(np.float64), name in propensities).items()
        }
    first, *others = scores
    return Evaluation(
        rows=len(rows.label),
        users=rows.users,
        groups=int(np.max(rows.group)) + 1,
        positive_share=float(rows.label.mean()),
        replicates=replicates,
        scores=tuple(
            Scored(name, {metric: _estimate(*pair) for metric, pair in of.items()}) for name, of in values.items()
        ),
        differences=tuple(Difference(first, other, _paired(values[first], values[other])) for other in others),
    )


def to_json(evaluation: Evaluation) -> dict[str, object]:
    """The evaluation as plain numbers and texts, for files and manifests."""

    def plain(metrics: dict[str, Estimate]) -> dict[str, object]:
        return {name: {"value": each.value, "low": each.low, "high": each.high} for name, each in metrics.items()}

    return {
        "rows": evaluation.rows,
        "users": evaluation.users,
        "groups": evaluation.groups,
        "positive_share": evaluation.positive_share,
        "replicates": evaluation.replicates,
        "scores": {scored.name: plain(scored.metrics) for scored in evaluation.scores},
        "differences": {f"{each.name} - {each.baseline}": plain(each.metrics) for each in evaluation.differences},
    }


def render(evaluation: Evaluation) -> Table:
    """A table for people: a row per score, then a row per difference; every figure with its interval."""
    title = (
        f"{evaluation.rows:,} rows, {evaluation.users:,} users, {evaluation.groups:,} rankings, "
        f"{evaluation.positive_share:.2%} positive; 95 % intervals from {evaluation.replicates} resamplings of users"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("score")
    for heading in TITLES.values():
        table.add_column(heading, justify="right")
    for scored in evaluation.scores:
        table.add_row(scored.name, *(_cell(scored.metrics.get(metric), "") for metric in TITLES))
    table.add_section()
    for each in evaluation.differences:
        table.add_row(f"{each.name} − {each.baseline}", *(_cell(each.metrics.get(metric), "+") for metric in TITLES))
    return table


def _measures(rows: Rows, score: np.ndarray, is_propensity: bool) -> dict[str, Callable[[np.ndarray], float]]:
    measures: dict[str, Callable[[np.ndarray], float]] = {"auc": Auc(rows, score)}
    if int(np.max(rows.group)) + 1 < len(rows.label):  # lists of one have no order
        measures["ndcg_10"] = Mean(*group_ndcg(rows, score), rows.users)
    if is_propensity:
        measures["log_loss"] = Mean(rows.user, log_losses(rows.label, score), rows.users)
        measures["calibration_error"] = CalibrationError(rows, score)
    return measures


def _estimate(value: float, replicated: np.ndarray) -> Estimate:
    return Estimate(value, *interval(replicated))


def _paired(
    ours: Mapping[str, tuple[float, np.ndarray]], theirs: Mapping[str, tuple[float, np.ndarray]]
) -> dict[str, Estimate]:
    return {
        metric: _estimate(ours[metric][0] - theirs[metric][0], ours[metric][1] - theirs[metric][1])
        for metric in ours
        if metric in theirs
    }


def _rows(user: np.ndarray, group: np.ndarray, label: np.ndarray) -> Rows:
    if not len(label) or not len(user) == len(group) == len(label):
        raise BadInput(
            f"users, groups and labels must be equally many and some: {len(user)}, {len(group)}, {len(label)}"
        )
    if not np.isin(label, (0, 1)).all():
        raise BadInput("labels must be 0 or 1; give whether the event happened")
    users, groups = (np.unique(each, return_inverse=True)[1].astype(np.int64) for each in (user, group))
    owner = np.zeros(int(np.max(groups)) + 1, dtype=np.int64)
    owner[groups] = users
    if (owner[groups] != users).any():
        raise BadInput("a group holds rows of two users; a group is one user at one cut-off")
    return Rows(users, groups, label.astype(np.uint8))


def _check(rows: Rows, scores: Mapping[str, np.ndarray], propensities: Sequence[str]) -> None:
    if not scores or not set(propensities) <= set(scores):
        raise BadInput(f"propensities {list(propensities)} must be among the scores {list(scores)}")
    for name, score in scores.items():
        if len(score) != len(rows.label) or not np.isfinite(score).all():
            raise BadInput(f"score {name}: it must have {len(rows.label)} finite values")
        if name in propensities and (score.min() < 0 or score.max() > 1):
            raise BadInput(f"score {name}: a propensity lies in 0..1; pass margins through the logistic function first")


def _cell(estimate: Estimate | None, sign: str) -> str:
    if estimate is None:
        return "–"
    return f"{estimate.value:{sign}.4f} [{estimate.low:{sign}.4f}, {estimate.high:{sign}.4f}]"

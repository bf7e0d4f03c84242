"""What one model answered on labelled rows, and how good that is: on all rows, and in every declared slice.

Each figure keeps its bootstrap replicates, and equal rows with an equal seed are resampled in the same way. So the
difference of two models is the difference of their replicates: report, compare and gate are all made of `figures`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import msgspec
import numpy as np
import pyarrow as pa
from rich.table import Table

from behavior.errors import BadInput
from training.evaluation import REPLICATES, TITLES, Estimate
from training.metrics import (
    BINS,
    Auc,
    CalibrationError,
    Mean,
    Rows,
    group_ndcg,
    interval,
    log_losses,
    user_replicates,
)

ALL = "all"
# What a model is watched in: each a partition of the rows. A new one is one entry here and one column of the rows.
DECLARED = ("persona", "tenure", "hour")
HIGHER_IS_BETTER = {"auc": True, "ndcg_10": True, "log_loss": False, "calibration_error": False}
# Below any of these a slice is shown and not judged: its calibration error is mostly noise, and few users can be drawn.
SMALLEST_ROWS, SMALLEST_CLASS, SMALLEST_USERS = 1000, 50, 30
# A calibration bin with fewer rows would show the luck of its labels: at 7 % positive, 500 rows are ± 0.011.
BIN_ROWS = 500


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One model's answers on n rows, in any order; a group is the list that is ranked, and belongs to one user.

    user, group    int64[n], any numbers
    label          uint8[n], 0 or 1
    propensity     float64[n], calibrated
    margin         float64[n], raw: before calibration
    slices         {name: object[n] of str}; those of DECLARED are judged
    Raises BadInput for arrays that do not fit together, and for answers that are not finite or no propensities.
    """

    user: np.ndarray
    group: np.ndarray
    label: np.ndarray
    propensity: np.ndarray
    margin: np.ndarray
    slices: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        columns = (self.user, self.group, self.label, self.propensity, self.margin, *self.slices.values())
        if not len(self.label) or len({len(column) for column in columns}) != 1:
            raise BadInput(f"measured columns must be equally long and not empty: {[len(each) for each in columns]}")
        if not np.isin(self.label, (0, 1)).all():
            raise BadInput("labels must be 0 or 1; give whether the event happened")
        if not np.isfinite(self.margin).all() or not ((self.propensity >= 0) & (self.propensity <= 1)).all():
            raise BadInput("margins must be finite and propensities within 0..1; measure the model again")

    def __len__(self) -> int:
        return len(self.label)

    def take(self, places: np.ndarray) -> "Measured":
        """Some of the rows, in the given order."""
        return Measured(
            self.user[places], self.group[places], self.label[places], self.propensity[places], self.margin[places],
            {of: names[places] for of, names in self.slices.items()},
        )  # fmt: skip

    def same_rows(self, other: "Measured") -> bool:
        """Whether the other one was measured on the very same rows in the same order: differences are then paired."""
        pairs = ((self.user, other.user), (self.group, other.group), (self.label, other.label))
        return all(np.array_equal(ours, theirs) for ours, theirs in pairs)


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """A metric, and what it was in each bootstrap replicate, float64[replicates]; NaN where it has no value."""

    value: float
    drawn: np.ndarray

    @property
    def estimate(self) -> Estimate:
        """With the central 95 % of the replicates."""
        return Estimate(self.value, *interval(self.drawn))

    def less(self, other: "Figure") -> "Figure":
        """The paired difference to the other one, which was resampled alike."""
        return Figure(self.value - other.value, self.drawn - other.drawn)

    def within(self, error: float) -> Estimate:
        """With value ± z standard errors of the replicates, z for that chance of an error on each side.

        For chances that are too small to be read off a few hundred replicates.
        """
        known = self.drawn[~np.isnan(self.drawn)]
        if len(known) < 2:
            return Estimate(self.value, float("nan"), float("nan"))
        reach = NormalDist().inv_cdf(1 - error) * float(np.std(known, ddof=1))
        return Estimate(self.value, self.value - reach, self.value + reach)


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """The figures of some of the rows: `of` and `name` say which (`persona`, `Loyal`); all of them are `all`, `all`.

    judged    whether there are enough rows, users and examples of each label to say anything; else `why_not` tells
    """

    of: str
    name: str
    rows: int
    users: int
    positives: int
    figures: dict[str, Figure]

    @property
    def why_not(self) -> str:
        """What it has too little of to be judged; empty if it has enough."""
        for what, has, needs in (
            ("rows", self.rows, SMALLEST_ROWS),
            ("users", self.users, SMALLEST_USERS),
            ("positives", self.positives, SMALLEST_CLASS),
            ("negatives", self.rows - self.positives, SMALLEST_CLASS),
        ):
            if has < needs:
                return f"{has} {what} of at least {needs}"
        return ""

    @property
    def judged(self) -> bool:
        """Whether it has enough of everything."""
        return not self.why_not

    @property
    def title(self) -> str:
        """How people are told of it."""
        return "all rows" if self.of == ALL else f"{self.of} {self.name}"


def figures(measured: Measured, *, replicates: int = REPLICATES, seed: int = 1) -> list[Slice]:
    """All rows first, then every slice of every declared kind that the rows tell, in the order of their names.

    Figures are AUC, log loss and calibration error, and NDCG@10 if any group holds more than one row. A kind of which
    the rows know one name only is all rows again, and left out.
    """
    users, user = np.unique(measured.user, return_inverse=True)
    groups, group = np.unique(measured.group, return_inverse=True)
    weights = user_replicates(len(users), replicates, seed)
    ranked = len(groups) < len(measured)
    everything = np.arange(len(measured))
    found = [_slice(measured, ALL, ALL, everything, (user, group, weights), ranked)]
    for of in DECLARED:
        parts = _parts(measured.slices[of]) if of in measured.slices else []
        for name, places in parts if len(parts) > 1 else []:
            found.append(_slice(measured, of, name, places, (user, group, weights), ranked))
    return found


def _parts(names: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Each name with the places of its rows, in the order of the first number in a name, then of names."""
    # Arrow's hashing: sorting two million Python strings takes longer than all that follows.
    encoded = pa.array(names, type=pa.string()).dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    texts = encoded.dictionary.to_pylist()
    order = sorted(range(len(texts)), key=lambda code: _rank(texts[code]))
    return [(texts[code], np.flatnonzero(codes == code)) for code in order]


def _rank(name: str) -> tuple[int, bool, str]:
    """So that "under 90 days" stands before "90 to 180 days", and "morning 6-11" before "afternoon 12-17"."""
    number = re.search(r"\d+", name)
    return (int(number[0]), number.start() == 0, name) if number else (-1, False, name)


def _slice(
    measured: Measured,
    of: str,
    name: str,
    places: np.ndarray,
    resampling: tuple[np.ndarray, np.ndarray, np.ndarray],
    ranked: bool,
) -> Slice:
    """The figures of the rows at `places`; resampling is (user [n], group [n], weights int32[replicates, users])."""
    user, group, weights = resampling
    # The slice's own users, numbered anew; in each replicate they are drawn as often as among all users.
    members, numbered = np.unique(user[places], return_inverse=True)
    rows = Rows(numbered, group[places], measured.label[places])
    once, drawn = np.ones(len(members), dtype=np.int32), np.ascontiguousarray(weights[:, members])
    found = {
        metric: Figure(measure(once), np.array([measure(weight) for weight in drawn]))
        for metric, measure in _measures(rows, measured.propensity[places], ranked).items()
    }
    return Slice(of, name, len(places), len(members), int(rows.label.sum()), found)


def _measures(rows: Rows, propensity: np.ndarray, ranked: bool) -> dict[str, Callable[[np.ndarray], float]]:
    bins = min(BINS, max(1, len(rows.label) // BIN_ROWS))
    measures: dict[str, Callable[[np.ndarray], float]] = {
        "auc": Auc(rows, propensity),
        "log_loss": Mean(rows.user, log_losses(rows.label, propensity), rows.users),
        "calibration_error": CalibrationError(rows, propensity, bins),
    }
    if ranked:
        measures["ndcg_10"] = Mean(*group_ndcg(rows, propensity), rows.users)
    return measures


def render_slices(slices: Sequence[Slice]) -> Table:
    """A table for people: what a model is worth in each slice; those that are too small to be judged say so."""
    table = Table(title="in slices", title_justify="left")
    table.add_column("slice")
    for heading in ("rows", "positive", *TITLES.values()):
        table.add_column(heading, justify="right")
    for each in slices:
        title = each.title if each.judged else f"{each.title} (not judged: {each.why_not})"
        values = (each.figures.get(metric) for metric in TITLES)
        cells = ("–" if figure is None else f"{figure.value:.4f}" for figure in values)
        table.add_row(title, f"{each.rows:,}", f"{each.positives / each.rows:.2%}", *cells)
    return table


def slice_to_json(each: Slice) -> dict[str, object]:
    """A slice as plain numbers and texts."""
    metrics = {name: msgspec.to_builtins(figure.estimate) for name, figure in each.figures.items()}
    return {
        "of": each.of, "name": each.name, "rows": each.rows, "users": each.users, "positives": each.positives,
        "not_judged_because": each.why_not, "metrics": metrics,
    }  # fmt: skip

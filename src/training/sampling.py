"""Which questions a model is trained on, and which of them for what: sampled, weighted, split by time with a gap.

──────────── fit ────────────┤  gap: one horizon  ├──── newest labelled span ────┤  one horizon  ├ until
                                                    half of the users: when to stop
                                                    the other half: calibration, and the metrics of the manifest

Calibrated is on cut-offs alone (of exposures on all): just after an event only the active are asked, and what is right
for them is not for those who stay away.
"""

from dataclasses import dataclass

import duckdb
import numpy as np

from behavior.errors import BadInput
from behavior.event import DAY_US
from training.rows import (
    Instants,
    Rows,
    activity_instants,
    ask,
    ask_exposures,
    cutoff_instants,
    open_events,
    refuse_absent_kinds,
    sundays,
)
from training.targets import Target


@dataclass(frozen=True, slots=True)
class Recipe:
    """How training rows are chosen; the figures behind the numbers are in docs/benchmarks.md.

    max_rows         about as many rows are made; positives are all kept, negatives are thinned and weighted
    negative_rate    share of the negatives of a user_category that is kept
    warm_up_us       history that must lie behind the first instant, so that windows are not half empty
    """

    seed: int = 1
    max_rows: int = 1_000_000
    negative_rate: float = 0.25
    warm_up_us: int = 60 * DAY_US


@dataclass(frozen=True, slots=True)
class Split:
    """Places of the rows to fit on, of those that say when to stop, and of those to calibrate on: int64 each."""

    fit: np.ndarray
    stop: np.ndarray
    calibrate: np.ndarray


def training_rows(con: duckdb.DuckDBPyConnection, target: Target, *, until: int, zone: str, recipe: Recipe) -> Rows:
    """Sampled questions whose whole label lies before `until` (µs), in order of time.

    Raises BadInput if a kind of event is absent that the target needs, or there is too little history.
    """
    open_events(con, target)
    refuse_absent_kinds(con, target)
    (first,) = con.execute("SELECT min(e) FROM asked_events").fetchone() or (None,)
    last = until - target.horizon_us
    if target.entity == "exposure":
        rows = ask_exposures(con, target, 0, last)
        return rows.take(np.sort(np.random.default_rng(recipe.seed).permutation(len(rows))[: recipe.max_rows]))
    cutoffs = sundays(first + recipe.warm_up_us, last, zone)
    if not cutoffs:
        raise BadInput(
            f"there is no Sunday between the first {target.event} + {recipe.warm_up_us // DAY_US} days and the last "
            f"instant whose {target.horizon_us // DAY_US} days are known; import more history or train until later"
        )
    generator = np.random.default_rng(recipe.seed)
    wanted = int(recipe.max_rows / _rows_per_instant(target, recipe))
    active = round(wanted * target.activity_share)
    chosen = _together(
        _some(activity_instants(con, target, cutoffs, last), active, generator),
        _some(cutoff_instants(con, target, cutoffs), wanted - active, generator),
    )
    rows = ask(con, target, chosen)
    if not len(rows):
        raise BadInput(
            f"no {target.event} event before {target.name} would ask says a category, and categories are what it asks "
            "about; import events with categories, or train a target of users"
        )
    return sample_negatives(rows, recipe.negative_rate, generator) if target.entity == "user_category" else rows


def sample_negatives(rows: Rows, rate: float, generator: np.random.Generator) -> Rows:
    """All positives and a share of the negatives, each negative weighted by 1 / rate."""
    kept = np.flatnonzero((rows.label == 1) | (generator.random(len(rows)) < rate))
    sampled = rows.take(kept)
    weight = np.where(sampled.label == 1, sampled.weight, sampled.weight / np.float32(rate)).astype(np.float32)
    return Rows(rows.instants, sampled.instant, sampled.category, rows.categories, sampled.label, weight)


def split(rows: Rows, *, until: int, target: Target, recipe: Recipe) -> Split:
    """The rows by time, with a gap of one horizon before the newest labelled span, whose users are halved.

    Raises BadInput that says how many answers there are where they are too few to learn from.
    """
    valid_from = until - target.horizon_us - target.valid_us
    early, late = rows.t + target.horizon_us <= valid_from, rows.t >= valid_from
    users = len(rows.instants.users)
    half = np.random.default_rng(recipe.seed).permutation(users) % 2 == 0
    of_half = half[rows.instants.user[rows.instant]]
    at_cutoff = rows.t == rows.instants.cutoff[rows.instant]
    parts = Split(np.flatnonzero(early), np.flatnonzero(late & of_half), np.flatnonzero(late & ~of_half & at_cutoff))
    # Half of the newest users must only tell when to stop; a fit needs the stated number.
    needed = {"fit": target.least_positives, "stop": target.least_positives // 4}
    needed["calibrate"] = needed["stop"]
    for name, least in needed.items():
        label = rows.label[getattr(parts, name)]
        positive, negative = int(label.sum()), int(len(label) - label.sum())
        if min(positive, negative) < least:
            raise BadInput(
                f"{target.name}: of {len(label):,} rows to {name} on, {positive:,} are yes and {negative:,} are no, "
                f"and fewer than {least} of either teach nothing; import more history or train until later"
            )
    return parts


def _rows_per_instant(target: Target, recipe: Recipe) -> float:
    """Of 100 candidates about 10 come true; the rest are thinned. A bound on memory, not an exact count."""
    return target.candidates * (0.1 + 0.9 * recipe.negative_rate) if target.entity == "user_category" else 1.0


def _some(instants: Instants, number: int, generator: np.random.Generator) -> Instants:
    chosen = generator.choice(len(instants), size=min(number, len(instants)), replace=False)
    return instants.take(np.sort(chosen))


def _together(left: Instants, right: Instants) -> Instants:
    """Both, in order of time, over one list of users."""
    users = sorted({*left.users, *right.users})
    place = {user: number for number, user in enumerate(users)}
    user = np.concatenate(
        [np.array([place[name] for name in each.users], np.int32)[each.user] for each in (left, right)]
    )
    t = np.concatenate([left.t, right.t])
    order = np.lexsort((user, t))
    return Instants(user[order], t[order], np.concatenate([left.cutoff, right.cutoff])[order], users)

"""Training one target from the archive to a bundle, read from top to bottom.

instants × candidates → labels → sampled rows → split by time → vectors from Feast → fit → ONNX, verified → bundle
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from behavior.errors import BadInput
from behavior.event import DAY_US
from behavior.manifest import Span
from behavior.plan import Plan
from behavior.vector import CANDIDATE_INPUT, MOMENT_INPUTS
from training import bundle
from training.dataset import codes_of, service_features, vectors
from training.fit import Sample, fit
from training.onnx_check import verify
from training.onnx_export import export
from training.revision import git_revision
from training.rows import (
    Instants,
    Rows,
    activity_instants,
    ask,
    cutoff_instants,
    open_events,
    sample_negatives,
    sundays,
)
from training.targets import Target

if TYPE_CHECKING:
    from feast import FeatureStore

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How training rows are chosen; the figures behind the numbers are in docs/benchmarks.md.

    max_rows         about as many rows are made; positives are all kept, negatives are thinned and weighted
    negative_rate    share of the negatives that is kept
    activity_share   share of the instants that are just after an order; the rest are cut-offs
    warm_up_us       history that must lie behind the first instant, so that windows are not half empty
    valid_us         the newest labelled span, on which training is stopped
    """

    seed: int = 1
    max_rows: int = 1_000_000
    negative_rate: float = 0.25
    activity_share: float = 0.5
    warm_up_us: int = 60 * DAY_US
    valid_us: int = 14 * DAY_US


@dataclass(frozen=True, slots=True)
class Report:
    """What training made, and from what."""

    bundle_id: str
    train_rows: int
    valid_rows: int
    positive_share: float
    trees: int
    onnx_difference: float


def train(
    con: duckdb.DuckDBPyConnection,
    store: "FeatureStore",
    plan: Plan,
    target: Target,
    *,
    until: int,
    zone: str,
    bundles: bundle.Place,
    threads: int,
    recipe: Recipe = Recipe(),
    progress: Progress = lambda what, done, all_: None,
) -> Report:
    """Fit the target on what was known before `until` (µs) and write the bundle; nothing at or after it is looked at.

    `con` has the archive as the view `events`. Raises BadInput if there is too little history for a split by time.
    """
    progress("choosing rows", 0, 1)
    rows = training_rows(con, target, until=until, zone=zone, recipe=recipe)
    early, late = split(rows, until=until, target=target, recipe=recipe)
    inputs = [*service_features(store, target.service), *MOMENT_INPUTS, CANDIDATE_INPUT]
    vocabularies = freeze_vocabularies(plan, inputs, rows.take(early))
    codes = {name: codes_of(texts) for name, texts in vocabularies.items()}
    both = rows.take(np.concatenate([early, late]))
    x = vectors(
        store, plan, inputs, both, codes, zone, progress=lambda done, all_: progress("joining features", done, all_)
    )
    train_part, valid_part = _sample(x, both, slice(0, len(early))), _sample(x, both, slice(len(early), None))
    progress("fitting", 0, 1)
    booster = fit(*train_part, inputs, valid=valid_part, seed=recipe.seed, threads=threads)
    progress("verifying ONNX", 0, 1)
    onnx = export(booster)
    difference = verify(booster, onnx, valid_part[0])
    made = bundle.Trained(
        target=target.name,
        entity=target.entity,
        inputs=inputs,
        fingerprints=plan.fingerprints,
        zone=zone,
        trained=Span(int(both.t.min()), until),
        rows={"train": len(early), "valid": len(late)},
        metrics={},
        export_difference=difference,
        model_onnx=onnx,
        model_text=booster.model_to_string(),
        vocabularies=vocabularies,
        golden_x=_golden(valid_part[0], recipe.seed),
        reference=b"{}\n",
        git_revision=None if store.repo_path is None else git_revision(Path(store.repo_path)),
    )
    bundle_id = bundle.write_bundle(bundles, made, datetime.now(UTC))
    bundle.point(bundles, "current", bundle_id)
    return Report(bundle_id, len(early), len(late), float(train_part[1].mean()), booster.num_trees(), difference)


def training_rows(con: duckdb.DuckDBPyConnection, target: Target, *, until: int, zone: str, recipe: Recipe) -> Rows:
    """Sampled questions whose whole label lies before `until`, in order of time, at activity instants and cut-offs."""
    open_events(con, target)
    (first,) = con.execute("SELECT min(e) FROM asked_events").fetchone() or (None,)
    if first is None:
        raise BadInput(f"the archive has no {target.event} event, which {target.name} learns from; import some first")
    last = until - target.horizon_us
    cutoffs = sundays(first + recipe.warm_up_us, last, zone)
    if not cutoffs:
        raise BadInput(
            f"there is no Sunday between the first {target.event} + {recipe.warm_up_us // DAY_US} days and the last "
            f"instant whose {target.horizon_us // DAY_US} days are known; import more history or train until later"
        )
    generator = np.random.default_rng(recipe.seed)
    # Of 100 candidates about 10 come true; the rest are thinned. Exact counts do not matter, the bound on memory does.
    per_instant = target.candidates * (0.1 + 0.9 * recipe.negative_rate)
    wanted = int(recipe.max_rows / per_instant)
    active = round(wanted * recipe.activity_share)
    chosen = _together(
        _some(activity_instants(con, target, cutoffs, last), active, generator),
        _some(cutoff_instants(con, target, cutoffs), wanted - active, generator),
    )
    return sample_negatives(ask(con, target, chosen), recipe.negative_rate, generator)


def split(rows: Rows, *, until: int, target: Target, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Places of the training and of the validation rows: the newest span, with a gap of one horizon before it."""
    valid_from = until - target.horizon_us - recipe.valid_us
    late = np.flatnonzero(rows.t >= valid_from)
    early = np.flatnonzero(rows.t + target.horizon_us <= valid_from)
    if not len(late) or not len(early):
        raise BadInput("there are too few weeks of history for a split by time; import more or train until later")
    return early, late


def freeze_vocabularies(plan: Plan, inputs: list[str], rows: Rows) -> dict[str, list[str]]:
    """The texts that each text input knows, by falling share of positives, so that a numeric split can group them."""
    positives = np.bincount(rows.category, weights=rows.label * rows.weight, minlength=len(rows.categories))
    asked = np.bincount(rows.category, weights=rows.weight, minlength=len(rows.categories))
    share = positives / np.maximum(asked, 1)
    order = sorted(range(len(rows.categories)), key=lambda place: (-share[place], rows.categories[place]))
    categories = [rows.categories[place] for place in order]
    texts = [name for name in inputs if name in plan.features and plan.features[name].dtype == "string"]
    unknown = [name for name in texts if plan.features[name].aggregation.field != "category"]
    if unknown:
        raise BadInput(f"no vocabulary is made for {', '.join(unknown)}; leave it out of the feature service")
    return dict.fromkeys((CANDIDATE_INPUT, *texts), categories)


def _sample(x: np.ndarray, rows: Rows, places: slice) -> Sample:
    return x[places], rows.label[places], rows.weight[places]


def _golden(x: np.ndarray, seed: int, rows: int = 64) -> np.ndarray:
    """Some real rows and one that is missing everything."""
    chosen = np.random.default_rng(seed).choice(len(x), size=min(rows, len(x)), replace=False)
    return np.vstack([x[np.sort(chosen)], np.full((1, x.shape[1]), np.nan, dtype=np.float32)])


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

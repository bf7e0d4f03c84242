"""Training one target from the archive to a bundle, read from top to bottom.

questions → labels → sampled rows → split by time → vectors from Feast → leaks refused → fit → calibrate → ONNX,
verified → measured on users that it has not learned from → bundle
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from behavior.calibration import Calibration
from behavior.errors import BadInput
from behavior.manifest import Span
from behavior.plan import Plan
from behavior.vector import CANDIDATE_INPUT, MOMENT_INPUTS
from training import bundle
from training.calibrate import calibrate
from training.dataset import codes_of, service_features, vectors
from training.evaluation import evaluate, to_json
from training.fit import Sample, fit, margins
from training.onnx_check import verify
from training.onnx_export import export
from training.propensity import Propensity, answered
from training.rows import Rows, ask, cutoff_instants, sundays
from training.sampling import Recipe, Split, split, training_rows
from training.steps import Progress, Step, Steps
from training.targets import Target

if TYPE_CHECKING:
    from feast import FeatureStore

RECIPE = Recipe()
# Users are drawn again so often for the intervals in the manifest; an evaluation draws more.
REPLICATES = 100


@dataclass(frozen=True, slots=True)
class Trained:
    """What training made, and from what; each step's wall time in seconds."""

    bundle_id: str
    target: str
    fit_rows: int
    stop_rows: int
    calibrate_rows: int
    positive_share: float
    trees: int
    onnx_difference: float
    calibration: Calibration
    metrics: Mapping[str, object]
    steps: Sequence[Step]


def train(
    con: duckdb.DuckDBPyConnection,
    store: "FeatureStore",
    plan: Plan,
    target: Target,
    *,
    until: int,
    zone: str,
    bundles: Path,
    threads: int,
    recipe: Recipe = RECIPE,
    progress: Progress = lambda what, done, all_: None,
) -> Trained:
    """Fit the target on what was known before `until` (µs) and write the bundle; nothing at or after it is looked at.

    `con` has the archive as the view `events`. Raises BadInput if a kind of event is absent that the target needs, or
    there is too little history for a split by time.
    """
    steps = Steps(progress)
    with steps.step("choosing rows"):
        rows = training_rows(con, target, until=until, zone=zone, recipe=recipe)
        parts = split(rows, until=until, target=target, recipe=recipe)
    inputs = inputs_of(store, target)
    vocabularies = freeze_vocabularies(plan, inputs, rows.take(parts.fit))
    codes = {name: codes_of(texts) for name, texts in vocabularies.items()}
    with steps.step("joining features") as tell:
        chosen = rows.take(np.concatenate([parts.fit, parts.stop, parts.calibrate]))
        x = vectors(store, plan, inputs, chosen, codes, zone, progress=tell).x
    samples = _samples(x, chosen, parts)
    with steps.step("fitting"):
        booster = fit(*samples.fit, inputs, valid=samples.stop, seed=recipe.seed, threads=threads)
    with steps.step("calibrating"):
        shown, label, weight = samples.calibrate
        calibration = calibrate(margins(booster, shown, threads=threads), label, weight)
    with steps.step("verifying ONNX"):
        onnx = export(booster)
        difference = verify(booster, onnx, shown, threads=threads)
    fitted = Propensity(tuple(inputs), codes, zone, calibration, lambda rows: margins(booster, rows, threads=threads))
    with steps.step("measuring") as tell:
        unseen = held_back(con, target, rows, parts, until=until, zone=zone)
        answers = answered(fitted, store, plan, unseen, parted=False, progress=tell)
        measured = evaluate(
            unseen.instants.user[unseen.instant], unseen.instant, unseen.label, {target.name: answers.propensity},
            propensities=[target.name], replicates=REPLICATES,
        )  # fmt: skip
        metrics = to_json(measured)
    made = bundle.Trained(
        target=target.name,
        entity=target.entity,
        inputs=inputs,
        fingerprints=plan.fingerprints,
        zone=zone,
        trained=Span(int(chosen.t.min()), until),
        rows={"fit": len(parts.fit), "stop": len(parts.stop), "calibrate": len(parts.calibrate)},
        metrics=metrics,
        export_difference=difference,
        model_onnx=onnx,
        model_text=booster.model_to_string(),
        vocabularies=vocabularies,
        golden_x=_golden(samples.calibrate[0], recipe.seed),
        calibration=calibration,
    )
    bundle_id = bundle.write_bundle(bundles, made, datetime.now(UTC))
    bundle.point(bundles, "current", bundle_id)
    return Trained(
        bundle_id, target.name, len(parts.fit), len(parts.stop), len(parts.calibrate), float(samples.fit[1].mean()),
        booster.num_trees(), difference, calibration, metrics, tuple(steps.done),
    )  # fmt: skip


def inputs_of(store: "FeatureStore", target: Target) -> list[str]:
    """What a model of the target sees: its service's features, the moment, and the category that is asked about."""
    asked = () if target.entity == "user" else (CANDIDATE_INPUT,)
    return [*service_features(store, target.service), *MOMENT_INPUTS, *asked]


def freeze_vocabularies(plan: Plan, inputs: Sequence[str], rows: Rows) -> dict[str, list[str]]:
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
    return dict.fromkeys([name for name in inputs if name == CANDIDATE_INPUT or name in texts], categories)


def held_back(
    con: duckdb.DuckDBPyConnection, target: Target, rows: Rows, parts: Split, *, until: int, zone: str
) -> Rows:
    """Questions to users that the model has not learned from, none thinned out: what its metrics are measured on."""
    if target.entity != "user_category":
        return rows.take(parts.calibrate)
    calibrated = rows.instants.user[rows.instant[parts.calibrate]]
    users = {rows.instants.users[place] for place in np.unique(calibrated)}
    last = until - target.horizon_us
    instants = cutoff_instants(con, target, sundays(last - target.valid_us, last, zone))
    known = np.array([user in users for user in instants.users], dtype=bool)
    return ask(con, target, instants.take(np.flatnonzero(known[instants.user])))


@dataclass(frozen=True, slots=True)
class _Samples:
    fit: Sample
    stop: Sample
    calibrate: Sample


def _samples(x: np.ndarray, rows: Rows, parts: Split) -> _Samples:
    """x and rows are those of the three parts, one after the other."""
    ends = np.cumsum([len(parts.fit), len(parts.stop), len(parts.calibrate)]).tolist()
    places = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    return _Samples(*((x[each], rows.label[each], rows.weight[each]) for each in places))


def _golden(x: np.ndarray, seed: int, rows: int = 64) -> np.ndarray:
    """Some real rows and one that is missing everything."""
    chosen = np.random.default_rng(seed).choice(len(x), size=min(rows, len(x)), replace=False)
    return np.vstack([x[np.sort(chosen)], np.full((1, x.shape[1]), np.nan, dtype=np.float32)])

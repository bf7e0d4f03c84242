"""Training one target from the archive to a bundle, read from top to bottom.

questions → labels → sampled rows → split by time → vectors from Feast → leaks refused → fit → calibrate → fit on all
rows → ONNX, verified → context counted → measured on users that it has not learned from → bundle → report

With a journal the rows are what was served, vectors included; everything from the split on is the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import msgspec
import numpy as np

from behavior.calibration import Calibration
from behavior.distribution import describe, encode
from behavior.errors import BadInput
from behavior.manifest import Span
from behavior.plan import Plan
from behavior.vector import CANDIDATE_INPUT, MOMENT_INPUTS
from training import bundle
from training.calibrate import calibrate
from training.context import context_tables
from training.dataset import codes_of, service_features, vectors
from training.fit import Sample, fit, fit_again, margins
from training.journal_rows import Accounting, Journal, journal_rows
from training.leakage import refuse_answers, refuse_leaks
from training.measured import figures
from training.measuring import Answers, answered
from training.onnx_check import verify
from training.onnx_export import export
from training.propensity import Propensity
from training.report import render, report_of
from training.revision import git_revision
from training.rows import Rows, ask, cutoff_instants, sundays
from training.sampling import Recipe, Split, split, training_rows
from training.steps import Progress, Step, Steps
from training.targets import Target

if TYPE_CHECKING:
    import lightgbm
    from feast import FeatureStore

RECIPE = Recipe()
_HELD_BACK = (
    "Measured on half of the users of the newest weeks, which calibrated the model, before these weeks were added "
    "to the fit:"
)
# Users are drawn again so often for the intervals in the manifest; an evaluation draws more.
REPLICATES = 100


@dataclass(frozen=True, slots=True)
class Trained:
    """What training made, and from what; each step's wall time in seconds.

    journal    what became of the served entries, if the rows came from them
    """

    bundle_id: str
    report: str
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
    journal: Accounting | None = None


@dataclass(frozen=True, slots=True)
class Learning:
    """Where a model learns from, and within which bounds.

    con       has the archive as the view `events`
    store     the feature store that joins features to questions
    zone      IANA zone for users whose own offset is not known
    """

    con: duckdb.DuckDBPyConnection
    store: "FeatureStore"
    plan: Plan
    zone: str
    threads: int
    recipe: Recipe = RECIPE


def train(
    learning: Learning,
    target: Target,
    place: bundle.Place,
    *,
    until: int,
    created: datetime,
    journal: Journal | None = None,
    progress: Progress = lambda what, done, all_: None,
) -> Trained:
    """Fit the target on what was known before `until` (µs) and write the bundle; nothing at or after it is looked at.

    No pointer moves. Equal data and `created` give the same bundle. Raises BadInput if a kind of event is absent that
    the target needs, or there is too little history for a split by time.

    journal    learn from what was served instead of from the tables, with the inputs and vocabularies that served it
    """
    steps, plan, recipe = Steps(progress), learning.plan, learning.recipe
    if journal is None:
        lesson = _from_tables(learning, target, steps, until)
    else:
        lesson = _from_journal(learning, target, steps, until, journal)
    rows, parts, inputs, vocabularies = lesson.rows, lesson.parts, lesson.inputs, lesson.vocabularies
    codes = {name: codes_of(texts) for name, texts in vocabularies.items()}
    chosen, samples = lesson.chosen, _samples(lesson.x, lesson.chosen, parts)
    fitted = _fitted(samples, inputs, learning, steps)
    propensity = Propensity(tuple(inputs), codes, learning.zone, fitted.calibration, fitted.early)
    personas = bundle.personas_beside(place, plan)
    tables = None
    if target.entity == "user_category":
        with steps.step("counting contexts"):
            tables = context_tables(
                learning.con, learning.store, plan, target, until=until, zone=learning.zone, personas=personas
            )
    with steps.step("measuring") as tell:
        unseen = held_back(learning, target, rows, parts, until=until)
        answers = answered(
            propensity, learning.store, plan, unseen, personas=personas, tables=tables, progress=tell
        )  # fmt: skip
        metrics = _metrics(answers)
    made = bundle.Trained(
        target=target.name,
        entity=target.entity,
        inputs=inputs,
        fingerprints=plan.fingerprints,
        zone=learning.zone,
        trained=Span(int(chosen.t.min()), until),
        rows={"fit": len(parts.fit), "stop": len(parts.stop), "calibrate": len(parts.calibrate)},
        metrics=metrics,
        export_difference=fitted.onnx_difference,
        model_onnx=fitted.onnx,
        model_text=fitted.booster.model_to_string(),
        vocabularies=vocabularies,
        golden_x=_golden(samples.calibrate[0], recipe.seed),
        reference=encode(describe(samples.fit[0], inputs, vocabularies, samples.fit[2])),
        calibration=fitted.calibration,
        git_revision=None if learning.store.repo_path is None else git_revision(Path(learning.store.repo_path)),
        tables=tables,
    )
    bundle_id = bundle.write_bundle(place, made, created)
    with steps.step("reporting"):
        report = _reported(place, bundle_id, answers, target, learning.threads)
    return Trained(
        bundle_id=bundle_id,
        report=report,
        target=target.name,
        fit_rows=len(parts.fit),
        stop_rows=len(parts.stop),
        calibrate_rows=len(parts.calibrate),
        positive_share=float(samples.fit[1].mean()),
        trees=fitted.booster.num_trees(),
        onnx_difference=fitted.onnx_difference,
        calibration=fitted.calibration,
        metrics=metrics,
        steps=tuple(steps.done),
        journal=lesson.accounting,
    )


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


def held_back(learning: Learning, target: Target, rows: Rows, parts: Split, *, until: int) -> Rows:
    """Questions to users that the model has not learned from, none thinned out: what its metrics are measured on."""
    if target.entity != "user_category":
        return rows.take(parts.calibrate)
    calibrated = rows.instants.user[rows.instant[parts.calibrate]]
    users = {rows.instants.users[place] for place in np.unique(calibrated)}
    last = until - target.horizon_us
    instants = cutoff_instants(learning.con, target, sundays(last - target.valid_us, last, learning.zone))
    known = np.array([user in users for user in instants.users], dtype=bool)
    return ask(learning.con, target, instants.take(np.flatnonzero(known[instants.user])))


def _metrics(answers: Answers) -> dict[str, object]:
    """Each metric with its interval, on all rows and in every declared slice."""
    return {
        each.title: {name: msgspec.to_builtins(figure.estimate) for name, figure in each.figures.items()}
        for each in figures(answers.measured, replicates=REPLICATES)
    }


def _reported(place: bundle.Place, bundle_id: str, answers: Answers, target: Target, threads: int) -> str:
    """Write the bundle's report; where it lies."""
    manifest, files = bundle.read_bundle(place, bundle_id)
    report = report_of(
        manifest, files, answers, question=target.question, measured_on=_HELD_BACK,
        revision=manifest.git_revision or "", threads=threads,
    )  # fmt: skip
    return bundle.write_report(place, bundle_id, render(report))


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """What a model learns from.

    rows     all questions, with their parts
    chosen   the rows of the three parts, one after the other; x float32[m, d] is what the model is shown of them
    """

    rows: Rows
    parts: Split
    inputs: Sequence[str]
    vocabularies: Mapping[str, Sequence[str]]
    chosen: Rows
    x: np.ndarray
    accounting: Accounting | None = None


def _from_tables(learning: Learning, target: Target, steps: Steps, until: int) -> _Lesson:
    plan, recipe = learning.plan, learning.recipe
    with steps.step("choosing rows"):
        rows = training_rows(learning.con, target, until=until, zone=learning.zone, recipe=recipe)
        parts = split(rows, until=until, target=target, recipe=recipe)
    inputs = inputs_of(learning.store, target)
    vocabularies = freeze_vocabularies(plan, inputs, rows.take(parts.fit))
    codes = {name: codes_of(texts) for name, texts in vocabularies.items()}
    with steps.step("joining features") as tell:
        chosen = rows.take(_in_parts(parts))
        x = vectors(learning.store, plan, inputs, chosen, codes, learning.zone, progress=tell).x
    with steps.step("looking for leaks"):
        refuse_leaks(learning.con, plan, inputs, chosen, x, codes=codes, seed=recipe.seed)
    return _Lesson(rows, parts, inputs, vocabularies, chosen, x)


def _from_journal(learning: Learning, target: Target, steps: Steps, until: int, journal: Journal) -> _Lesson:
    """Served vectors are not made again here, only looked at for answers."""
    recipe, coding = learning.recipe, journal.coding
    if any(learning.plan.fingerprints.get(each.ref) != each.fingerprint for each in coding.features):
        raise BadInput(
            "the plan defines other features than the bundle that serves; train on the tables, or apply the "
            "definitions that it was trained with"
        )
    with steps.step("reading the journal"):
        found = journal_rows(
            learning.con, target, journal, until=until, max_rows=recipe.max_rows, seed=recipe.seed
        )  # fmt: skip
        try:
            parts = split(found.rows, until=until, target=target, recipe=recipe)
        except BadInput as error:
            raise BadInput(f"{error}; {found.accounting}") from None
    places = _in_parts(parts)
    chosen, x = found.rows.take(places), found.x[places]
    with steps.step("looking for leaks"):
        refuse_answers(coding.inputs, chosen, x)
    return _Lesson(found.rows, parts, coding.inputs, coding.vocabularies, chosen, x, found.accounting)


def _in_parts(parts: Split) -> np.ndarray:
    return np.concatenate([parts.fit, parts.stop, parts.calibrate])


@dataclass(frozen=True, slots=True)
class _Samples:
    fit: Sample
    stop: Sample
    calibrate: Sample
    all: Sample


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The booster of all rows, and `early`: raw margins of the one that has not seen the newest span."""

    booster: "lightgbm.Booster"
    early: Callable[[np.ndarray], np.ndarray]
    calibration: Calibration
    onnx: bytes
    onnx_difference: float


def _fitted(samples: _Samples, inputs: Sequence[str], learning: Learning, steps: Steps) -> _Fitted:
    """Stop and calibrate on the newest span, then fit again with it: what came last is worth most."""
    threads, seed = learning.threads, learning.recipe.seed
    x, label, weight = samples.calibrate
    with steps.step("fitting"):
        first = fit(*samples.fit, inputs, valid=samples.stop, seed=seed, threads=threads)
    with steps.step("calibrating"):
        calibration = calibrate(margins(first, x, threads=threads), label, weight)
    with steps.step("fitting on all rows"):
        booster = fit_again(*samples.all, inputs, trees=first.num_trees(), seed=seed, threads=threads)
    with steps.step("verifying ONNX"):
        onnx = export(booster)
        difference = verify(booster, onnx, x, threads=threads).difference
    return _Fitted(booster, lambda rows: margins(first, rows, threads=threads), calibration, onnx, difference)


def _samples(x: np.ndarray, rows: Rows, parts: Split) -> _Samples:
    """x and rows are those of the three parts, one after the other."""
    ends = np.cumsum([len(parts.fit), len(parts.stop), len(parts.calibrate)]).tolist()
    places = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    early, stop, last = ((x[each], rows.label[each], rows.weight[each]) for each in places)
    return _Samples(early, stop, last, (x, rows.label, rows.weight))


def _golden(x: np.ndarray, seed: int, rows: int = 64) -> np.ndarray:
    """Some real rows and one that is missing everything."""
    chosen = np.random.default_rng(seed).choice(len(x), size=min(rows, len(x)), replace=False)
    return np.vstack([x[np.sort(chosen)], np.full((1, x.shape[1]), np.nan, dtype=np.float32)])

"""Measuring a bundle on cut-offs that it has never seen, beside what anybody could do without a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from behavior.manifest import Manifest, check_features
from behavior.plan import Plan
from deployment.bundles import DEFAULT_TARGET
from training.baselines import baselines
from training.bundle import Place, personas_beside, read_bundle, tables_in
from training.evaluation import Evaluation, evaluate
from training.measured import Slice, figures
from training.measuring import Answers, answered, unseen_rows
from training.propensity import Propensity
from training.rows import Rows
from training.targets import target_named

if TYPE_CHECKING:
    from feast import FeatureStore

# What it is called among the scores.
RELEVANCE = "relevance"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A bundle beside the baselines on all rows, and alone in every declared slice."""

    evaluation: Evaluation
    slices: tuple[Slice, ...]


def evaluate_bundle(
    con: duckdb.DuckDBPyConnection,
    store: "FeatureStore",
    plan: Plan,
    place: Place,
    name: str,
    *,
    of: str = DEFAULT_TARGET,
    cutoffs: Sequence[int],
    replicates: int,
    threads: int,
    progress: Progress = lambda what, done, all_: None,
) -> Evaluated:
    """The metrics, in slices too, beside the baselines of the target, on all eligible rows of the cut-offs.

    Where categories are ranked, `relevance` is what a request would be ranked by: the propensity's margin with what the
    factors of the context add by default.
    `con` has the archive as the view `events`; a pointer is one of the target `of`; a ranking is that of one user at
    one cut-off. Raises BadInput if the bundle was trained on anything at or after the first cut-off, or if the archive
    ends within the last one's horizon.
    """
    manifest, rows, found = _asked(
        con, store, plan, place, name, of, cutoffs, threads, lambda _, done, all_: progress("scoring", done, all_)
    )
    target = target_named(manifest.target)
    scores = {manifest.target: found.measured.propensity}
    if target.entity == "user_category":
        scores[RELEVANCE] = found.relevance
    scores |= baselines(con, rows, target)
    progress("resampling users", 0, 1)
    measured = evaluate(
        rows.instants.user[rows.instant], rows.instant, rows.label, scores, propensities=[manifest.target],
        replicates=replicates,
    )  # fmt: skip
    slices = figures(found.measured, replicates=replicates)[1:]
    progress("resampling users", 1, 1)
    return Evaluated(measured, tuple(slices))


def measure_bundle(
    con: duckdb.DuckDBPyConnection,
    store: "FeatureStore",
    plan: Plan,
    place: Place,
    name: str,
    *,
    of: str = DEFAULT_TARGET,
    cutoffs: Sequence[int],
    threads: int,
    progress: Progress = lambda what, done, all_: None,
) -> Answers:
    """What a bundle answers on all eligible rows of cut-offs that it has never seen; raises as `evaluate_bundle`."""
    return _asked(con, store, plan, place, name, of, cutoffs, threads, progress)[2]


def _asked(
    con: duckdb.DuckDBPyConnection,
    store: "FeatureStore",
    plan: Plan,
    place: Place,
    name: str,
    of: str,
    cutoffs: Sequence[int],
    threads: int,
    progress: Progress,
) -> tuple[Manifest, Rows, Answers]:
    manifest, files = read_bundle(place, name, of)
    check_features(manifest, plan.fingerprints)
    rows = unseen_rows(con, target_named(manifest.target), manifest, cutoffs)
    answers = answered(
        Propensity.of_bundle(manifest, files, threads), store, plan, rows, personas=personas_beside(place, plan),
        tables=tables_in(manifest, files),
        progress=lambda done, all_: progress(f"measuring {manifest.bundle_id}", done, all_),
    )  # fmt: skip
    return manifest, rows, answers

"""Measuring a bundle on cut-offs that it has never seen, beside what anybody could do without a model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from behavior.errors import BadInput
from behavior.manifest import Manifest, check_features
from behavior.plan import Plan
from training.baselines import baselines
from training.bundle import read_bundle
from training.evaluation import Evaluation, evaluate
from training.propensity import Propensity, answered
from training.rows import Rows, ask, ask_exposures, cutoff_instants, open_events, refuse_open_labels
from training.targets import Target, target_named

if TYPE_CHECKING:
    from feast import FeatureStore

Progress = Callable[[str, int, int], None]


def evaluate_bundle(
    con: duckdb.DuckDBPyConnection,
    store: "FeatureStore",
    plan: Plan,
    bundles: Path,
    name: str,
    *,
    cutoffs: Sequence[int],
    replicates: int,
    threads: int,
    progress: Progress = lambda what, done, all_: None,
) -> Evaluation:
    """The propensity's metrics beside the baselines of its target, on all eligible rows of the cut-offs.

    `con` has the archive as the view `events`; a ranking is that of one user at one cut-off. Raises BadInput if the
    bundle was trained on anything at or after the first cut-off, or if the archive ends within the last one's horizon.
    """
    manifest, files = read_bundle(bundles, name)
    check_features(manifest, plan.fingerprints)
    target = target_named(manifest.target)
    rows = unseen_rows(con, target, manifest, cutoffs)
    found = answered(
        Propensity.of_bundle(manifest, files, threads), store, plan, rows, parted=False,
        progress=lambda done, all_: progress("scoring", done, all_),
    )  # fmt: skip
    scores = {manifest.target: found.propensity} | baselines(con, rows, target)
    progress("resampling users", 0, 1)
    measured = evaluate(
        rows.instants.user[rows.instant], rows.instant, rows.label, scores, propensities=[manifest.target],
        replicates=replicates,
    )  # fmt: skip
    progress("resampling users", 1, 1)
    return measured


def unseen_rows(con: duckdb.DuckDBPyConnection, target: Target, manifest: Manifest, cutoffs: Sequence[int]) -> Rows:
    """Every eligible question at the cut-offs (of exposures: those from the first to the last one) with its answer.

    Raises BadInput if the bundle has learned from what came after the first cut-off, if the last one's horizon is not
    over, or if there is nothing to ask.
    """
    if manifest.trained.end_us > min(cutoffs):
        raise BadInput(
            f"bundle {manifest.bundle_id} has learned from what came after the first cut-off; take a later one, "
            "or train with an earlier --until"
        )
    refuse_open_labels(con, target, cutoffs)
    open_events(con, target)
    if target.entity == "exposure":
        rows = ask_exposures(con, target, min(cutoffs), max(cutoffs))
    else:
        rows = ask(con, target, cutoff_instants(con, target, cutoffs))
    if len(np.unique(rows.label)) < 2:
        raise BadInput(
            f"of {len(rows):,} questions between the first and the last cut-off, all have the same answer, so that "
            "nothing can be measured; take other cut-offs"
        )
    return rows

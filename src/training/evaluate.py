"""Measuring a bundle on cut-offs that it has never seen, beside what anybody could do without a model."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import duckdb
import msgspec
import numpy as np

from behavior.errors import BadInput
from behavior.manifest import MODEL_FILE, VOCABULARIES_FILE, check_features
from behavior.plan import Plan
from training.baselines import frequency, popularity
from training.bundle import Place, read_bundle
from training.dataset import codes_of, vectors
from training.evaluation import Evaluation, evaluate
from training.onnx_check import open_session, run
from training.rows import Rows, ask, cutoff_instants, open_events, refuse_open_labels
from training.targets import target_named

if TYPE_CHECKING:
    from feast import FeatureStore

Progress = Callable[[str, int, int], None]


def evaluate_bundle(
    con: duckdb.DuckDBPyConnection,
    store: "FeatureStore",
    plan: Plan,
    bundles: Place,
    name: str,
    *,
    cutoffs: Sequence[int],
    replicates: int,
    threads: int,
    progress: Progress = lambda what, done, all_: None,
) -> Evaluation:
    """The propensity's metrics beside popularity and the user's own frequency, on all eligible rows of the cut-offs.

    `con` has the archive as the view `events`; a ranking is that of one user at one cut-off. Raises BadInput if the
    bundle was trained on anything at or after the first cut-off, or if the archive ends within the last one's horizon.
    """
    manifest, files = read_bundle(bundles, name)
    check_features(manifest, plan.fingerprints)
    if manifest.trained.end_us > min(cutoffs):
        raise BadInput(
            f"bundle {manifest.bundle_id} has learned from what came after the first cut-off; take a later one, "
            "or train with an earlier --until"
        )
    target = target_named(manifest.target)
    refuse_open_labels(con, target, cutoffs)
    open_events(con, target)
    rows = ask(con, target, cutoff_instants(con, target, cutoffs))
    vocabularies = msgspec.json.decode(files[VOCABULARIES_FILE], type=dict[str, list[str]])
    codes = {each: codes_of(texts) for each, texts in vocabularies.items()}
    session = open_session(files[MODEL_FILE], threads)
    propensity = np.empty(len(rows))
    for done, (start, end) in enumerate(_by_cutoff(rows)):
        progress("scoring cut-offs", done, len(cutoffs))
        part = rows.take(np.arange(start, end))
        margin = run(session, vectors(store, plan, manifest.inputs, part, codes, manifest.zone)).astype(np.float64)
        propensity[start:end] = 1 / (1 + np.exp(-margin))
    progress("scoring cut-offs", len(cutoffs), len(cutoffs))
    scores = {
        manifest.target: propensity,
        "frequency": frequency(con, rows),
        "popularity": popularity(con, rows, target),
    }
    progress("resampling users", 0, 1)
    found = evaluate(
        rows.instants.user[rows.instant], rows.instant, rows.label, scores, propensities=[manifest.target],
        replicates=replicates,
    )  # fmt: skip
    progress("resampling users", 1, 1)
    return found


def _by_cutoff(rows: Rows) -> list[tuple[int, int]]:
    """The stretch of rows of each cut-off; rows are ordered by it."""
    starts = np.flatnonzero(np.diff(rows.t, prepend=rows.t[0] - 1))
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True))

"""What a propensity answers on labelled rows: margins and propensities, the parts of the rows, and some of the rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from behavior.calibration import propensities
from behavior.context import ContextTables
from behavior.errors import BadInput
from behavior.manifest import Manifest
from behavior.personas import Personas
from behavior.plan import Plan
from behavior.relevance import Context, default_relevance
from training.dataset import SLICE_ROWS, vectors
from training.measured import Measured
from training.propensity import Propensity
from training.rows import Rows, ask, ask_exposures, cutoff_instants, open_events, refuse_open_labels
from training.slices import slicers, together
from training.targets import Target

if TYPE_CHECKING:
    from feast import FeatureStore

# Rows that explanations and distributions are made of, drawn evenly from all that were measured.
SAMPLE_ROWS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a propensity said of m rows, and a sample of what it was shown: x float32[s, d], label uint8[s].

    relevance    float64[m], what a request would have been ranked by where nothing else is configured
    """

    measured: Measured
    x: np.ndarray
    label: np.ndarray
    relevance: np.ndarray


def answered(
    propensity: Propensity,
    store: "FeatureStore",
    plan: Plan,
    rows: Rows,
    *,
    personas: Personas | None = None,
    tables: ContextTables | None = None,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Answers:
    """Ask a propensity all questions, a slice at a time: memory does not grow with the model's inputs.

    personas    the rows are parted by these too
    tables      the bundle's, of which relevance is made besides the margin
    """
    sampled = np.sort(np.random.default_rng(1).choice(len(rows), min(SAMPLE_ROWS, len(rows)), replace=False))
    margin, relevance = np.empty(len(rows)), np.empty(len(rows))
    names = np.asarray(rows.categories, dtype=object)
    parts: list[Mapping[str, np.ndarray]] = []
    shown = []
    for start in range(0, len(rows), SLICE_ROWS):
        end = min(start + SLICE_ROWS, len(rows))
        part = vectors(
            store, plan, propensity.inputs, rows.take(np.arange(start, end)), propensity.vocabularies, propensity.zone,
            slicers=slicers(plan, personas),
        )  # fmt: skip
        margin[start:end] = propensity.raw(part.x)
        personas_then = part.slices["persona"].tolist() if personas is not None else [""]
        context = Context(names[rows.category[start:end]].tolist(), part.moment, personas_then)
        relevance[start:end] = default_relevance(propensity.calibrated(margin[start:end]), tables, context)
        parts.append(part.slices)
        shown.append(part.x[sampled[(sampled >= start) & (sampled < end)] - start])
        progress(end, len(rows))
    measured = Measured(
        user=rows.instants.user[rows.instant].astype(np.int64),
        group=rows.instant.astype(np.int64),
        label=rows.label,
        propensity=propensities(propensity.calibrated(margin)),
        margin=margin,
        slices=together(parts),
    )
    return Answers(measured, np.concatenate(shown), rows.label[sampled], relevance)


def unseen_rows(con: duckdb.DuckDBPyConnection, target: Target, manifest: Manifest, cutoffs: Sequence[int]) -> Rows:
    """Every eligible question at the cut-offs (of exposures: those from the first to the last one) with its answer.

    `con` has the archive as the view `events`. Raises BadInput if the bundle has learned from what came after the first
    cut-off, if the last one's horizon is not over, or if there is nothing to tell apart.
    """
    refuse_learned(manifest, cutoffs)
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


def refuse_learned(manifest: Manifest, cutoffs: Sequence[int]) -> None:
    """Raise BadInput if the bundle has learned from what came after the first cut-off."""
    if manifest.trained.end_us > min(cutoffs):
        raise BadInput(
            f"bundle {manifest.bundle_id} has learned from what came after the first cut-off; take a later one, "
            "or train with an earlier --until"
        )

"""A bundle's answers on all eligible rows of some cut-offs, with the slices that the rows tell."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import msgspec
import numpy as np

from behavior.calibration import propensities
from behavior.errors import BadInput
from behavior.event import SECOND_US
from behavior.manifest import MODEL_FILE, VOCABULARIES_FILE, check_features
from behavior.plan import Plan
from deployment.zone import offsets_at
from training.bundle import read_bundle
from training.dataset import codes_of, vectors
from training.measured import Measured, day_parts, tenures
from training.onnx_check import open_session, run
from training.rows import Rows, ask, cutoff_instants, open_events, refuse_open_labels
from training.targets import target_named

if TYPE_CHECKING:
    from feast import FeatureStore

Progress = Callable[[str, int, int], None]


def measure_bundle(
    con: duckdb.DuckDBPyConnection,
    store: "FeatureStore",
    plan: Plan,
    bundles: Path,
    name: str,
    *,
    cutoffs: Sequence[int],
    threads: int,
    progress: Progress = lambda what, done, all_: None,
) -> Measured:
    """The bundle on every user that is active at a cut-off and every candidate; a group is one user at one cut-off.

    `con` has the archive as the view `events`; `name` is an id or a pointer. Raises BadInput if the bundle was trained
    on anything at or after the first cut-off, or if the archive ends within the last one's horizon.
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
    margin = np.empty(len(rows))
    starts = np.flatnonzero(np.diff(rows.t, prepend=rows.t[0] - 1)).tolist()
    for done, (start, end) in enumerate(zip(starts, [*starts[1:], len(rows)], strict=True)):
        progress(f"measuring {manifest.bundle_id}", done, len(starts))
        part = rows.take(np.arange(start, end))
        margin[start:end] = run(session, vectors(store, plan, manifest.inputs, part, codes, manifest.zone))
    progress(f"measuring {manifest.bundle_id}", len(starts), len(starts))
    return Measured(
        user=rows.instants.user[rows.instant].astype(np.int64),
        group=rows.instant.astype(np.int64),
        label=rows.label,
        propensity=propensities(margin),
        margin=margin,
        slices=_slices(con, rows, manifest.zone),
    )


def _slices(con: duckdb.DuckDBPyConnection, rows: Rows, zone: str) -> dict[str, np.ndarray]:
    """Tenure by the user's first event of the asked kind that was known, and the hour in the source's zone."""
    instants = rows.instants
    hour = (instants.t // SECOND_US + offsets_at(zone, instants.t)) // 3600 % 24
    found = con.execute("SELECT user_id, min(e) FROM asked_events GROUP BY user_id").fetchall()
    first = dict(found)
    began = np.array([first[user] for user in instants.users], dtype=np.int64)[instants.user]
    by_instant = {"tenure": tenures(instants.t - began), "hour": day_parts(hour)}
    return {name: names[rows.instant] for name, names in by_instant.items()}

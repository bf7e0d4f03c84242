"""Looking for the future in what a model is trained on: at every training, before anything is fitted.

    made again    the inputs of some rows, straight from the events that were admitted before each row's instant
                  (`training.as_of`, which knows no tables): every bit must be the joined one
    too good      an input that alone all but tells the answer is no knowledge about it, but the answer itself

A plain view brings its own time stamps, and can only be caught by the second.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np

from behavior.errors import BadInput
from behavior.moment import Moment
from behavior.plan import ALL_ID, Plan, View
from behavior.vector import assemble
from training.as_of import Questions, as_of
from training.metrics import Auc
from training.metrics import Rows as Measurable
from training.rows import Rows

SAMPLE_ROWS = 2000
JUDGED_ROWS = 100_000
# A single window count orders purchases with an AUC of 0.8; nothing that is known beforehand comes near this.
TOO_GOOD_AUC = 0.99
# {text input: {text: code}}
Codes = Mapping[str, Mapping[str, int]]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def refuse_leaks(
    con: duckdb.DuckDBPyConnection,
    plan: Plan,
    inputs: Sequence[str],
    rows: Rows,
    x: np.ndarray,
    *,
    codes: Codes,
    seed: int,
) -> None:
    """Raise BadInput that names the input, if any of x float32[m, d] holds what was not known at its row's instant.

    `con` has the archive as the view `events`; x are the rows as they were joined, NaN for what is missing, texts by
    their codes.
    """
    sampled = np.sort(np.random.default_rng(seed).choice(len(rows), min(SAMPLE_ROWS, len(rows)), replace=False))
    _refuse_other_values(con, plan, inputs, rows.take(sampled), x[sampled], codes)
    refuse_answers(inputs, rows, x)


def _refuse_other_values(
    con: duckdb.DuckDBPyConnection, plan: Plan, inputs: Sequence[str], rows: Rows, x: np.ndarray, codes: Codes
) -> None:
    names = {ref.partition(":")[0] for ref in inputs if ref in plan.features}
    for view in (plan.view(name) for name in sorted(names)):
        found = as_of(con, view, Questions(_entities(view, rows), rows.t, rows.t))
        refs = [ref for ref in inputs if ref in found]
        # As a model is shown them; neither the moment nor the candidate is among a view's features.
        nothing = np.empty(len(rows), dtype=object)
        again = assemble(refs, found, Moment(rows.t, np.zeros(len(rows), dtype=np.int64)), nothing, codes)
        for place, ref in enumerate(refs):
            _refuse_difference(ref, rows, again[:, place], x[:, inputs.index(ref)])


def _refuse_difference(ref: str, rows: Rows, again: np.ndarray, joined: np.ndarray) -> None:
    differs = np.flatnonzero(~((again == joined) | (np.isnan(again) & np.isnan(joined))))
    if len(differs):
        at = int(differs[0])
        instant = (_EPOCH + timedelta(microseconds=int(rows.t[at]))).isoformat()
        raise BadInput(
            f"{ref} is {joined[at]:g} in the tables at {instant}, and {again[at]:g} by the events that were known then "
            f"({len(differs)} of {len(joined)} rows differ): the tables hold what was not known yet; backfill "
            "them anew before you train"
        )


def _entities(view: View, rows: Rows) -> list[tuple[str, ...]]:
    users = np.asarray(rows.instants.users, dtype=object)[rows.instants.user[rows.instant]].tolist()
    categories = np.asarray(rows.categories, dtype=object)[rows.category].tolist()
    known = {"user_id": users, "category": categories, "all_id": [ALL_ID] * len(rows)}
    if not set(view.join_keys) <= set(known):
        raise BadInput(
            f"{view.name} is about {view.entity}, of which a question says nothing; take it from the service"
        )
    return list(zip(*(known[key] for key in view.join_keys), strict=True))


def refuse_answers(inputs: Sequence[str], rows: Rows, x: np.ndarray) -> None:
    """Raise BadInput that names an input of x float32[m, d] which alone tells the answer: by its value, what is missing
    below or above all else, or by whether it is missing at all.
    """
    some = np.random.default_rng(1).permutation(len(rows))[:JUDGED_ROWS]
    x, label = x[some], rows.label[some]
    measurable = Measurable(np.zeros(len(x), np.int64), np.zeros(len(x), np.int64), label)
    everyone = np.ones(1, dtype=np.int32)
    for place, ref in enumerate(inputs):
        values = x[:, place].astype(np.float64)
        known = ~np.isnan(values)
        below, above = (np.where(known, values, side) for side in (-np.inf, np.inf))
        for what, score in (("values", below), ("values", above), ("absence", known.astype(np.float64))):
            auc = Auc(measurable, score)(everyone)
            if max(auc, 1 - auc) > TOO_GOOD_AUC:
                raise BadInput(
                    f"the {what} of {ref} alone tell the answer (AUC {max(auc, 1 - auc):.4f}, more than "
                    f"{TOO_GOOD_AUC}): it must come from after the question; take it out of the feature service"
                )

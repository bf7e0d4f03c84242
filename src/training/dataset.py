"""From rows to vectors: features joined by Feast at each row's instant, laid out by `assemble`.

Feast's `get_historical_features` runs through our offline store (ASOF joins on change-point tables), in slices, so that
memory stays bounded however many rows are asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from feast.errors import FeatureServiceNotFoundException

from behavior.column import Column
from behavior.errors import BadInput
from behavior.moment import Moment, choose_offset
from behavior.plan import ALL_ID, Plan
from behavior.vector import assemble
from deployment.zone import offsets_at
from training.rows import Rows
from training.slices import Slicer, together

if TYPE_CHECKING:
    from feast import FeatureStore

SLICE_ROWS = 250_000


@dataclass(frozen=True, slots=True)
class Vectors:
    """What a model is shown of m questions.

    x        float32[m, d]
    slices   {name: object[m] of texts}, the part of each row by each slicer
    moment   of each row: its instant, and the user's offset then
    """

    x: np.ndarray
    slices: Mapping[str, np.ndarray]
    moment: Moment


def service_features(store: "FeatureStore", name: str) -> list[str]:
    """The references `view:feature` of a feature service, in its order.

    Raises BadInput if it was not applied.
    """
    try:
        service = store.get_feature_service(name)
    except FeatureServiceNotFoundException:
        raise BadInput(
            f"the definitions have no feature service {name}; add it to feature_repo/services.py and run "
            "`opportune apply`"
        ) from None
    return [f"{view.name}:{field.name}" for view in service.feature_view_projections for field in view.features]


def vectors(
    store: "FeatureStore",
    plan: Plan,
    inputs: Sequence[str],
    rows: Rows,
    vocabularies: Mapping[str, Mapping[str, int]],
    zone: str,
    *,
    slicers: Sequence[Slicer] = (),
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Vectors:
    """The model's rows for the given questions, in their order.

    inputs    what the model sees, in order: references, `moment:*`, `candidate:category`
    zone      IANA zone for users whose own offset is not known at the instant
    slicers   how the rows are parted beside
    """
    asked = [*inputs, *(ref for slicer in slicers for ref in slicer.needs)]
    if plan.utc_offset is not None:
        asked.append(plan.utc_offset.ref)
    references = [name for name in dict.fromkeys(asked) if name in plan.features]
    x = np.empty((len(rows), len(inputs)), dtype=np.float32)
    parted = []
    offsets = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(rows), SLICE_ROWS):
        part = rows.take(np.arange(start, min(start + SLICE_ROWS, len(rows))))
        frame = _entities(part)
        joined = store.get_historical_features(frame, references, full_feature_names=True).to_arrow()
        finals = {ref: to_column(joined[plan.features[ref].full_name], plan.features[ref].dtype) for ref in references}
        moment = Moment(part.t, _offsets(plan, finals, part.t, zone))
        candidates = frame["category"].to_numpy(object)
        x[start : start + len(part)] = assemble(inputs, finals, moment, candidates, vocabularies)
        parted.append({slicer.name: slicer.of(finals, moment) for slicer in slicers})
        offsets[start : start + len(part)] = moment.utc_offset_s
        progress(start + len(part), len(rows))
    return Vectors(x, together(parted), Moment(rows.t, offsets))


def codes_of(texts: Sequence[str]) -> dict[str, int]:
    """The code of each text of a vocabulary."""
    return {text: code for code, text in enumerate(texts)}


def to_column(values: "pa.ChunkedArray", dtype: str) -> Column:
    """An Arrow column with nulls as a column of the plan's dtype."""
    valid = values.is_valid().to_numpy()
    if dtype == "string":
        return Column(np.asarray(values.to_pylist(), dtype=object), valid)
    return Column(values.fill_null(0).to_numpy().astype(dtype), valid)


def _entities(rows: Rows) -> "pd.DataFrame":
    """One entity row per question, with all join keys that the plan can ask for."""
    users = np.asarray(rows.instants.users, dtype=object)
    categories = np.asarray(rows.categories, dtype=object)
    return pd.DataFrame(
        {
            "user_id": users[rows.instants.user[rows.instant]],
            "category": categories[rows.category],
            "all_id": ALL_ID,
            "event_timestamp": pd.to_datetime(rows.t, unit="us", utc=True).as_unit("us"),
        }
    )


def _offsets(plan: Plan, finals: Mapping[str, Column], t: np.ndarray, zone: str) -> np.ndarray:
    unknown = Column(np.zeros(len(t), dtype=np.int64), np.zeros(len(t), dtype=bool))
    last_known = finals[plan.utc_offset.ref] if plan.utc_offset is not None else unknown
    return choose_offset(unknown, last_known, offsets_at(zone, t))

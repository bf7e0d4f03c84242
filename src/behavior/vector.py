"""From raw columns to the row that the model sees: the one function that training and serving share.

`finalise` turns what tables and states hold into final values at given instants; `assemble` lays final values, the
moment and the candidate out as float32 in the model's own order. Only correctly rounded operations are used, so equal
integers give equal bits.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from behavior.column import Column
from behavior.errors import BadInput
from behavior.moment import Moment
from behavior.plan import View

MOMENT_INPUTS = ("moment:hour", "moment:weekday")
CANDIDATE_INPUT = "candidate:category"


def finalise(view: View, raw: Mapping[str, Column], seen_e: Column, t: np.ndarray) -> dict[str, Column]:
    """Final values of the view's features at instants t.

    raw     {name: raw column of n rows}, as in the tables; features of which one is absent are left out
    seen_e  latest event time of the entity, n rows; not there for an unknown entity
    t       int64[n] in µs; a snapshot view is read at its last whole interval
    Returns {feature reference: final column of n rows}; all are missing where the entity is.
    """
    at = t - t % view.interval_us
    present = seen_e.valid & (at - seen_e.values < view.retention_us)
    is_everywhere = bool(present.all())
    finals = {}
    for feature in view.features:
        given = [raw[name] for name in feature.raws if name in raw]
        if len(given) == len(feature.raws):
            finish = feature.kind.finalise
            final = finish(given, at, feature.aggregation) if finish else given[0]
            finals[feature.ref] = final if is_everywhere else final.where(present)
    return finals


def assemble(
    inputs: Sequence[str],
    finals: Mapping[str, Column],
    moment: Moment,
    candidates: np.ndarray,
    vocabularies: Mapping[str, Mapping[str, int]],
) -> np.ndarray:
    """The model's rows, float32[n, d], one column per input in the given order.

    inputs         references `view:feature`, `moment:hour`, `moment:weekday`, `candidate:category`
    finals         final columns of n rows, or of one row that stands for all
    moment         n rows, or one that stands for all
    candidates     object[n], the category of each row
    vocabularies   {input: {text: code}} for the inputs that are texts; a text that is not in it becomes NaN
    """
    rows = np.empty((len(candidates), len(inputs)), dtype=np.float32)
    for place, name in enumerate(inputs):
        rows[:, place] = _input(name, finals, moment, candidates, vocabularies)
    return rows


def _input(
    name: str,
    finals: Mapping[str, Column],
    moment: Moment,
    candidates: np.ndarray,
    vocabularies: Mapping[str, Mapping[str, int]],
) -> np.ndarray:
    if name == "moment:hour":
        return moment.hour.astype(np.float32)
    if name == "moment:weekday":
        return moment.weekday.astype(np.float32)
    if name == CANDIDATE_INPUT:
        return _codes(candidates, vocabularies[name])
    column = finals.get(name)
    if column is None:
        raise BadInput(f"the model needs the input {name}, which nothing provides; apply the features it was made with")
    if column.values.dtype == object:
        known = zip(column.values, column.valid, strict=True)
        return _codes([text if there else None for text, there in known], vocabularies[name])
    return column.to_float32()


def _codes(texts: Iterable[str | None], vocabulary: Mapping[str, int]) -> np.ndarray:
    return np.array([np.nan if text is None else vocabulary.get(text, np.nan) for text in texts], dtype=np.float32)

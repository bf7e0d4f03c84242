"""Three derivations of the same values, held against each other bit for bit.

    online    what was read while a world was replayed (`replaying`)
    offline   Feast's point-in-time join over the tables that `backfill` made from the archive
    naive     the whole log looked at anew for every instant (`naive`)

A comparison is one entity, instant and feature: all three must agree, also in what is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from feast import FeatureStore

from behavior.column import Column
from behavior.event import DAY_US, MINUTE_US, Admitted
from behavior.plan import Feature, Plan, View
from tests.benchmarks.naive import EntityLog
from tests.benchmarks.replaying import Key, Observed, Replayed
from tests.feast_plugin.repository import entity_rows
from tests.oracle import key_of

Mask = npt.NDArray[np.bool_]
Finals = dict[str, Column]
# Kinds of circumstances that are counted: of the entity within the stage, or of the instant.
CIRCUMSTANCES = ("late", "ties", "hop_edges", "day_edges", "idle", "gone_missing", "restarts")
LATE_US = MINUTE_US
IDLE_US = 7 * DAY_US
_EXAMPLES = 5


@dataclass(slots=True)
class Tally:
    """What was compared, and what did not agree."""

    compared: int = 0
    mismatches: int = 0
    present_and_not_zero: int = 0
    by_feature: dict[str, int] = field(default_factory=dict)
    by_circumstance: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Count another world's comparisons too."""
        self.compared += other.compared
        self.mismatches += other.mismatches
        self.present_and_not_zero += other.present_and_not_zero
        for mine, theirs in ((self.by_feature, other.by_feature), (self.by_circumstance, other.by_circumstance)):
            for name, number in theirs.items():
                mine[name] = mine.get(name, 0) + number
        self.examples = [*self.examples, *other.examples][:_EXAMPLES]


def offline_finals(store: FeatureStore, plan: Plan, observed: Mapping[str, Observed]) -> Finals:
    """What Feast's historical retrieval answers for the very rows that were read online."""
    found: Finals = {}
    for view in plan.views:
        rows = observed[view.name]
        keys = {name: [key[place] for key in rows.keys] for place, name in enumerate(view.join_keys)}
        references = [feature.ref for feature in view.features]
        joined = store.get_historical_features(entity_rows(rows.t, **keys), references).to_arrow()
        for feature in view.features:
            found[feature.ref] = _of_arrow(joined[feature.name], feature.dtype)
    return found


def naive_finals(plan: Plan, replayed: Replayed) -> Finals:
    """What the whole log says about the same rows, for each of them anew."""
    found: Finals = {}
    for view in plan.views:
        rows, logs = replayed.observed[view.name], _entity_logs(view, replayed.admitted)
        nothing = EntityLog.of([])
        answers = [
            logs.get(key, nothing).values_at(view.definition, t) for key, t in zip(rows.keys, rows.t, strict=True)
        ]
        for feature in view.features:
            found[feature.ref] = Column.of([each[feature.name] for each in answers], feature.dtype)
    return found


def online_finals(plan: Plan, observed: Mapping[str, Observed]) -> Finals:
    """What was read."""
    return {feature.ref: observed[view.name].column(feature.ref) for view in plan.views for feature in view.features}


def compared(world: str, plan: Plan, replayed: Replayed, **finals: Finals) -> Tally:
    """Hold the derivations against each other; `finals` by name, of the same rows."""
    tally = Tally()
    for view in plan.views:
        rows = replayed.observed[view.name]
        circumstances = _circumstances(view, rows, replayed)
        for feature in view.features:
            columns = {name: each[feature.ref] for name, each in finals.items()}
            differs, first = _differing(list(columns.values()), feature)
            tally.compared += len(first)
            tally.by_feature[f"{world} {feature.ref}"] = len(first)
            tally.mismatches += int(differs.sum())
            tally.present_and_not_zero += int((first.valid & _not_zero(first)).sum())
            for row in np.flatnonzero(differs)[: _EXAMPLES - len(tally.examples)].tolist():
                said = {name: _plain(column, row) for name, column in columns.items()}
                tally.examples.append(f"{world} {feature.ref} of {rows.keys[row]} at {rows.t[row]}: {said}")
        for name, mask in circumstances.items():
            number = int(mask.sum()) * len(view.features)
            tally.by_circumstance[name] = tally.by_circumstance.get(name, 0) + number
    return tally


# ------------------------------------------------------------------------------------------------------ the naive side


def _entity_logs(view: View, admitted: Sequence[Admitted]) -> dict[Key, EntityLog]:
    by_key: dict[Key, list[Admitted]] = {}
    for each in admitted:
        key = key_of(view.definition, each.event)
        if None not in key:
            by_key.setdefault(key, []).append(each)  # type: ignore[arg-type]
    return {key: EntityLog.of(events) for key, events in by_key.items()}


# ---------------------------------------------------------------------------------------------------------- the values


def _of_arrow(values: pa.ChunkedArray, dtype: str) -> Column:
    if dtype in ("string", "texts"):
        return Column.of(values.to_pylist(), dtype)
    return Column(values.fill_null(0).to_numpy().astype(dtype), values.is_valid().to_numpy())


def _differing(columns: Sequence[Column], feature: Feature) -> tuple[Mask, Column]:
    """bool[n], where the columns do not all say the same; and the first of them."""
    first, *others = columns
    differs = np.zeros(len(first), dtype=np.bool_)
    for other in others:
        assert len(other) == len(first), feature.ref
        both = first.valid & other.valid
        differs |= (first.valid != other.valid) | (both & (_bits(first, feature) != _bits(other, feature)))
    return differs, first


def _bits(column: Column, feature: Feature) -> npt.NDArray[Any]:
    """The values as what compares bit for bit."""
    if feature.dtype == "float32":
        return column.values.astype(np.float32, casting="no").view(np.int32)
    if feature.dtype == "texts":
        told = np.empty(len(column), dtype=object)
        told[:] = [None if value is None else "\0".join(value) for value in column.values]
        return told
    return column.values


def _not_zero(column: Column) -> Mask:
    if column.values.dtype == object:
        return np.array([bool(value) for value in column.values], dtype=np.bool_)
    return column.values != 0


def _plain(column: Column, row: int) -> Any:
    return column.values[row] if column.valid[row] else None


# --------------------------------------------------------------------------------------------------- the circumstances


def _circumstances(view: View, rows: Observed, replayed: Replayed) -> dict[str, Mask]:
    """bool[n] by circumstance, of the rows of a view."""
    happened = _happened(view, rows, replayed)
    t = np.array(rows.t, dtype=np.int64)
    in_minute, in_day = (t + 1) % MINUTE_US, (t + 1) % DAY_US
    masks = {name: np.array([name in each for each in happened], dtype=np.bool_) for name in CIRCUMSTANCES}
    masks["hop_edges"], masks["day_edges"] = in_minute <= 2, in_day <= 2
    masks["restarts"] = np.isin(np.array(rows.stage), list(replayed.restarted))
    return masks


def _happened(view: View, rows: Observed, replayed: Replayed) -> list[set[str]]:
    """What had happened to the entity of each row: `late` or `ties` since the stage began, `idle`, `gone_missing`."""
    events: dict[Key, list[Admitted]] = {}
    for each in replayed.admitted:
        key = key_of(view.definition, each.event)
        if None not in key:
            events.setdefault(key, []).append(each)  # type: ignore[arg-type]
    columns = {
        key: (np.array([each.k for each in mine]), np.array([each.e for each in mine])) for key, mine in events.items()
    }
    return [
        set(_of_entity(columns.get(key), t, replayed.began[stage], view.retention_us))
        for key, t, stage in zip(rows.keys, rows.t, rows.stage, strict=True)
    ]


def _of_entity(
    columns: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None, t: int, began: int, retention: int
) -> Iterator[str]:
    if columns is None:
        return
    k, e = columns
    known = k < t
    if not known.any():
        return
    newest = int(e[known].max())
    if t - newest >= IDLE_US:
        yield "idle"
    if t - newest >= retention:
        yield "gone_missing"
    new = known & (k >= began)
    if (k[new] - e[new] >= LATE_US).any():
        yield "late"
    if len(e[new]) > len(np.unique(e[new])):
        yield "ties"

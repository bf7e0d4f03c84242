"""The snapshot: the raw values of item, category and `all` views at one instant, held in memory.

It is made from the packed rows that the publisher keeps in Redis, and brought up to date by the rows that changed: what
that costs in Python is as much as has changed, all rows are only ever walked by numpy. Scorers look ids up in it; final
values are computed once per view, then gathered.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from behavior.column import Column
from behavior.finals import finalise
from behavior.places import places_in, write_gathered
from behavior.plan import Plan, View
from behavior.raw_rows import RawMatrix, RawRows
from behavior.snapshot_rows import ABSENT, unpack_rows


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """One view's part: n entities with their raw values at the snapshot's instant, and one row that is not there.

    index      {entity id: its row}; one object for as long as no entity is added
    ids        the entity of each row
    raw        {name: raw column of n + 1 rows}, as in the tables
    seen_e     latest event time of each entity, n + 1 rows
    matrix     the same values as rows
    changed    intp[k], the rows that are not as they were in the part that this was brought up from; None: all
    """

    index: Mapping[str, int]
    ids: Sequence[str]
    raw: Mapping[str, Column]
    seen_e: Column
    matrix: RawMatrix
    changed: np.ndarray | None = None

    @classmethod
    def of(cls, view: View, rows: Mapping[str, bytes]) -> "SnapshotView":
        """The part that packed rows by entity make."""
        raw, seen_e = unpack_rows(view, [*rows.values(), None])
        ids = list(rows)
        return cls({entity: row for row, entity in enumerate(ids)}, ids, raw, seen_e, RawMatrix.of(view, raw, seen_e))

    def updated(self, view: View, rows: Mapping[str, bytes]) -> "SnapshotView":
        """The part with some rows changed or added; this one stays as it is."""
        index, ids = self._with_entities(rows)
        places = places_in(index, list(rows))
        changed, seen_e = unpack_rows(view, list(rows.values()))
        grown = len(ids) - len(self.ids)
        raw = {name: _with(column, changed[name], places, grown) for name, column in self.raw.items()}
        numbers = _grown(self.matrix.numbers, grown, ABSENT)
        numbers[places] = RawMatrix.of(view, changed, seen_e).numbers
        return SnapshotView(
            index, ids, raw, _with(self.seen_e, seen_e, places, grown),
            RawMatrix(view, numbers, tuple(raw[name] for name in view.textual)), places,
        )  # fmt: skip

    def _with_entities(self, entities: Iterable[str]) -> tuple[Mapping[str, int], Sequence[str]]:
        """Index and ids with those too that are new."""
        new = [entity for entity in entities if entity not in self.index]
        if not new:
            return self.index, self.ids
        added = {entity: row for row, entity in enumerate(new, len(self.ids))}
        return {**self.index, **added}, [*self.ids, *new]


def _with(column: Column, changed: Column, places: np.ndarray, grown: int) -> Column:
    values = _grown(column.values, grown, None if column.values.dtype == object else 0)
    valid = _grown(column.valid, grown, False)
    values[places], valid[places] = changed.values, changed.valid
    return Column(values, valid)


def _grown(rows: np.ndarray, by: int, missing: int | None) -> np.ndarray:
    """A copy with so many rows more."""
    found = np.empty((len(rows) + by, *rows.shape[1:]), dtype=rows.dtype)
    found[: len(rows)] = rows
    found[len(rows) :] = missing
    return found


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All snapshot views of a plan at the instant s (µs UTC, a whole interval)."""

    s: int
    plan: Plan
    views: Mapping[str, SnapshotView]
    _finals: "dict[str, _Finals]" = field(default_factory=dict, init=False, repr=False, compare=False)

    def ids(self, name: str) -> list[str]:
        """The entities that the view knows."""
        return list(self.views[name].ids) if name in self.views else []

    def column(self, name: str, ref: str) -> Column:
        """Final values at s of all entities that the view knows, and one row more that is not there.

        Raises BadInput if the plan has no such view.
        """
        return self._finals_of(name).columns[ref]

    def rows(self, name: str, ids: Sequence[str]) -> "SnapshotRows":
        """Final values at s of a view for the given ids; what the snapshot does not know is missing.

        Raises BadInput if the plan has no such view.
        """
        finals = self._finals_of(name)
        known = self.views[name].index if name in self.views else {}
        return SnapshotRows(finals, places_in(known, ids))

    def lookup(self, name: str, ids: Sequence[str]) -> dict[str, Column]:
        """The same as columns, `{view:feature: column of len(ids) rows}`."""
        found = self.rows(name, ids)
        return {ref: found.column(ref) for ref in found.refs}

    def prepare(self, before: "Snapshot | None" = None) -> None:
        """Compute all final values, laid out as models have asked for those of the snapshot before: no request waits.

        Numpy does it, and lets other threads run meanwhile.
        """
        for view in self.plan.snapshot_views:
            finals = self._finals_of(view.name)
            asked = None if before is None else before._finals.get(view.name)
            for refs in () if asked is None else tuple(asked.laid_out):
                finals.rows_of(refs)

    def _finals_of(self, name: str) -> "_Finals":
        finals = self._finals.get(name)
        if finals is None:
            view = self.plan.view(name)
            finals = self._finals[name] = _finals(view, self.views.get(name) or SnapshotView.of(view, {}), self.s)
        return finals


@dataclass(frozen=True, slots=True)
class _Finals:
    """Final and raw values of all entities of a view and one unknown; float32 rows as models have asked for them."""

    refs: frozenset[str]
    columns: Mapping[str, Column]
    raw: RawMatrix
    laid_out: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict)

    def rows_of(self, refs: tuple[str, ...]) -> np.ndarray:
        """The features side by side, float32[n + 1, len(refs)]."""
        found = self.laid_out.get(refs)
        if found is None:
            found = self.laid_out[refs] = np.stack([self.columns[ref].to_float32() for ref in refs], axis=1)
        return found


class SnapshotRows:
    """A block of the snapshot's rows, see `behavior.finals`: what is the same for all requests is made once.

    rows    int64[n], the row of each candidate
    """

    def __init__(self, finals: _Finals, rows: np.ndarray) -> None:
        self.refs = finals.refs
        self._finals = finals
        self._rows = rows

    def column(self, ref: str) -> Column:
        """As `Block.column`."""
        column = self._finals.columns[ref]
        return Column(column.values[self._rows], column.valid[self._rows])

    def write(self, rows: np.ndarray, places: np.ndarray, refs: tuple[str, ...]) -> None:
        """As `Block.write`."""
        write_gathered(rows, places, self._finals.rows_of(refs), self._rows)

    def raw_rows(self, shown: np.ndarray) -> RawRows:
        """As `KeptBlock.raw_rows`."""
        return self._finals.raw.at(self._rows).rows(shown)


def _finals(view: View, part: SnapshotView, s: int) -> _Finals:
    finals = finalise(view, part.raw, part.seen_e, np.full(len(part.ids) + 1, s, dtype=np.int64))
    return _Finals(view.references, finals, part.matrix)

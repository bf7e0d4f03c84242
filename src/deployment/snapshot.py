"""The snapshot: the raw values of item, category and `all` views at one instant, held in memory.

It is made from the packed rows that the publisher keeps in Redis, and brought up to date by the rows that changed.
Scorers look ids up in it; final values are computed once per view, then gathered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from behavior.column import Column
from behavior.finals import finalise
from behavior.places import places_in, write_gathered
from behavior.plan import Plan, View
from behavior.raw_rows import RawMatrix, RawRows
from behavior.snapshot_rows import unpack_rows


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """One view's part: n entities with their raw values at the snapshot's instant.

    index    {entity id: its row}
    raw      {name: raw column of n rows}, as in the tables
    seen_e   latest event time of each entity, n rows
    """

    index: Mapping[str, int]
    raw: Mapping[str, Column]
    seen_e: Column

    @classmethod
    def of(cls, view: View, rows: Mapping[str, bytes]) -> "SnapshotView":
        """The part that packed rows by entity make."""
        raw, seen_e = unpack_rows(view, list(rows.values()))
        return cls({entity: row for row, entity in enumerate(rows)}, raw, seen_e)

    def updated(self, view: View, rows: Mapping[str, bytes]) -> "SnapshotView":
        """The part with some rows changed or added; this one stays as it is."""
        changed, seen_e = unpack_rows(view, list(rows.values()))
        index = dict(self.index)
        places = np.array([index.setdefault(entity, len(index)) for entity in rows], dtype=np.intp)
        merged = {name: _with(column, changed[name], places, len(index)) for name, column in self.raw.items()}
        return SnapshotView(index, merged, _with(self.seen_e, seen_e, places, len(index)))


def _with(column: Column, changed: Column, places: np.ndarray, n: int) -> Column:
    grown = n - len(column)
    values = np.concatenate([column.values, np.zeros(grown, dtype=column.values.dtype)])
    valid = np.concatenate([column.valid, np.zeros(grown, dtype=bool)])
    values[places], valid[places] = changed.values, changed.valid
    return Column(values, valid)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All snapshot views of a plan at the instant s (µs UTC, a whole interval)."""

    s: int
    plan: Plan
    views: Mapping[str, SnapshotView]
    _finals: "dict[str, _Finals]" = field(default_factory=dict, init=False, repr=False, compare=False)

    def ids(self, name: str) -> list[str]:
        """The entities that the view knows."""
        return list(self.views[name].index) if name in self.views else []

    def rows(self, name: str, ids: Sequence[str]) -> "SnapshotRows":
        """Final values at s of a view for the given ids; what the snapshot does not know is missing.

        Raises BadInput if the plan has no such view.
        """
        finals = self._finals.get(name)
        if finals is None:
            view = self.plan.view(name)
            part = self.views.get(name, SnapshotView.of(view, {}))
            finals = self._finals[name] = _Finals(view.references, *_prepare(view, part, self.s))
        known = self.views[name].index if name in self.views else {}
        return SnapshotRows(finals, places_in(known, ids))

    def lookup(self, name: str, ids: Sequence[str]) -> dict[str, Column]:
        """The same as columns, `{view:feature: column of len(ids) rows}`."""
        found = self.rows(name, ids)
        return {ref: found.column(ref) for ref in found.refs}


@dataclass(frozen=True, slots=True)
class _Finals:
    """Final and raw values of all entities of a view and one unknown; float32 rows as models have asked for them."""

    refs: frozenset[str]
    columns: Mapping[str, Column]
    raw: RawMatrix
    laid_out: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict)


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
        laid_out = self._finals.laid_out.get(refs)
        if laid_out is None:
            laid_out = np.stack([self._finals.columns[ref].to_float32() for ref in refs], axis=1)
            self._finals.laid_out[refs] = laid_out
        write_gathered(rows, places, laid_out, self._rows)

    def raw_rows(self, shown: np.ndarray) -> RawRows:
        """As `KeptBlock.raw_rows`."""
        return self._finals.raw.at(self._rows).rows(shown)


def _prepare(view: View, part: SnapshotView, s: int) -> tuple[dict[str, Column], RawMatrix]:
    """Final and raw values of all entities, and one row more at the end that stands for every unknown id."""
    raw, seen_e = {name: column.and_missing() for name, column in part.raw.items()}, part.seen_e.and_missing()
    finals = finalise(view, raw, seen_e, np.full(len(part.index) + 1, s, dtype=np.int64))
    return finals, RawMatrix.of(view, raw, seen_e)

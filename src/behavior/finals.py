"""Final values of n candidates, view by view: kept as few rows as there are, spread over the candidates where asked.

A request asks of a hundred candidates and its user has been in thirty of their categories. So the pairs are thirty rows
and a list of who they belong to, the user is one row, and categories are rows of the snapshot.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from behavior.column import Column
from behavior.plan import Feature, View
from behavior.programs import finishes_of
from behavior.raw_rows import RawMatrix, RawRows
from behavior.readout import Readout
from behavior.snapshot_rows import ABSENT

try:
    from behavior.compiled_rows import write_finals
except ImportError:
    write_finals = None  # type: ignore[assignment]


def finalise(view: View, raw: Mapping[str, Column], seen_e: Column, t: np.ndarray) -> dict[str, Column]:
    """Final values of the view's features at instants t.

    raw     {name: raw column of n rows}, as in the tables; features of which one is absent are left out
    seen_e  latest event time of the entity, n rows; not there for an unknown entity
    t       int64[n] in µs; a snapshot view is read at its last whole interval
    Returns {feature reference: final column of n rows}; all are missing where the entity is.
    """
    at = t - t % view.interval_us
    present = present_at(view, seen_e, at)
    return {
        feature.ref: final_of(feature, [raw[name] for name in feature.raws], at, present)
        for feature in view.features
        if all(name in raw for name in feature.raws)
    }


def present_at(view: View, seen_e: Column, at: np.ndarray) -> np.ndarray:
    """Whether the entity is there at the instants that the view is read at, bool[n]."""
    present: np.ndarray = seen_e.valid & (at - seen_e.values < view.retention_us)
    return present


def final_of(feature: Feature, raws: Sequence[Column], at: np.ndarray, present: np.ndarray) -> Column:
    """A feature's final values from its raw columns of n rows, missing where the entity is.

    at        the instants that the view is read at, int64[n], or int64[] for all
    present   whether the entity is there, bool[n]
    """
    finish = feature.kind.finalise
    return (finish(raws, at, feature.aggregation) if finish else raws[0]).where(present)


class Block(Protocol):
    """Final values of some features for all candidates of an answer."""

    @property
    def refs(self) -> frozenset[str]:
        """The features, as references; one object per view, since every request asks."""

    def column(self, ref: str) -> Column:
        """A feature's values, n rows, or one that stands for all."""

    def write(self, rows: np.ndarray, places: np.ndarray, refs: tuple[str, ...]) -> None:
        """Write numeric features into columns of the model's rows, float32[n, d]; NaN for what is not there.

        places    intp[k], the column of each of the k features
        """


class KeptBlock(Block, Protocol):
    """A block that can tell what its values were made from."""

    def raw_rows(self, shown: np.ndarray) -> RawRows:
        """The raw values of some candidates, intp[k], or the one row of all."""


class Finals(Mapping[str, Column]):
    """Final columns by reference, n rows each or one that stands for all.

    >>> one = Columns({"v:a": Column.of([7], "int64")})
    >>> Finals([one])["v:a"].values.tolist()
    [7]
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = tuple(blocks)
        self._spread: dict[str, Column] = {}

    def __getitem__(self, ref: str) -> Column:
        """The feature's column. Raises KeyError."""
        found = self._spread.get(ref)
        if found is None:
            found = self._spread[ref] = self._block(ref).column(ref)
        return found

    def __iter__(self) -> Iterator[str]:
        """The references."""
        return (ref for block in self.blocks for ref in block.refs)

    def __len__(self) -> int:
        """How many features."""
        return sum(len(block.refs) for block in self.blocks)

    def _block(self, ref: str) -> Block:
        for block in self.blocks:
            if ref in block.refs:
                return block
        raise KeyError(ref)


class Columns:
    """A block of columns that are there already."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._columns = columns

    @cached_property
    def refs(self) -> frozenset[str]:
        """As `Block.refs`."""
        return frozenset(self._columns)

    def column(self, ref: str) -> Column:
        """As `Block.column`."""
        return self._columns[ref]

    def write(self, rows: np.ndarray, places: np.ndarray, refs: tuple[str, ...]) -> None:
        """As `Block.write`."""
        for place, ref in zip(places.tolist(), refs, strict=True):
            rows[:, place] = self._columns[ref].to_float32()


class StoredRows:
    """A block of states that were read: rows of a view at one instant, and which of them each candidate has.

    t       the instant
    rows    intp[n], the row of each candidate in `found.matrix`; None for its first, which stands for all
    """

    def __init__(self, found: Readout, t: int, rows: np.ndarray | None) -> None:
        self.refs = found.view.references
        self._view = found.view
        self._found = found
        self._at = t - t % found.view.interval_us
        self._rows = rows

    def column(self, ref: str) -> Column:
        """As `Block.column`."""
        feature = self._view.by_reference[ref]
        raws = [self._raw(name) for name in feature.raws]
        return final_of(feature, raws, np.array(self._at, dtype=np.int64), self._present)

    def write(self, rows: np.ndarray, places: np.ndarray, refs: tuple[str, ...]) -> None:
        """As `Block.write`."""
        write = self._write_columns if write_finals is None else self._write_compiled
        write(rows, places, refs)

    def raw_rows(self, shown: np.ndarray) -> RawRows:
        """The raw values of some candidates, intp[k], or the one row of all."""
        return RawMatrix.of_read(self._found, self._rows).rows(shown)

    def _write_columns(self, rows: np.ndarray, places: np.ndarray, refs: tuple[str, ...]) -> None:
        Columns({ref: self.column(ref) for ref in refs}).write(rows, places, refs)

    def _write_compiled(self, rows: np.ndarray, places: np.ndarray, refs: tuple[str, ...]) -> None:
        finishes = finishes_of(self._view, refs)
        write_finals(rows, places, finishes, self._found.matrix, self._rows, self._at, self._view.retention_us)

    def _raw(self, name: str) -> Column:
        place = self._view.whole_numbers.get(name)
        if place is not None:
            return self._numbers(1 + place)
        column = self._found.texts[name]
        if self._rows is None:
            return Column(column.values[:1], column.valid[:1])
        return Column(column.values[self._rows], column.valid[self._rows])

    def _numbers(self, place: int) -> Column:
        matrix = self._found.matrix
        values = matrix[:1, place] if self._rows is None else matrix[self._rows, place]
        return Column(values, values != ABSENT)

    @cached_property
    def _present(self) -> np.ndarray:
        if self._rows is None:  # a number is compared faster than an array of one
            seen_e = int(self._found.matrix[0, 0])
            return np.array([seen_e != ABSENT and self._at - seen_e < self._view.retention_us])
        return present_at(self._view, self._numbers(0), np.array(self._at, dtype=np.int64))

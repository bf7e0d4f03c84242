"""Final values of n candidates, view by view: kept as few rows as there are, spread over the candidates where asked.

A request asks of a hundred candidates and its user has been in thirty of their categories. So the pairs are thirty rows
and a list of who they belong to, the user is one row, and categories are rows of the snapshot.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np

from behavior.column import Column
from behavior.plan import Feature, View
from behavior.raw_rows import RawMatrix, RawRows
from behavior.readout import Readout

_NAN = np.float32(np.nan)


def finalise(view: View, raw: Mapping[str, Column], seen_e: Column, t: np.ndarray) -> dict[str, Column]:
    """Final values of the view's features at instants t.

    raw     {name: raw column of n rows}, as in the tables; features of which one is absent are left out
    seen_e  latest event time of the entity, n rows; not there for an unknown entity
    t       int64[n] in µs; a snapshot view is read at its last whole interval
    Returns {feature reference: final column of n rows}; all are missing where the entity is.
    """
    at, present = at_and_present(view, seen_e, t)
    return {
        feature.ref: final_of(feature, [raw[name] for name in feature.raws], at, present)
        for feature in view.features
        if all(name in raw for name in feature.raws)
    }


def at_and_present(view: View, seen_e: Column, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The instants that the view is read at for instants t, int64[n], and whether the entity is there, bool[n]."""
    at = t - t % view.interval_us
    return at, seen_e.valid & (at - seen_e.values < view.retention_us)


def final_of(feature: Feature, raws: Sequence[Column], at: np.ndarray, present: np.ndarray) -> Column:
    """A feature's final values from its raw columns, missing where the entity is."""
    finish = feature.kind.finalise
    return (finish(raws, at, feature.aggregation) if finish else raws[0]).where(present)


class Block(Protocol):
    """Final values of some features for all candidates of an answer."""

    @property
    def refs(self) -> frozenset[str]:
        """The features, as references; one object per view, since every request asks."""

    def column(self, ref: str) -> Column:
        """A feature's values, n rows, or one that stands for all."""

    def float32(self, refs: tuple[str, ...]) -> np.ndarray:
        """Numeric features as the model sees them, float32[n, k], or [1, k] for all; NaN for what is not there."""


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

    def float32(self, refs: tuple[str, ...]) -> np.ndarray:
        """As `Block.float32`."""
        columns = [self._columns[ref].to_float32() for ref in refs]
        out = np.empty((max(map(len, columns)), len(refs)), dtype=np.float32)
        for place, column in enumerate(columns):
            out[:, place] = column
        return out


class StoredRows:
    """A block of states that were read: m rows of a view at instants, and which of them each candidate has.

    t       int64[m], the instant of each row
    rows    int64[n], the row of each candidate, m for one that has none; None for one row that stands for all
    """

    def __init__(self, view: View, found: Readout, t: np.ndarray, rows: np.ndarray | None) -> None:
        self.refs = view.references
        self._view = view
        self._found = found
        self._t = t
        self._rows = rows

    def column(self, ref: str) -> Column:
        """As `Block.column`."""
        column = self._final(ref)
        if self._rows is None:
            return column
        spread = column.and_missing()
        return Column(spread.values[self._rows], spread.valid[self._rows])

    def float32(self, refs: tuple[str, ...]) -> np.ndarray:
        """As `Block.float32`."""
        m = len(self._t)
        out = np.empty((len(refs), m + 1), dtype=np.float32)
        out[:, m] = _NAN
        numbers = self._found.numbers
        at, present = self._at_and_present
        together, alone = _stacked(self._view, refs)
        for finish, places, sources in together:
            stacked = Column(numbers.values[sources], numbers.valid[sources])
            final = finish([stacked], at, None) if finish else stacked
            out[places, :m] = final.where(present).to_float32()
        for place, ref in alone:
            out[place, :m] = self._final(ref).to_float32()
        spread: np.ndarray = out[:, :m] if self._rows is None else out[:, self._rows]
        return spread.T

    def raw_rows(self, shown: np.ndarray) -> RawRows:
        """The raw values of some candidates, intp[k], or the one row of all."""
        return RawMatrix.of_read(self._found, self._rows).rows(shown)

    @cached_property
    def _at_and_present(self) -> tuple[np.ndarray, np.ndarray]:
        return at_and_present(self._view, self._found.seen_e, self._t)

    def _final(self, ref: str) -> Column:
        feature = self._view.by_reference[ref]
        return final_of(feature, [self._found.column(name) for name in feature.raws], *self._at_and_present)


Finish = Callable[[Sequence[Column], np.ndarray, Any], Column]


@lru_cache(maxsize=256)
def _stacked(
    view: View, refs: tuple[str, ...]
) -> tuple[list[tuple[Finish | None, np.ndarray, np.ndarray]], list[tuple[int, str]]]:
    """Features whose final values are made by one call, with places in `refs` and rows of numbers; and all others."""
    together: dict[Finish | None, list[tuple[int, int]]] = {}
    alone = []
    for place, ref in enumerate(refs):
        feature = view.by_reference[ref]
        if len(feature.raws) == 1 and (feature.kind.finalise is None or feature.kind.is_elementwise):
            together.setdefault(feature.kind.finalise, []).append((place, view.whole_numbers[feature.raws[0]]))
        else:
            alone.append((place, ref))
    return [(finish, *np.array(pairs, dtype=np.intp).T) for finish, pairs in together.items()], alone

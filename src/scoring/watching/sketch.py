"""What is kept of a column: counts in cells that a reference fixed, by block of users.

Rows of one user resemble each other, so rows are no independent draws; users are. A user falls into one of 64 blocks
for good, and how much blocks differ tells how much chance there is in their sum: see `drift`. Counts are whole numbers
in float64, exact up to 2^53, so that a sum does not depend on the order of rows or of merges.

A column takes 64 × (at most 21 cells for numbers and 100 for categories, and two more) × 8 bytes: 12 kB and 52 kB.
"""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from behavior.errors import BadInput
from scoring.learners import Numbers, key_of, parts_of

BLOCKS = 64
# Quantiles that separate the cells of numbers, and the share of the reference below which a cell joins another one.
QUANTILES = 10
SMALLEST_SHARE = 0.01
# How many new values are kept by name: the first ones in their order, which no merge can change.
NAMES = 20
# The first part of a sketch's keys: counts of a block, and rows of a new value.
_BLOCK, _NEW = "block", "new"

# Floats, or texts of a category.
Column = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class Bins(msgspec.Struct, frozen=True, tag="numbers"):
    """Cells of numbers: [-∞, edges[0]), [edges[0], edges[1]), …, [edges[-1], ∞]. NaN is missing.

    What lies outside `low` to `high`, the range of the reference, is unseen, and in the outermost cells besides.
    """

    edges: tuple[float, ...]
    low: float
    high: float

    @property
    def cells(self) -> int:
        """How many cells there are for what is not missing."""
        return len(self.edges) + 1

    def placed(self, column: Column) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """int64[n], the cell of each row, `cells` for what is missing; bool[n], whether it is unseen."""
        found = np.searchsorted(np.asarray(self.edges, np.float64), column, side="right")
        found[np.isnan(column)] = self.cells
        return found, (column < self.low) | (column > self.high)


class Values(msgspec.Struct, frozen=True, tag="categories"):
    """Cells of texts: one for each frequent value, the last one for all others. The empty text is missing.

    `rare` are the other values that the reference knows; what is neither is unseen, and in the last cell besides.
    """

    frequent: tuple[str, ...]
    rare: tuple[str, ...]

    @property
    def cells(self) -> int:
        """How many cells there are for what is not missing."""
        return len(self.frequent) + 1

    def placed(self, column: Column) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """int64[n], the cell of each row, `cells` for what is missing; bool[n], whether it is unseen."""
        others = len(self.frequent)
        places = {value: place for place, value in enumerate(self.frequent)} | {"": self.cells}
        known = places.keys() | set(self.rare)
        distinct, inverse = np.unique(column, return_inverse=True)
        values = distinct.tolist()
        cells = np.array([places.get(each, others) for each in values], np.int64)[inverse]
        return cells, np.array([each not in known for each in values], np.bool_)[inverse]


class Reference(msgspec.Struct, frozen=True):
    """What a column is compared with: its cells, and a sample's counts in them.

    `counts` are float64[64, cells + 2] as nested tuples, laid out as `Sketch.counts`. Its unseen rows are those that
    would be unseen if their block were not part of the reference: what to expect of a day (Good 1953, by blocks).
    """

    scale: Bins | Values
    counts: tuple[tuple[float, ...], ...]


class Sketch:
    """Counts of one column's rows against a reference.

    >>> sketch = Sketch(reference_of(np.array([1.0, 2.0, 2.0, 3.0]), np.arange(4)))
    >>> sketch.add(np.array([2.0, 9.0, np.nan]), np.arange(3))
    >>> sketch.rows, sketch.missing, sketch.unseen
    (3.0, 1.0, 1.0)
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        # float64[64, cells + 2]: rows by block in each cell, then those missing, then (counted again) those unseen.
        self.counts: Floats = np.zeros((BLOCKS, reference.scale.cells + 2))
        self.names: dict[str, float] = {}

    @property
    def rows(self) -> float:
        """How many rows there were, with missing ones."""
        return float(self.counts[:, :-1].sum())

    @property
    def missing(self) -> float:
        """How many rows had no value."""
        return float(self.counts[:, -2].sum())

    @property
    def unseen(self) -> float:
        """How many rows had a value that is outside what the reference knows."""
        return float(self.counts[:, -1].sum())

    def add(self, column: Column, users: npt.NDArray[np.integer]) -> None:
        """Count rows; `users` are integers, evenly spread, the same for all rows of a user."""
        scale = self.reference.scale
        placed, unseen = scale.placed(column)
        self.counts += _counted(placed, unseen, users, scale.cells)
        if isinstance(scale, Values) and unseen.any():
            names, rows = np.unique(column[unseen], return_counts=True)
            self._name({str(name): float(each) for name, each in zip(names, rows, strict=True)})

    def merge(self, other: "Sketch") -> None:
        """Count what the other one counted too, as if all rows had been added here."""
        if other.reference != self.reference:
            raise BadInput("two sketches of different references cannot be merged; make both from one bundle")
        self.counts += other.counts
        self._name(other.names)

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """The whole state; blocks without a row are left out."""
        blocks = {key_of(_BLOCK, str(b)): tuple(self.counts[b].tolist()) for b in np.flatnonzero(self.counts.any(1))}
        return blocks | {key_of(_NEW, name): (rows,) for name, rows in self.names.items()}

    def restore(self, numbers: Numbers) -> None:
        """Continue from the state, bit for bit."""
        self.counts[:] = 0.0
        self.names = {}
        for key, values in numbers.items():
            kind, name = parts_of(key)
            if kind == _BLOCK:
                self.counts[int(name)] = values
            else:
                self.names[name] = values[0]

    def _name(self, names: dict[str, float]) -> None:
        # A name among the first of all was among the first of every part, so what is kept has all of its rows.
        total = {name: self.names.get(name, 0.0) + names.get(name, 0.0) for name in self.names.keys() | names.keys()}
        self.names = {name: total[name] for name in sorted(total)[:NAMES]}


def reference_of(column: Column, users: npt.NDArray[np.integer]) -> Reference:
    """The reference that a sample makes: floats (NaN is missing) or texts ("" is missing), and the users of its rows.

    Raises BadInput for a sample in which no row has a value.
    """
    scale = _values_of(column) if column.dtype.kind == "U" else _bins_of(np.asarray(column, np.float64))
    placed, _ = scale.placed(column)
    alone = _seen_in_one_block(column, users % BLOCKS)
    return Reference(scale, tuple(map(tuple, _counted(placed, alone, users, scale.cells).tolist())))


def _counted(
    placed: npt.NDArray[np.int64], unseen: npt.NDArray[np.bool_], users: npt.NDArray[np.integer], cells: int
) -> Floats:
    """float64[64, cells + 2]: rows by block and cell, see `Sketch.counts`."""
    blocks, width = (users % BLOCKS).astype(np.int64), cells + 2
    counts = np.bincount(blocks * width + placed, minlength=BLOCKS * width).reshape(BLOCKS, width)
    counts[:, -1] = np.bincount(blocks[unseen], minlength=BLOCKS)
    return counts.astype(np.float64)


def _bins_of(column: Floats) -> Bins:
    """Cells between quantiles; a value that is as frequent as such a cell has one of its own.

    Adding 0.0 makes −0.0 the same as 0.0.
    """
    present = np.sort(column[~np.isnan(column)]) + 0.0
    if not len(present):
        raise BadInput("a reference needs a row with a value; leave a column out that is always missing")
    cuts = np.unique(np.quantile(present, np.arange(1, QUANTILES) / QUANTILES, method="higher"))
    first, last = (np.searchsorted(present, cuts, side=side) for side in ("left", "right"))
    atoms = cuts[last - first >= len(present) / QUANTILES]
    edges = np.union1d(cuts, np.nextafter(atoms, np.inf)).tolist()
    return Bins(_wide_enough(edges, present), float(present[0]), float(present[-1]))


def _wide_enough(edges: list[float], present: Floats) -> tuple[float, ...]:
    """The edges without those before which there are too few rows, counted from the edge that was kept before."""
    kept: list[float] = []
    before, fewest = 0, SMALLEST_SHARE * len(present)
    for edge in edges:
        below = int(np.searchsorted(present, edge))
        if below - before >= fewest and len(present) - below >= fewest:
            kept.append(edge)
            before = below
    return tuple(kept)


def _values_of(column: Column) -> Values:
    """A cell for each value that is frequent enough; there are at most 99 of these, as each has more than 1 %."""
    values, rows = np.unique(column[column != ""], return_counts=True)
    if not len(values):
        raise BadInput("a reference needs a row with a value; leave a column out that is always missing")
    frequent = rows > SMALLEST_SHARE * rows.sum()
    return Values(_texts(values[frequent]), _texts(values[~frequent]))


def _texts(values: Column) -> tuple[str, ...]:
    return tuple(str(each) for each in values)


def _seen_in_one_block(column: Column, blocks: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """bool[n], whether a row would be unseen without its block."""
    if column.dtype.kind == "U":
        _, inverse = np.unique(column, return_inverse=True)
        pairs = np.unique(inverse * BLOCKS + blocks)
        alone: npt.NDArray[np.bool_] = (np.bincount(pairs // BLOCKS) == 1)[inverse] & (column != "")
        return alone
    highs, lows = (_extremes(sign * column, blocks) for sign in (1.0, -1.0))
    outside: npt.NDArray[np.bool_] = (column > _of_others(highs)[blocks]) | (-column > _of_others(lows)[blocks])
    return outside


def _extremes(column: Column, blocks: npt.NDArray[np.integer]) -> Floats:
    """float64[64], the greatest number of each block."""
    found = np.full(BLOCKS, -np.inf)
    np.fmax.at(found, blocks, column)
    return found


def _of_others(extremes: Floats) -> Floats:
    """float64[64], the greatest number that is in another block than this one."""
    order = np.argsort(extremes)
    found = np.full(BLOCKS, extremes[order[-1]])
    found[order[-1]] = extremes[order[-2]]
    return found

"""The raw values that one answer was made from, packed view by view into what its served entry keeps.

    int64 little-endian [m, 1 + c]: per row seen_e, then every numeric raw column; ABSENT where nothing is there
    texts: per row every raw column that is not numeric

One row of a view of users or of `all`, one per shown candidate of the others, in the order of positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from behavior.column import Column
from behavior.errors import BadInput
from behavior.plan import View
from behavior.readout import Readout
from behavior.snapshot_rows import ABSENT

Text = str | list[str] | None
# Entities of which all candidates of a request share one row.
_SHARED = ("user", "all")
_FIRST = np.zeros(1, dtype=np.intp)
_STORED = np.dtype("<i8")


class RawRows(msgspec.Struct, frozen=True, array_like=True):
    """m rows of one view, as an entry keeps them."""

    view: str
    numbers: bytes
    texts: tuple[tuple[Text, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class RawMatrix:
    """Raw values of one view as they were looked up.

    numbers   int64[N, 1 + c], seen_e first
    texts     the columns of N rows that are not numeric
    places    the row of each candidate; None where candidate i has row i
    """

    view: View
    numbers: np.ndarray
    texts: tuple[Column, ...]
    places: np.ndarray | None = None

    @classmethod
    def of(cls, view: View, raw: Mapping[str, Column], seen_e: Column) -> "RawMatrix":
        """The matrix of raw columns of N rows."""
        numeric = [seen_e, *(raw[name] for name in view.whole_numbers)]
        # Two arrays in one go: an answer is made from some sixty columns, and each array has its price.
        values = np.concatenate([column.values for column in numeric])
        valid = np.concatenate([column.valid for column in numeric])
        numbers = np.ascontiguousarray(np.where(valid, values, ABSENT).reshape(len(numeric), -1).T)
        return cls(view, numbers, tuple(raw[name] for name in view.textual))

    @classmethod
    def of_read(cls, found: Readout, places: np.ndarray | None) -> "RawMatrix":
        """The matrix of m rows that were read, and one more that stands for what is not there."""
        return cls(found.view, found.matrix, tuple(found.texts[name] for name in found.view.textual), places)

    def at(self, places: np.ndarray) -> "RawMatrix":
        """The same rows, looked up for candidates whose rows are `places`."""
        return RawMatrix(self.view, self.numbers, self.texts, places)

    def rows(self, shown: np.ndarray) -> RawRows:
        """What the entry keeps of it: the rows of the shown candidates, intp[m], or the one that they share."""
        chosen = shown
        if self.view.entity in _SHARED:
            chosen = _FIRST
        if self.places is not None:
            chosen = self.places.take(chosen)
        numbers = self.numbers.take(chosen, axis=0).astype(_STORED, copy=False).tobytes()
        if not self.texts:
            return RawRows(self.view.name, numbers)
        said = (
            tuple(column.values[row] if column.valid[row] else None for column in self.texts) for row in chosen.tolist()
        )
        return RawRows(self.view.name, numbers, tuple(said))


def unpack(view: View, rows: RawRows) -> tuple[dict[str, Column], Column]:
    """The raw columns, and seen_e, of what an entry kept. Raises BadInput if it does not have the view's columns."""
    width = 1 + len(view.whole_numbers)
    if len(rows.numbers) % (8 * width) or any(len(row) != len(view.textual) for row in rows.texts):
        raise BadInput(f"the raw values of {view.name} are not those of the view's {width - 1} numeric columns")
    matrix = np.frombuffer(rows.numbers, dtype="<i8").astype(np.int64).reshape(-1, width)
    if view.textual and len(rows.texts) != len(matrix):
        raise BadInput(f"the raw values of {view.name} have {len(rows.texts)} rows of texts and {len(matrix)} others")
    seen_e, *columns = map(Column, matrix.T, (matrix != ABSENT).T)
    raw = dict(zip(view.whole_numbers, columns, strict=True))
    raw |= {name: _texts([row[place] for row in rows.texts]) for place, name in enumerate(view.textual)}
    return raw, seen_e


def _texts(values: Sequence[Text]) -> Column:
    # One by one: numpy would make a matrix of lists that are equally long.
    column = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        column[place] = value
    return Column(column, np.array([value is not None for value in values], dtype=bool))

"""Many stored states of one view at once: their raw columns at given instants, without making a state of each.

What `state.raw_at` answers for one decoded state, `readout` answers for n stored ones, slot by slot in numpy. A request
reads all the categories of a user so, and the publisher all the items that have changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from behavior.column import Column
from behavior.cursor import Cursor
from behavior.plan import View
from behavior.ragged import NEVER
from behavior.slot import Form
from behavior.state import State, decode_all, encode_all, numbers_of, raw_at, split_all

# Fewer states than this are read faster one by one.
_FEW = 4


@dataclass(frozen=True)
class Readout:
    """m rows of raw values.

    numbers  the view's whole numbers, [r, m] in the order of `View.whole_numbers`
    texts    {column name: column of m rows} of all others
    seen_e   latest event time of each entity, m rows; not there where nothing is stored
    """

    view: View
    numbers: Column
    texts: Mapping[str, Column]
    seen_e: Column
    _leaves: Callable[[], np.ndarray]

    @cached_property
    def raw(self) -> dict[str, Column]:
        """{column name: raw column of m rows}, as in the tables."""
        return {raw.name: self.column(raw.name) for raw in self.view.raws}

    def column(self, name: str) -> Column:
        """One raw column of m rows."""
        place = self.view.whole_numbers.get(name)
        return self.texts[name] if place is None else Column(self.numbers.values[place], self.numbers.valid[place])

    @cached_property
    def leave(self) -> np.ndarray:
        """int64[m], the first instant after t at which a window loses something; NEVER if none does."""
        return self._leaves()


def readout(view: View, stored: Sequence[bytes | None], t: np.ndarray) -> Readout:
    """The raw values of n states at instants t, int64[n]; None is an entity of which nothing is stored."""
    there = np.array([data is not None for data in stored], dtype=bool)
    known = [data for data in stored if data is not None]
    parts = None if len(known) < _FEW else split_all(view, known)
    if parts is None:
        return _one_by_one(view, stored, there, t)
    found = _together(view, *parts, t[there])
    return found if len(known) == len(stored) else _spread(found, there)


def _one_by_one(view: View, stored: Sequence[bytes | None], there: np.ndarray, t: np.ndarray) -> Readout:
    states = decode_all([(view, data) for data in stored if data is not None])
    waiting = iter(states)
    seen: list[int | None] = []
    rows: list[list[Any]] = []
    nothing: list[Any] = [None] * len(view.raws)
    for known, instant in zip(there.tolist(), t.tolist(), strict=True):
        state = next(waiting) if known else None
        rows.append(nothing if state is None else raw_at(view, state, instant))
        seen.append(None if state is None else state.seen_e)
    numbers, texts = _turned(view, rows)
    # Requests do not ask when windows change, the publisher does: found out only then.
    return Readout(view, numbers, texts, Column.of(seen, "int64"), lambda: _leave(view, states, there, t))


def _turned(view: View, rows: Sequence[Sequence[Any]]) -> tuple[Column, dict[str, Column]]:
    """Rows as whole numbers [r, m], in one matrix since each array has its price, and as columns of texts."""
    whole = [place for place, column in enumerate(view.raws) if column.dtype == "int64"]
    shape = (len(whole), len(rows))
    numbers = [[row[place] for row in rows] for place in whole]
    values = np.array([[each or 0 for each in row] for row in numbers], dtype=np.int64).reshape(shape)
    valid = np.array([[each is not None for each in row] for row in numbers], dtype=bool).reshape(shape)
    texts = {
        raw.name: Column.of([row[place] for row in rows], raw.dtype)
        for place, raw in enumerate(view.raws)
        if raw.dtype != "int64"
    }
    return Column(values, valid), texts


def _leave(view: View, states: Sequence[State], there: np.ndarray, t: np.ndarray) -> np.ndarray:
    leave = np.full(len(there), NEVER, dtype=np.int64)
    if states:
        parts = split_all(view, encode_all([(view, state) for state in states]))
        assert parts is not None  # what was encoded just now is of this format
        leave[there] = _together(view, *parts, t[there]).leave
    return leave


def _together(view: View, unit: np.ndarray, packed: Sequence[bytes], texts: Sequence[bytes], t: np.ndarray) -> Readout:
    numbers, place = numbers_of(packed, len(view.slots))
    seen_e = numbers[place] * unit
    # A number more, for slots that look at a place before they know whether it is theirs.
    numbers = np.append(numbers, 0)
    cursor = Cursor(numbers, place + 1, seen_e, unit, texts, t)
    form = Form(view.is_snapshot)
    raw: dict[str, Column] = {}
    for slot, asked, columns in view.readings:
        found = slot.take(cursor, asked, t, form)
        for name, each in columns:
            raw[name] = found[each]
    leaves = cursor.done()
    values = np.empty((len(view.whole_numbers), len(t)), dtype=np.int64)
    valid = np.ones(values.shape, dtype=bool)
    for row, name in enumerate(view.whole_numbers):
        column = raw.pop(name)
        values[row] = column.values
        if column.valid is not cursor.everywhere:
            valid[row] = column.valid
    return Readout(view, Column(values, valid), raw, cursor.filled(seen_e), leaves)


def _spread(found: Readout, there: np.ndarray) -> Readout:
    """The rows at the places where something is stored; the others are not there."""
    rows = np.cumsum(there) - 1

    def spread(column: Column) -> Column:
        return Column(column.values[..., rows], column.valid[..., rows] & there)

    texts = {name: spread(column) for name, column in found.texts.items()}
    leaves = lambda: np.where(there, found.leave[rows], NEVER)  # noqa: E731 - as short as it is lazy
    return Readout(found.view, spread(found.numbers), texts, spread(found.seen_e), leaves)

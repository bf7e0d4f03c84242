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
from behavior.plan import View
from behavior.ragged import NEVER, Cursor
from behavior.slot import Form
from behavior.state import State, decode_all, encode_all, numbers_of, raw_at, split_all

# Fewer states than this are read faster one by one.
_FEW = 4


@dataclass(frozen=True)
class Readout:
    """n rows of raw values.

    raw      {column name: raw column of n rows}, as in the tables
    seen_e   latest event time of each entity, n rows; not there where nothing is stored
    """

    raw: Mapping[str, Column]
    seen_e: Column
    _leaves: Callable[[], np.ndarray]

    @cached_property
    def leave(self) -> np.ndarray:
        """int64[n], the first instant after t at which a window loses something; NEVER if none does."""
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
    # Requests do not ask when windows change, the publisher does: found out only then.
    return Readout(_columns(view, rows), Column.of(seen, "int64"), lambda: _leave(view, states, there, t))


def _columns(view: View, rows: Sequence[Sequence[Any]]) -> dict[str, Column]:
    """The rows turned round; all whole numbers in one matrix, since each array has its price."""
    whole = [place for place, column in enumerate(view.raws) if column.dtype == "int64"]
    shape = (len(rows), len(whole))
    numbers = [[row[place] for place in whole] for row in rows]
    values = np.array([[each or 0 for each in row] for row in numbers], dtype=np.int64).reshape(shape)
    valid = np.array([[each is not None for each in row] for row in numbers], dtype=bool).reshape(shape)
    of_whole = map(Column, values.T, valid.T)
    return {
        raw.name: next(of_whole) if raw.dtype == "int64" else Column.of([row[place] for row in rows], raw.dtype)
        for place, raw in enumerate(view.raws)
    }


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
    cursor = Cursor(numbers, place + 1, seen_e, unit, texts)
    form = Form(view.is_snapshot)
    raw: dict[str, Column] = {}
    windows_end: list[Callable[[], np.ndarray]] = []
    for slot, asked, columns in view.readings:
        found, leaves = slot.take(cursor, asked, t, form)
        if leaves is not None:
            windows_end.append(leaves)
        for name, each in columns:
            raw[name] = found[each]
    ordered = {column.name: raw[column.name] for column in view.raws}
    never = np.full(len(packed), NEVER, dtype=np.int64)
    seen = Column(seen_e, np.ones(len(packed), dtype=bool))
    return Readout(ordered, seen, lambda: np.minimum.reduce([never, *(leaves() for leaves in windows_end)]))


def _spread(found: Readout, there: np.ndarray) -> Readout:
    """The rows at the places where something is stored; the others are not there."""
    rows = np.cumsum(there) - 1

    def spread(column: Column) -> Column:
        return Column(column.values[rows], column.valid[rows] & there)

    raw = {name: spread(column) for name, column in found.raw.items()}
    return Readout(raw, spread(found.seen_e), lambda: np.where(there, found.leave[rows], NEVER))

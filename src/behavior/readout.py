"""Many stored states of one view at once: their raw columns at given instants, without making a state of each.

What `state.raw_at` answers for one decoded state, `readout` answers for n stored ones: compiled in one pass, else slot
by slot in numpy. A request reads all the categories of a user so, and the publisher all the items that have changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from behavior.asked import EVER
from behavior.column import Column
from behavior.cursor import Cursor
from behavior.errors import OpportuneError
from behavior.members import Recent
from behavior.plan import View
from behavior.programs import takes_of
from behavior.ragged import NEVER
from behavior.slot import Form, Slot
from behavior.snapshot_rows import ABSENT
from behavior.state import State, decode_all, encode_all, numbers_of, raw_at, split_all

try:
    from behavior.compiled_readout import read_states, recent_of, texts_at
except ImportError:
    read_states = None  # type: ignore[assignment]

# See `compiled_readout`.
Packed = tuple[int, int, int, list[int]]
# Fewer states than this are read faster one by one.
_FEW = 4


@dataclass(frozen=True)
class Readout:
    """m rows of raw values.

    matrix   int64[m + 1, 1 + r]: seen_e and the view's whole numbers in the order of `View.whole_numbers`, ABSENT where
             nothing is there
    texts    {column name: column of m + 1 rows} of all others

    The last row stands for what is not stored.
    """

    view: View
    matrix: np.ndarray
    texts: Mapping[str, Column]
    _leaves: Callable[[], np.ndarray]

    @cached_property
    def raw(self) -> dict[str, Column]:
        """{column name: raw column of m rows}, as in the tables."""
        return {raw.name: self._column(raw.name) for raw in self.view.raws}

    @cached_property
    def seen_e(self) -> Column:
        """Latest event time of each entity, m rows; not there where nothing is stored."""
        return self._numbers(0)

    @cached_property
    def leave(self) -> np.ndarray:
        """int64[m], the first instant after t at which a window loses something; NEVER if none does."""
        return self._leaves()

    def _column(self, name: str) -> Column:
        place = self.view.whole_numbers.get(name)
        if place is not None:
            return self._numbers(1 + place)
        column = self.texts[name]
        return Column(column.values[:-1], column.valid[:-1])

    def _numbers(self, place: int) -> Column:
        values = self.matrix[:-1, place]
        return Column(values, values != ABSENT)


def readout(view: View, stored: Sequence[bytes | None], t: np.ndarray) -> Readout:
    """The raw values of n states at instants t, int64[n]; None is an entity of which nothing is stored.

    Raises OpportuneError if a format is unknown, or if bytes are no state.
    """
    found = None if read_states is None else _compiled(view, stored, t)
    return in_numpy(view, stored, t) if found is None else found


# ---------------------------------------------------------------------------------------------------- compiled


def _compiled(view: View, stored: Sequence[bytes | None], t: np.ndarray) -> Readout | None:
    """None if a state is of another format than this one."""
    width, textual = 1 + len(view.whole_numbers), len(view.textual)
    try:
        found = read_states(takes_of(view), len(view.slots), width, textual, view.is_snapshot, list(stored), t)
    except ValueError as error:
        raise OpportuneError(f"view {view.name}: a stored state {error}; run `opportune rebuild`") from None
    if found is None:
        return None
    matrix, leave, packed = found
    texts = _Texts(view, stored, matrix[:, 0], dict(zip(view.textual, packed, strict=True))) if textual else {}
    return Readout(view, matrix, texts, lambda: leave)


class _Texts(Mapping[str, Column]):
    """Textual columns, each made when it is asked for: most requests need few of them.

    stored, seen_e    the states, and their latest event times
    packed            per column and state where in the bytes the texts begin, the place of the slot's first one, how
                      many it has, and the slot's numbers; None of nothing
    """

    def __init__(
        self,
        view: View,
        stored: Sequence[bytes | None],
        seen_e: np.ndarray,
        packed: Mapping[str, Sequence[Packed | None]],
    ) -> None:
        self._view = view
        self._form = Form(view.is_snapshot)
        self._stored = stored
        self._seen_e = seen_e
        self._packed = packed
        self._made: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        """The column. Raises OpportuneError if the texts are not what the numbers say."""
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = self._column(name)
        return found

    def __iter__(self) -> Iterator[str]:
        """The columns' names."""
        return iter(self._packed)

    def __len__(self) -> int:
        """How many columns."""
        return len(self._packed)

    def _column(self, name: str) -> Column:
        slot = _textual_slots(self._view)[name]
        values = np.empty(len(self._stored) + 1, dtype=object)
        try:
            for row, data in enumerate(self._stored):
                if data is not None:
                    values[row] = self._read(slot, row, data, self._packed[name][row])
        except (StopIteration, IndexError, ValueError):
            raise OpportuneError(
                f"view {self._view.name}: the texts of a stored state are damaged; run `opportune rebuild`"
            ) from None
        return Column(values, np.array([value is not None for value in values], dtype=bool))

    def _read(self, slot: Slot, row: int, data: bytes, packed: Packed | None) -> Any:
        """What `state.raw_at` would read."""
        if packed is None:
            return slot.read(slot.empty(), EVER, 0)
        start, first, count, numbers = packed
        texts, seen_e = texts_at(data, start, first, count), int(self._seen_e[row])
        if isinstance(slot, Recent):
            return recent_of(numbers, texts, seen_e, slot.events, self._form.ids)
        value, _ = slot.unpack(numbers, 0, seen_e, iter(texts), self._form)
        return slot.read(value, EVER, 0)


@lru_cache(maxsize=256)
def _textual_slots(view: View) -> dict[str, Slot]:
    return {raw.name: raw.slot for raw in view.raws if raw.name in view.textual}


# ---------------------------------------------------------------------------------------------------- in numpy


def in_numpy(view: View, stored: Sequence[bytes | None], t: np.ndarray) -> Readout:
    """As `readout`, of states of any format, without compiled parts."""
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
    matrix = _matrix(Column.of(seen, "int64"), numbers)
    # Requests do not ask when windows change, the publisher does: found out only then.
    return Readout(view, matrix, texts, lambda: _leave(view, states, there, t))


def _matrix(seen_e: Column, numbers: Column) -> np.ndarray:
    """The rows of `Readout` from m times and whole numbers [r, m]."""
    matrix = np.full((len(seen_e) + 1, 1 + len(numbers.values)), ABSENT, dtype=np.int64)
    matrix[:-1, 0] = np.where(seen_e.valid, seen_e.values, ABSENT)
    matrix[:-1, 1:] = np.where(numbers.valid, numbers.values, ABSENT).T
    return matrix


def _turned(view: View, rows: Sequence[Sequence[Any]]) -> tuple[Column, dict[str, Column]]:
    """Rows as whole numbers [r, m], in one matrix since each array has its price, and as columns of texts."""
    whole = [place for place, column in enumerate(view.raws) if column.dtype == "int64"]
    shape = (len(whole), len(rows))
    numbers = [[row[place] for row in rows] for place in whole]
    values = np.array([[each or 0 for each in row] for row in numbers], dtype=np.int64).reshape(shape)
    valid = np.array([[each is not None for each in row] for row in numbers], dtype=bool).reshape(shape)
    texts = {
        raw.name: Column.of([row[place] for row in rows], raw.dtype).and_missing()
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


def _together(
    view: View, unit: np.ndarray, packed: Sequence[bytes], written: Sequence[bytes], t: np.ndarray
) -> Readout:
    numbers, place = numbers_of(packed, len(view.slots))
    seen_e = numbers[place] * unit
    # A number more, for slots that look at a place before they know whether it is theirs.
    numbers = np.append(numbers, 0)
    cursor = Cursor(numbers, place + 1, seen_e, unit, written, t)
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
    texts = {name: column.and_missing() for name, column in raw.items()}
    return Readout(view, _matrix(cursor.filled(seen_e), Column(values, valid)), texts, leaves)


def _spread(found: Readout, there: np.ndarray) -> Readout:
    """The rows at the places where something is stored; the others are not there."""
    rows = np.where(there, np.cumsum(there) - 1, -1)
    with_last = np.append(rows, -1)
    texts = {name: Column(column.values[with_last], column.valid[with_last]) for name, column in found.texts.items()}
    leaves = lambda: np.where(there, found.leave[rows], NEVER)  # noqa: E731 - as short as it is lazy
    return Readout(found.view, found.matrix[with_last], texts, leaves)

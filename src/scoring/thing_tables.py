"""Numbers of things in many tables, which change one by one and are gathered many at a time."""

from collections.abc import Hashable, Sequence

import numpy as np

from behavior.places import places_in

# Below so many things and tables there is nothing to tidy up.
_FEW = 1024
# Greater numbers, of which a few add up to infinity, and what is no number at all: counted as 0.
_GREATEST = 1e300


class ThingTables:
    """One float64 per table and thing; 0 where none was set, or what was set is not a finite number.

    All tables share one list of things, so things are looked up once for any number of tables. A table reaches to the
    last thing that was set in it, and ends with a 0 that stands for all others.

    >>> tables = ThingTables()
    >>> tables.put("evening", "TEA", 0.5)
    >>> tables.gather("evening", tables.rows(["RICE", "TEA"])).tolist()
    [0.0, 0.5]
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._tables: dict[Hashable, np.ndarray] = {}
        self._tidy_at = _FEW

    def put(self, table: Hashable, thing: str, value: float) -> None:
        """Set the number of a thing in a table."""
        value = value if abs(value) <= _GREATEST else 0.0
        row = self._rows.get(thing)
        array = self._tables.get(table)
        if row is None or array is None or row >= len(array) - 1:
            if value == 0.0:
                return
            row = self._rows.setdefault(thing, len(self._rows))
            array = self._reaching(table, row)
        array[row] = value
        if len(self._rows) + len(self._tables) > self._tidy_at:
            self._tidy()

    def rows(self, things: Sequence[str]) -> np.ndarray:
        """The row of each thing, intp[n], for `gather`; good until something is put."""
        return places_in(self._rows, things)

    def gather(self, table: Hashable, rows: np.ndarray) -> np.ndarray | None:
        """The numbers of things in a table, float64[n]; None where there is no such table: all are 0."""
        array = self._tables.get(table)
        return None if array is None else array.take(rows, mode="clip")

    def _reaching(self, table: Hashable, row: int) -> np.ndarray:
        """The table, long enough for the row and the 0 at its end."""
        array = self._tables.get(table, np.zeros(1))
        if row >= len(array) - 1:
            array = np.concatenate([array, np.zeros(max(len(array), row + 2 - len(array)))])
            self._tables[table] = array
        return array

    def _tidy(self) -> None:
        """Leave out things and tables that are 0 all over, and come back when there are twice as many as are left."""
        self._tables = {name: array for name, array in self._tables.items() if array.any()}
        rows = np.arange(len(self._rows))
        used = np.zeros(len(rows), dtype=bool)
        for array in self._tables.values():
            used |= array.take(rows, mode="clip") != 0.0
        kept = np.flatnonzero(used)
        things = list(self._rows)  # in the order of their rows
        self._rows = {things[row]: place for place, row in enumerate(kept.tolist())}
        for name, array in self._tables.items():
            self._tables[name] = np.append(array.take(kept, mode="clip"), 0.0)
        self._tidy_at = max(_FEW, 2 * (len(self._rows) + len(self._tables)))

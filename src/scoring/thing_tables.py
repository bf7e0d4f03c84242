"""Numbers of things in many tables, which change one by one and are gathered many at a time."""

from collections.abc import Hashable, Sequence

import numpy as np

from behavior.places import places_in

# Below so many things and tables there is nothing to tidy up.
_FEW = 1024
# Greater numbers, of which a few add up to infinity, and what is no number at all: counted as 0.
_GREATEST = 1e300
_NOTHING = np.zeros(0)


class ThingTables:
    """One float64 per table and thing; 0 where none was set, or what was set is not a finite number.

    All tables share one list of things, so things are looked up once for any number of tables. What lies in a table
    behind the last thing is 0 and stands for all unknown ones; a table grows when it is first needed that long.

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
        if value == 0.0 and (thing not in self._rows or table not in self._tables):
            return
        row = self._rows.setdefault(thing, len(self._rows))
        self._longer_than(row, table)[row] = value
        if len(self._rows) + len(self._tables) > self._tidy_at:
            self._tidy()

    def rows(self, things: Sequence[str]) -> np.ndarray:
        """The row of each thing, intp[n], for `gather`; good until something is put."""
        return places_in(self._rows, things)

    def gather(self, table: Hashable, rows: np.ndarray) -> np.ndarray | None:
        """The numbers of things in a table, float64[n]; None where there is no such table: all are 0."""
        if table not in self._tables:
            return None
        found: np.ndarray = self._longer_than(len(self._rows), table)[rows]
        return found

    def _longer_than(self, row: int, table: Hashable) -> np.ndarray:
        """The table, as long as it takes to have the row."""
        array = self._tables.get(table, _NOTHING)
        if row >= len(array):
            grown = np.zeros(max(2 * len(array), row + 1))
            grown[: len(array)] = array
            array = self._tables[table] = grown
        return array

    def _tidy(self) -> None:
        """Leave out things and tables that are 0 all over, and come back when there are twice as many as are left."""
        self._tables = {name: array for name, array in self._tables.items() if array.any()}
        used = np.zeros(len(self._rows), dtype=bool)
        for array in self._tables.values():
            used[: len(array)] |= array[: len(used)] != 0.0
        kept = np.flatnonzero(used)
        things = list(self._rows)  # in the order of their rows
        for name in self._tables:
            self._tables[name] = self._longer_than(len(things), name)[kept]
        self._rows = {things[row]: place for place, row in enumerate(kept.tolist())}
        self._tidy_at = max(_FEW, 2 * (len(self._rows) + len(self._tables)))

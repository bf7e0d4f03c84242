"""Which events a view's statement reads, to which life of which entity each belongs, and where the statement goes on.

The bricks that all relations of a change-point statement are laid from (`change_points` names the relations).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from behavior.event import PERSONALIZATION
from behavior.plan import ALL_ID, View
from training.parts import Parts

SO_FAR = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
BEFORE = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"


@dataclass(frozen=True)
class Chosen:
    """What one statement reads.

    events    a relation with the archive's columns
    until     only events with k < until count; None for all
    since     the instant from which on rows are made, if `carried` has what was before; None for all rows
    carried   a relation with one row per entity as of `since` (`carry`)
    """

    view: View
    events: str
    until: int | None = None
    since: int | None = None
    carried: str = "carried"

    @cached_property
    def parts(self) -> Parts:
        """What the view's raw columns are made of."""
        return Parts(self.view)

    @property
    def keys(self) -> str:
        """The join keys, with commas."""
        return ", ".join(self.view.join_keys)

    @property
    def read_from(self) -> int:
        """Events up to this instant can neither be in a window after `since` nor change anything else."""
        assert self.since is not None
        return self.since - self.parts.longest_us - 1

    def rows(self, *, new: bool = False) -> str:
        """The events that the view takes (what `behavior.state.belongs` says), as a relation with its join keys.

        With `new` only those after `since`: what was before is carried.
        """
        everybody = f", '{ALL_ID}' AS all_id" if self.view.join_keys == ("all_id",) else ""
        conditions = [
            f"kind IN ({', '.join(text(kind) for kind in sorted(self.view.selects))})",
            f"(purposes & {PERSONALIZATION}) <> 0",
        ]
        if self.view.needs is not None:
            conditions.append(f"{self.view.needs} IS NOT NULL")
        if self.since is not None:
            conditions.append(f"k >= {self.since}" if new else f"k > {self.read_from}")
        if self.until is not None:
            conditions.append(f"k < {self.until}")
        return f"(SELECT *{everybody} FROM {self.events} WHERE {' AND '.join(conditions)}) AS chosen"

    def of_lives(self, *conditions: str, new: bool = False) -> str:
        """The same, each event with the life that it belongs to: `FROM ... WHERE ...`."""
        within = ["k >= began", "(ended IS NULL OR k < ended)", *conditions]
        return f"FROM {self.rows(new=new)}\n  JOIN lives USING ({self.keys})\n  WHERE {' AND '.join(within)}"

    def carried_lives(self) -> str:
        """What is carried, with the life that goes on; its rows stand before all that is read."""
        return f"{self.carried} JOIN lives USING ({self.keys}, began)"

    def instant(self, sql: str) -> str:
        """The instant at which a change shows: that of the next whole interval; never before `since`."""
        interval = self.view.interval_us
        if interval > 1:
            sql = f"({sql} + {interval - 1}) - ({sql} + {interval - 1}) % {interval}"
        return sql if self.since is None else f"greatest({sql}, {self.since})"


def select(columns: Iterable[str]) -> str:
    """A SELECT with one column per line."""
    return "  SELECT " + ",\n         ".join(columns)


def text(value: str) -> str:
    """A text literal."""
    return "'" + value.replace("'", "''") + "'"


def bigint(sql: str, name: str) -> str:
    """A whole number: sums of them are wider than needed, in DuckDB."""
    return f"CAST({sql} AS BIGINT) AS {name}"

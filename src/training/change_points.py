"""The SQL of change-point tables: one readable statement per behavior view, made from the plan's own slots.

A change point is an instant at which a value of an entity changes. An event enters at k + 1 µs and leaves a window W at
floor(e, hop) + W (design 4.2), so the value at any instant t is that of the last row with ts <= t:

    1 taken      what the view takes, one row per entity and (e, k)
    2 lived      the same, numbered by generation: state starts afresh where the entity had gone missing
    3 changes    what enters, and what leaves each window
    4 moments    one row per entity and instant
    5            running sums and maxima

The statements stay within what sqlglot transpiles to Spark SQL (design 10).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from behavior.event import PERSONALIZATION
from behavior.plan import ALL_ID, Feature, View
from behavior.slots import LatestTime, LatestValue
from behavior.window import hop_of


def change_points(view: View, events: str, until: int | None = None) -> str:
    """The statement that yields the view's change-point table from a relation with the archive's columns.

    Its columns are the join keys (text), `ts` and `seen_e` (int64 µs) and one raw column per feature, named as the
    feature; (join keys, ts) is unique. With `until` only events with k < until count.
    """
    return _Statement(view, events, until).text


@dataclass(frozen=True)
class _Statement:
    """The parts of one view's statement; each part is a list of columns over the part before."""

    view: View
    events: str
    until: int | None

    @property
    def text(self) -> str:
        """The whole statement."""
        return (
            f"WITH taken AS (\n{self._taken}\n), marked AS (\n{self._marked}\n), lived AS (\n{self._lived}\n), "
            f"changes AS (\n{self._changes}\n), moments AS (\n{self._moments}\n)\n{self._running}"
        )

    @property
    def _keys(self) -> str:
        return ", ".join(self.view.join_keys)

    @cached_property
    def _parts(self) -> dict[str, str]:
        """Column name by the SQL of one row's contribution; features that share a slot share the column."""
        distinct = dict.fromkeys(feature.slot.sql for feature in self.view.features)
        return {sql: f"part_{place}" for place, sql in enumerate(distinct)}

    def _part(self, feature: Feature) -> str:
        return self._parts[feature.slot.sql]

    @cached_property
    def _sums(self) -> "dict[tuple[str, int | None], str]":
        """Column name by (part, window): named after the first feature that is this sum."""
        sums: dict[tuple[str, int | None], str] = {}
        for feature in self.view.features:
            if not _is_maximum(feature):
                sums.setdefault((self._part(feature), feature.over_us), f"add_{feature.name}")
        return sums

    @cached_property
    def _maxima(self) -> list[str]:
        return list(dict.fromkeys(self._part(feature) for feature in self.view.features if _is_maximum(feature)))

    @property
    def _windows(self) -> list[int]:
        return sorted({window for _, window in self._sums if window is not None})

    @property
    def _taken(self) -> str:
        keys = [f"'{ALL_ID}' AS all_id" if key == "all_id" else key for key in self.view.join_keys]
        maxima = set(self._maxima)
        parts = [
            f"max({sql}) AS {name}" if name in maxima else f"CAST(sum({sql}) AS BIGINT) AS {name}"
            for sql, name in self._parts.items()
        ]
        grouped = [key for key in self.view.join_keys if key != "all_id"]
        return (
            f"{_select([*keys, 'e', 'k', *parts])}\n  FROM {self.events}\n  WHERE {self._belongs}\n"
            f"  GROUP BY {', '.join([*grouped, 'e', 'k'])}"
        )

    @property
    def _belongs(self) -> str:
        """What `behavior.state.belongs` says, as SQL."""
        conditions = [
            f"kind IN ({', '.join(_text(kind) for kind in sorted(self.view.selects))})",
            f"(purposes & {PERSONALIZATION}) <> 0",
        ]
        if "category" in self.view.join_keys:
            conditions.append("category IS NOT NULL")
        if self.until is not None:
            conditions.append(f"k < {self.until}")
        return " AND ".join(conditions)

    @property
    def _marked(self) -> str:
        """Where state starts afresh: the entity had gone missing before this instant; events of one k are one."""
        gone = f"k - max(e) OVER earlier >= {self.view.retention_us} AND k > max(k) OVER earlier"
        earlier = f"PARTITION BY {self._keys} ORDER BY k, e ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
        columns = ["*", f"CASE WHEN {gone} THEN 1 ELSE 0 END AS afresh"]
        return f"{_select(columns)}\n  FROM taken\n  WINDOW earlier AS ({earlier})"

    @property
    def _lived(self) -> str:
        up_to_now = f"(PARTITION BY {self._keys} ORDER BY k, e ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
        return f"{_select(['*', f'CAST(sum(afresh) OVER {up_to_now} AS BIGINT) AS generation'])}\n  FROM marked"

    @property
    def _changes(self) -> str:
        return "\n  UNION ALL\n".join([self._entering, *(self._leaving(window) for window in self._windows)])

    @property
    def _entering(self) -> str:
        """Each event at k + 1; a window that it has left by then never counts it."""
        sums = [
            f"{part if window is None else f'CASE WHEN {_leave(window)} > k + 1 THEN {part} ELSE 0 END'} AS {name}"
            for (part, window), name in self._sums.items()
        ]
        columns = [self._keys, "generation", "k + 1 AS ts", "e AS seen_e", *sums, *self._maxima]
        return f"{_select(columns)}\n  FROM lived"

    def _leaving(self, window: int) -> str:
        """Each event at the instant at which the window has passed it, taken away again."""
        sums = [f"-{part}" if over == window else "0" for part, over in self._sums]
        changed = " OR ".join(f"{part} <> 0" for part, over in self._sums if over == window)
        columns = [self._keys, "generation", _leave(window), "NULL", *sums, *("NULL" for _ in self._maxima)]
        return f"{_select(columns)}\n  FROM lived\n  WHERE {_leave(window)} > k + 1 AND ({changed})"

    @property
    def _moments(self) -> str:
        instant = "ts" if self.view.interval_us == 1 else _rounded_up("ts", self.view.interval_us)
        sums = [f"CAST(sum({name}) AS BIGINT) AS {name}" for name in self._sums.values()]
        maxima = [f"max({name}) AS {name}" for name in self._maxima]
        columns = [self._keys, "generation", f"{instant} AS instant", "max(seen_e) AS seen_e", *sums, *maxima]
        return f"{_select(columns)}\n  FROM changes\n  GROUP BY {self._keys}, generation, {instant}"

    @property
    def _running(self) -> str:
        columns = [self._keys, "instant AS ts", "max(seen_e) OVER running AS seen_e"]
        columns += [f"{self._value(feature)} AS {feature.name}" for feature in self.view.features]
        frame = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
        running = f"PARTITION BY {self._keys}, generation ORDER BY instant {frame}"
        return f"{_select(columns, '')}\nFROM {self._last_generations}\nWINDOW running AS ({running})"

    def _value(self, feature: Feature) -> str:
        part = self._part(feature)
        if isinstance(feature.slot, LatestValue):
            return f"(max({part}) OVER running).value"
        if isinstance(feature.slot, LatestTime):
            return f"max({part}) OVER running"
        return f"CAST(sum({self._sums[part, feature.over_us]}) OVER running AS BIGINT)"

    @property
    def _last_generations(self) -> str:
        """The moments; of generations that rounding brings to one instant only the last."""
        if self.view.interval_us == 1:
            return "moments"
        last = f"max(generation) OVER (PARTITION BY {self._keys}, instant) AS last_generation"
        return f"(SELECT *, {last} FROM moments) AS numbered\nWHERE generation = last_generation"


def _is_maximum(feature: Feature) -> bool:
    return isinstance(feature.slot, LatestTime | LatestValue)


def _leave(window: int) -> str:
    return f"e - e % {hop_of(window)} + {window}"


def _rounded_up(instant: str, interval: int) -> str:
    last = interval - 1
    return f"{instant} + {last} - ({instant} + {last}) % {interval}"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _select(columns: Iterable[str] | Sequence[str], indent: str = "  ") -> str:
    return f"{indent}SELECT " + f",\n{indent}       ".join(columns)

"""The SQL of change-point tables: one readable statement per behavior view, made from the plan's own slots.

A change point is an instant at which a value of an entity changes. An event enters at k + 1 µs and leaves a window W at
floor(e, hop) + W (design 4.2), so the value at any instant t is that of the last row with ts <= t:

    lives       an entity from its first event on, and anew after each silence of the retention: state starts afresh
    taken       what the view takes, one row per life and (k, e), with what it adds to each part (`parts`)
    lived       running sums and extremes, one row per admission: all that has no window
    left_7d     running sums of what has left a window, one row per instant at which something leaves it
    members_1   how many texts there are, one row per instant at which that changes
    changes     the instants of these three together
    moments     at each instant, where each of them stands; a window holds what came without what left

Sums run over the short relations, before these are brought together: in the long one they are only looked up. Nothing
is DuckDB's alone: sqlglot transpiles the statements to Spark SQL (design 10).

A statement can go on from where another ended: `since` an instant, as of which `carried` has one row per entity. Then
only events after it are new, and of those before it only what a window may still hold is read.
"""

from dataclasses import dataclass
from functools import cached_property

from behavior.plan import View
from behavior.window import hop_of
from training.chosen import BEFORE, SO_FAR, Chosen, bigint, select
from training.members_sql import first_members, members_changes, recent_lists
from training.parts import Said, left


def change_points(view: View, events: str, until: int | None = None) -> str:
    """The statement that yields the view's change-point table from a relation with the archive's columns.

    Its columns are the join keys (text), `ts` and `seen_e` (int64 µs) and the raw columns of the view; (join keys, ts)
    is unique. With `until` only events with k < until count.
    """
    statement = Statement(Chosen(view, events, until))
    steps = ", ".join(f"{name} AS (\n{sql}\n)" for name, sql in {**statement.steps, **statement.relations}.items())
    return f"WITH {steps}\n{statement.rows}"


@dataclass(frozen=True)
class Statement:
    """The relations of one view's statement by name, each made from those before it.

    steps       the relations of lives and of what each of them has seen
    relations   the relations on the way from there to the rows, in which no life has to do with another
    rows        the table
    carry       what the next statement goes on from
    """

    chosen: Chosen

    @cached_property
    def steps(self) -> dict[str, str]:
        """The relations that several others are made from, or that are short."""
        chosen, parts = self.chosen, self.chosen.parts
        return {
            "lives": self._lives,
            "taken": self._taken,
            **{name: recent_lists(chosen, latest, name) for latest, name in parts.recents.items()},
            "lived": self._lived,
            **{f"first_{name}": first_members(chosen, each, name) for each, name in parts.ever_members.items()},
            **{name: members_changes(chosen, each, name) for each, name in parts.members.items()},
        }

    @cached_property
    def relations(self) -> dict[str, str]:
        """The relations on the way to the rows."""
        parts = self.chosen.parts
        return {
            **{left(over_us): self._left(over_us, sums) for over_us, sums in parts.windows.items()},
            "changes": self._changes,
            "moments": self._moments,
        }

    @property
    def rows(self) -> str:
        """The change points: of peers the last, and of lives that rounding brings to one instant the later."""
        chosen, view = self.chosen, self.chosen.view
        raws = [f'{_raw(raw.dtype, chosen.parts.columns[raw.name])} AS "{raw.name}"' for raw in view.raws]
        begins_next = chosen.instant("ended + 1")
        made = "" if chosen.since is None else f" AND moments.instant > {chosen.since}"
        keys = [f"lives.{key}" for key in view.join_keys]
        return f"""\
{select([*keys, "moments.instant AS ts", "lived.seen_e", *raws])}
  FROM moments
  JOIN lived ON lived.life = moments.life AND lived.place = moments.place
  JOIN lives ON lives.life = moments.life
  WHERE (next_instant IS NULL OR next_instant <> moments.instant){made}
  AND (ended IS NULL OR moments.instant < {begins_next})"""

    @property
    def _lives(self) -> str:
        """The first life of an entity begins with its first event, the next with what comes after a silence.

        An event that is admitted when the latest event time before is the retention or more ago begins anew; events of
        one k come together. Few entities can have had such a silence, and only these are looked at closely.
        """
        chosen, keys, retention = self.chosen, self.chosen.keys, self.chosen.view.retention_us
        known = f"SELECT {keys}, k, e FROM {chosen.rows()}"
        if chosen.since is not None:
            known += f"\n  UNION ALL SELECT {keys}, began, seen_e FROM {chosen.carried}"
        order = f"PARTITION BY {keys} ORDER BY k, e"
        return f"""\
  WITH spans AS (
  SELECT {keys}, min(k) AS began, max(k) - min(e) >= {retention} AS is_long
  FROM ({known}) AS known GROUP BY {keys}
  ), spaced AS (
  SELECT {keys}, k, lag(k) OVER ({order}) AS k_before, k - max(e) OVER ({order} {BEFORE}) AS silence
  FROM ({known}) AS known JOIN spans USING ({keys}) WHERE is_long
  ), beginnings AS (
  SELECT {keys}, began FROM spans
  UNION ALL
  SELECT {keys}, k FROM spaced WHERE silence >= {retention} AND k > k_before
  )
  SELECT row_number() OVER (ORDER BY {keys}, began) AS life, {keys}, began,
         lead(began) OVER (PARTITION BY {keys} ORDER BY began) AS ended
  FROM beginnings"""

    @property
    def _taken(self) -> str:
        chosen, parts = self.chosen, self.chosen.parts
        sums = [bigint(f"sum({sql})", name) for sql, name in parts.sums.items()]
        times = [f"max(CASE WHEN {time.match} THEN e END) AS {name}" for time, name in parts.times.items()]
        values = [column for said, name in parts.values.items() for column in _said(said, name)]
        taken = f"""\
{select(["life", "k", "e", "e AS seen_e", *sums, *times, *values])}
  {chosen.of_lives()}
  GROUP BY life, k, e"""
        if parts.days:
            firsts = [f"{_first_of_hop(added, hop_us)} AS {name}" for (added, hop_us), name in parts.days.items()]
            taken = f"{select(['*', *firsts])}\n  FROM (\n{taken}\n  ) AS adding"
        return taken if chosen.since is None else f"  WITH taken_anew AS (\n{taken}\n  )\n{self._taken_on}"

    @property
    def _taken_on(self) -> str:
        """With what is carried in front, as one event that has long left every window.

        Of a carried sum only that is added which does not stand in what is read again.
        """
        chosen, parts = self.chosen, self.chosen.parts
        again = "".join(f", {bigint(f'sum({name})', name)}" for name in parts.lifelong)
        sums = [
            f"carried.{name} - coalesce(again.{name}, 0)" if name in parts.lifelong else "0"
            for name in parts.sums.values()
        ]
        days = ["0"] * len(parts.days)
        times = list(parts.times.values())
        values = [column for name in parts.values.values() for column in (f"said_{name}", name)]
        return f"""\
  SELECT * FROM taken_anew
  UNION ALL
{select(["life", f"{chosen.read_from}", f"{chosen.read_from}", "seen_e", *sums, *times, *values, *days])}
  FROM {chosen.carried} AS carried JOIN lives USING ({chosen.keys}, began)
  LEFT JOIN (
  SELECT life{again} FROM taken_anew WHERE k < {chosen.since} GROUP BY life
  ) AS again USING (life)"""

    @property
    def _lived(self) -> str:
        """Everything without a window, as it stands after each admission.

        The latest value is that of the last row which was not behind the latest before it.
        """
        parts = self.chosen.parts
        order = "PARTITION BY life ORDER BY k, e"
        best = [
            f"{_extreme(said.is_first)}(said_{name}) OVER before AS best_{name}" for said, name in parts.values.items()
        ]
        columns = ["life", "k", f"{self.chosen.instant('k + 1')} AS instant", f"row_number() OVER ({order}) AS place"]
        columns += ["max(seen_e) OVER so_far AS seen_e"]
        added = [*parts.sums.values(), *parts.days.values()]
        columns += [bigint(f"sum({name}) OVER so_far", name) for name in added]
        columns += [f"{_extreme(time.is_first)}({name}) OVER so_far AS {name}" for time, name in parts.times.items()]
        for said, name in parts.values.items():
            beyond = f"said_{name} {'<' if said.is_first else '>='} best_{name}"
            value = f"CASE WHEN best_{name} IS NULL OR {beyond} THEN {name} END"
            columns += [f"{_extreme(said.is_first)}(said_{name}) OVER so_far AS said_{name}"]
            columns += [f"last_value({value} IGNORE NULLS) OVER so_far AS {name}"]
        columns += [f"last_value({name} IGNORE NULLS) OVER so_far AS {name}" for name in parts.recents.values()]
        recents = "".join(f"\n  LEFT JOIN {name} USING (life, k)" for name in parts.recents.values())
        return f"""\
{select(columns)}
  FROM (
{select(["*", *best])}
  FROM taken WINDOW before AS ({order} {BEFORE})
  ) AS beside{recents}
  WINDOW so_far AS ({order} {SO_FAR})"""

    def _left(self, over_us: int, sums: list[str]) -> str:
        """What has left the window; an event that comes too late for it leaves as it enters."""
        leaves = self.chosen.instant(f"greatest(e - e % {hop_of(over_us)} + {over_us}, k + 1)")
        amounts = [bigint(f"sum({name}) OVER so_far", f"amount_{place}") for place, name in enumerate(sums, 1)]
        changed = " OR ".join(f"{name} <> 0" for name in sums)
        added = ", ".join(bigint(f"sum({name})", name) for name in sums)
        return f"""\
{select(["life", "instant", *amounts])}
  FROM (SELECT life, {leaves} AS instant, {added} FROM taken
  WHERE {changed} GROUP BY life, {leaves}) AS leaving
  WINDOW so_far AS (PARTITION BY life ORDER BY instant {SO_FAR})"""

    @property
    def _sources(self) -> dict[str, list[str]]:
        """What `moments` looks up: per relation the columns that it becomes there."""
        parts = self.chosen.parts
        windows = {left(over): [f"{left(over)}_{name}" for name in sums] for over, sums in parts.windows.items()}
        return windows | {name: [name] for name in parts.members.values()}

    @property
    def _changes(self) -> str:
        """All instants, each with which relation it is from and what that says: `place` of lived, amounts of others."""
        width = max((len(columns) for columns in self._sources.values()), default=0)
        nothing = ["CAST(NULL AS BIGINT)"] * width
        names = [f"amount_{place}" for place in range(1, width + 1)]
        lived = [f"{null} AS {name}" for null, name in zip(nothing, names, strict=True)]
        selects = [f"  SELECT {', '.join(['life', 'instant', 'place', '0 AS source', *lived])} FROM lived"]
        for source, (relation, columns) in enumerate(self._sources.items(), 1):
            amounts = names[: len(columns)] + nothing[len(columns) :]
            selects.append(f"  SELECT {', '.join(['life', 'instant', '0', str(source), *amounts])} FROM {relation}")
        return "\n  UNION ALL\n".join(selects)

    @property
    def _moments(self) -> str:
        order = "PARTITION BY life ORDER BY instant, place"
        columns = ["life", "instant", f"lead(instant) OVER ({order}) AS next_instant", _latest(0, "place", "place")]
        for source, found in enumerate(self._sources.values(), 1):
            columns += [_latest(source, f"amount_{place}", name) for place, name in enumerate(found, 1)]
        return f"{select(columns)}\n  FROM changes WINDOW now AS ({order} {SO_FAR})"

    def carry(self, upto: int) -> str:
        """What a statement since `upto` goes on from: one row per entity that is not missing then.

        A later event has a later k than all that is carried, so of an extreme its time and value are enough.
        """
        chosen, parts = self.chosen, self.chosen.parts
        values = [column for name in parts.values.values() for column in (f"said_{name}", name)]
        columns = ["began", "seen_e", *parts.lifelong, *parts.times.values(), *values, *parts.recents.values()]
        columns += [self._carried_members(name) for name in parts.ever_members.values()]
        found = "".join(f"\n{self._members_until(name, upto)}" for name in parts.ever_members.values())
        return f"""\
{select([*chosen.view.join_keys, *columns])}
  FROM (SELECT *, lead(k) OVER (PARTITION BY life ORDER BY place) AS next_k FROM lived WHERE k < {upto}) AS reached
  JOIN lives USING (life){found}
  WHERE next_k IS NULL AND (ended IS NULL OR ended >= {upto}) AND {upto} - seen_e < {chosen.view.retention_us}"""

    def _carried_members(self, name: str) -> str:
        empty = "CAST([] AS VARCHAR[])"
        new = f"coalesce(new_{name}, {empty})"
        if self.chosen.since is None:
            return f"{new} AS {name}"
        return f"list_concat(coalesce({name}, {empty}), {new}) AS {name}"

    def _members_until(self, name: str, upto: int) -> str:
        """The members that are new before `upto`; more than the cap are not worth remembering."""
        joined = f"""\
  LEFT JOIN (
  SELECT life, list(member) AS new_{name} FROM (
  SELECT life, member, row_number() OVER (PARTITION BY life ORDER BY k, member) AS nth
  FROM first_{name} WHERE k < {upto}
  ) AS numbered WHERE nth <= {self.chosen.parts.caps[name]} GROUP BY life
  ) AS found_{name} USING (life)"""
        if self.chosen.since is None:
            return joined
        return (
            f"{joined}\n  LEFT JOIN (SELECT life, {name} FROM {self.chosen.carried_lives()}) AS had_{name} USING (life)"
        )


def _first_of_hop(added: str, hop_us: int) -> str:
    """1 for the row that is the first of its life and hop to add something, else 0."""
    order = f"PARTITION BY life, e - e % {hop_us}, {added} <> 0 ORDER BY k, e"
    return f"CASE WHEN {added} <> 0 AND row_number() OVER ({order}) = 1 THEN 1 ELSE 0 END"


def _said(said: Said, name: str) -> list[str]:
    """When an event of the row said something, and what: of events of one instant the greatest id, or the least."""
    chooses = "min_by" if said.is_first else "max_by"
    value = said.value if said.is_text else f"CAST({said.value} AS BIGINT)"
    return [
        f"max(CASE WHEN {said.match} THEN e END) AS said_{name}",
        f"{chooses}(CASE WHEN {said.match} THEN {value} END, CASE WHEN {said.match} THEN message_id END) AS {name}",
    ]


def _extreme(is_first: bool) -> str:
    return "min" if is_first else "max"


def _latest(source: int, column: str, name: str) -> str:
    return f"last_value(CASE WHEN source = {source} THEN {column} END IGNORE NULLS) OVER now AS {name}"


def _raw(dtype: str, sql: str) -> str:
    return f"coalesce({sql}, CAST([] AS VARCHAR[]))" if dtype == "texts" else sql

"""Which questions a model is asked, and what came true: rows without features.

Two kinds of instants, both like real requests: *activity*, just after an order (its admission + 1 µs, so that the order
is in the features and never in the label), and *cut-offs*, the local midnights at which a week's users are all asked.
Candidates are frozen at each cut-off, so a row knows nothing of its own future. A question about an exposure is asked
just after it, as after activity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa

from behavior.errors import BadInput
from behavior.event import DAY_US, PERSONALIZATION, SECOND_US
from deployment.zone import zone
from training.targets import Target

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Only questions about an exposure ask which item an event is about; a million item ids cost memory.
_ITEM = {"user": "NULL AS item", "user_category": "NULL AS item", "exposure": "item"}


@dataclass(frozen=True, slots=True)
class Instants:
    """n moments at which a user is asked about.

    user      int32[n], place in `users`
    t         int64[n], µs UTC
    cutoff    int64[n], the latest cut-off at or before t
    users     pseudonyms
    """

    user: np.ndarray
    t: np.ndarray
    cutoff: np.ndarray
    users: list[str]

    def __len__(self) -> int:
        return len(self.t)

    def take(self, places: np.ndarray) -> "Instants":
        """Some of the instants, in the given order."""
        return Instants(self.user[places], self.t[places], self.cutoff[places], self.users)


@dataclass(frozen=True, slots=True)
class Rows:
    """m questions with their answers.

    instant    int32[m], place in `instants`
    category   int32[m], place in `categories`; of a target of users there is one category, the empty text
    label      uint8[m]
    weight     float32[m], how many rows of the unsampled set each one stands for
    """

    instants: Instants
    instant: np.ndarray
    category: np.ndarray
    categories: list[str]
    label: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def t(self) -> np.ndarray:
        """int64[m], µs UTC."""
        return np.take(self.instants.t, self.instant)

    def take(self, places: np.ndarray) -> "Rows":
        """Some of the rows, in the given order."""
        return Rows(
            self.instants, self.instant[places], self.category[places], self.categories, self.label[places],
            self.weight[places],
        )  # fmt: skip


def local_midnights(first: str, last: str, zone_name: str, days: int = 7) -> list[int]:
    """Cut-offs every so many days from `first` to `last` (local dates, inclusive), at 00:00 local time, in µs UTC.

    >>> local_midnights("2017-11-05", "2017-11-12", "America/New_York")
    [1509854400000000, 1510462800000000]
    """
    where = zone(zone_name)
    try:
        day, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    except ValueError as error:
        raise BadInput(f"a date is written like 2017-10-15: {error}") from None
    if day > end:
        raise BadInput(f"the last day, {last}, lies before the first, {first}; swap them")
    instants = []
    while day <= end:
        instants.append(int((day.replace(tzinfo=where).astimezone(UTC) - _EPOCH).total_seconds()) * SECOND_US)
        day += timedelta(days=days)
    return instants


def sundays(first: int, last: int, zone_name: str) -> list[int]:
    """Every Sunday's local midnight from instant `first` to instant `last`, inclusive, in µs UTC."""
    where = zone(zone_name)
    day = (_EPOCH + timedelta(microseconds=first)).astimezone(where)
    day += timedelta(days=6 - day.weekday())
    end = (_EPOCH + timedelta(microseconds=last)).astimezone(where)
    if day.date() > end.date():
        return []
    found = local_midnights(day.date().isoformat(), end.date().isoformat(), zone_name)
    return [t for t in found if first <= t <= last]


def latest(con: duckdb.DuckDBPyConnection) -> int:
    """The greatest event time (µs) of the archive; raises BadInput if it is empty."""
    (found,) = con.execute("SELECT max(e) FROM events").fetchone() or (None,)
    if found is None:
        raise BadInput("the archive is empty; import events first")
    return int(found)


def refuse_open_labels(con: duckdb.DuckDBPyConnection, target: Target, cutoffs: Sequence[int]) -> None:
    """Raise BadInput if the archive ends before the horizon of the last cut-off: what is to come would count as no."""
    missing = max(cutoffs) + target.horizon_us - (latest(con) + 1)
    if missing > 0:
        raise BadInput(
            f"the archive ends {missing / DAY_US:.1f} days before the {target.horizon_us // DAY_US} days after the "
            "last cut-off are over; take an earlier one or import more"
        )


def open_events(con: duckdb.DuckDBPyConnection, target: Target) -> None:
    """Make the events that the target is about readable as `asked_events`; `con` has the archive as the view `events`.

    Only events that may be used for personalisation, as everywhere else; those that show something as `exposures`.
    """
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE asked_events AS SELECT user_id, category, order_id, {_ITEM[target.entity]}, e, k
        FROM events WHERE kind = '{target.event}' AND purposes & {PERSONALIZATION} <> 0
        """
    )
    if target.exposure is not None:
        con.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE exposures AS SELECT user_id, coalesce(category, '') AS category, item, e, k
            FROM events WHERE kind = '{target.exposure}' AND item IS NOT NULL AND purposes & {PERSONALIZATION} <> 0
            """
        )


def refuse_absent_kinds(con: duckdb.DuckDBPyConnection, target: Target) -> None:
    """Raise BadInput that names a kind of event which the target needs and the archive has none of."""
    for kind, table in zip(target.kinds, ("asked_events", "exposures"), strict=False):
        if con.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is None:
            raise BadInput(
                f"the archive has no {kind} event that may be used for personalisation, and {target.name} cannot be "
                "learned without; import some first"
            )


def cutoff_instants(con: duckdb.DuckDBPyConnection, target: Target, cutoffs: Sequence[int]) -> Instants:
    """Every active user at every cut-off, ordered by (cut-off, user)."""
    found = con.execute(
        """
        SELECT c.t AS t, e.user_id AS user_id
        FROM (SELECT unnest($cutoffs::BIGINT[]) AS t) AS c
        JOIN asked_events AS e ON e.k < c.t AND e.e >= c.t - $active
        GROUP BY ALL ORDER BY t, user_id
        """,
        {"cutoffs": list(cutoffs), "active": target.active_us},
    ).fetchnumpy()
    return _instants(found["user_id"], found["t"].astype(np.int64), cutoffs)


def activity_instants(con: duckdb.DuckDBPyConnection, target: Target, cutoffs: Sequence[int], until: int) -> Instants:
    """Just after every order, from the first cut-off until `until`, ordered by (instant, user)."""
    found = con.execute(
        """
        SELECT DISTINCT k + 1 AS t, user_id FROM asked_events
        WHERE k + 1 >= $first AND k + 1 <= $until ORDER BY t, user_id
        """,
        {"first": min(cutoffs), "until": until},
    ).fetchnumpy()
    return _instants(found["user_id"], found["t"].astype(np.int64), cutoffs)


def ask_exposures(con: duckdb.DuckDBPyConnection, target: Target, first: int, until: int) -> Rows:
    """One row per exposure from `first` until `until`, both inclusive, asked just after it; ordered by (t, user)."""
    found = con.execute(
        """
        SELECT x.k + 1 AS t, x.user_id AS user_id, x.category AS category, bool_or(e.e IS NOT NULL) AS label
        FROM exposures AS x
        LEFT JOIN asked_events AS e
            ON e.user_id = x.user_id AND e.item = x.item AND e.e > x.k AND e.e < x.k + 1 + $horizon
        WHERE x.k + 1 BETWEEN $first AND $until GROUP BY x.k, x.user_id, x.category, x.item ORDER BY t, user_id, x.item
        """,
        {"horizon": target.horizon_us, "first": first, "until": until},
    ).fetchnumpy()
    t = found["t"].astype(np.int64)
    instants = _instants(found["user_id"], t, t.tolist())
    categories, category = np.unique(np.asarray(found["category"], dtype=object).astype(str), return_inverse=True)
    n = len(instants)
    return Rows(
        instants, np.arange(n, dtype=np.int32), category.astype(np.int32), [str(each) for each in categories],
        found["label"].astype(np.uint8), np.ones(n, dtype=np.float32),
    )  # fmt: skip


def ask(con: duckdb.DuckDBPyConnection, target: Target, instants: Instants) -> Rows:
    """The questions of each instant with their labels: of a user_category all candidates, by (instant, rank)."""
    if target.entity == "user":
        return _ask_users(con, target, instants)
    cutoffs, of_instant = np.unique(instants.cutoff, return_inverse=True)
    candidates = popular_categories(con, target, [int(t) for t in cutoffs])
    categories = sorted({category for each in candidates for category in each})
    code = {category: place for place, category in enumerate(categories)}
    codes = [np.array([code[category] for category in each], dtype=np.int32) for each in candidates]
    category = np.concatenate([codes[place] for place in of_instant]) if len(instants) else np.empty(0, np.int32)
    sizes = np.array([len(each) for each in codes], dtype=np.int64)[of_instant]
    instant = np.repeat(np.arange(len(instants), dtype=np.int32), sizes)
    came_true = outcomes(con, target, instants, code)
    label = np.isin(instant.astype(np.int64) * len(categories) + category, came_true).astype(np.uint8)
    return Rows(instants, instant, category, categories, label, np.ones(len(label), dtype=np.float32))


def popular_categories(con: duckdb.DuckDBPyConnection, target: Target, cutoffs: Sequence[int]) -> list[list[str]]:
    """For each cut-off, the categories with most users of the event before it, the most popular first."""
    found = con.execute(
        """
        SELECT t, category FROM (
            SELECT c.t AS t, e.category AS category, count(DISTINCT e.user_id) AS users
            FROM (SELECT unnest($cutoffs::BIGINT[]) AS t) AS c
            JOIN asked_events AS e ON e.k < c.t AND e.e >= c.t - $popular AND e.category IS NOT NULL
            GROUP BY ALL
        ) QUALIFY row_number() OVER (PARTITION BY t ORDER BY users DESC, category) <= $candidates
        ORDER BY t, users DESC, category
        """,
        {
            "cutoffs": list(cutoffs), "popular": target.popular_us, "candidates": target.candidates,
        },
    ).fetchall()  # fmt: skip
    ranked: dict[int, list[str]] = {t: [] for t in cutoffs}
    for t, category in found:
        ranked[t].append(category)
    return [ranked[t] for t in cutoffs]


def outcomes(
    con: duckdb.DuckDBPyConnection, target: Target, instants: Instants, code: dict[str, int] | None
) -> np.ndarray:
    """int64[p]: instant * number of categories + category of every pair that came true, each once.

    Without categories (`code` None) the instants at which an event of any category came.
    """
    categories = code or {"": 0}
    con.register("asked_users", pa.table({"user": np.arange(len(instants.users)), "user_id": instants.users}))
    con.register("asked", pa.table({"instant": np.arange(len(instants)), "user": instants.user, "t": instants.t}))
    con.register("asked_categories", pa.table({"category": list(categories), "code": np.arange(len(categories))}))
    found = con.execute(
        f"""
        SELECT DISTINCT a.instant * $categories + c.code AS pair
        FROM asked AS a JOIN asked_users AS u ON u.user = a.user
        JOIN asked_events AS e ON e.user_id = u.user_id AND e.e >= a.t AND e.e < a.t + $horizon
        JOIN asked_categories AS c ON {"TRUE" if code is None else "c.category = e.category"}
        """,
        {"categories": len(categories), "horizon": target.horizon_us},
    ).fetchnumpy()["pair"]
    for name in ("asked_users", "asked", "asked_categories"):
        con.unregister(name)
    return found.astype(np.int64)


def _ask_users(con: duckdb.DuckDBPyConnection, target: Target, instants: Instants) -> Rows:
    """One row per instant."""
    n = len(instants)
    came = np.zeros(n, dtype=bool)
    came[outcomes(con, target, instants, None)] = True
    label = (came != target.negated).astype(np.uint8)
    return Rows(
        instants, np.arange(n, dtype=np.int32), np.zeros(n, dtype=np.int32), [""], label, np.ones(n, dtype=np.float32)
    )


def _instants(user_ids: np.ndarray, t: np.ndarray, cutoffs: Sequence[int]) -> Instants:
    users, places = np.unique(np.asarray(user_ids, dtype=object).astype(str), return_inverse=True)
    ordered = np.sort(np.asarray(cutoffs, dtype=np.int64))
    latest = ordered[np.maximum(np.searchsorted(ordered, t, side="right") - 1, 0)]
    return Instants(places.astype(np.int32), t, latest, [str(user) for user in users])

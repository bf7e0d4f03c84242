"""What a model must beat: popularity, and the user's own frequency and recency, as scores of the same rows.

Both read the table `asked_events` (`training.rows.open_events`) in SQL, and know only what was admitted before a row's
instant (k < t).
"""

import duckdb
import numpy as np
import pyarrow as pa

from behavior.event import DAY_US, SECOND_US
from training.rows import Rows
from training.targets import Target

# What nobody has had yet scores below whatever somebody has.
_NEVER = float(2**62)
FREQUENT_US = 90 * DAY_US
# Seconds, more than any age: one more basket outweighs recency. Exact up to 2^21 baskets.
_BASKET = 1 << 32


def baselines(con: duckdb.DuckDBPyConnection, rows: Rows, target: Target) -> dict[str, np.ndarray]:
    """The scores, float64[m] each, that a model of the target is measured beside."""
    if target.entity == "user_category":
        return {"frequency": frequency(con, rows), "popularity": popularity(con, rows, target)}
    return {"recency": recency(con, rows, target)}


def recency(con: duckdb.DuckDBPyConnection, rows: Rows, target: Target) -> np.ndarray:
    """Minus the seconds since the user's latest event of the target's kind before t, float64[m]; turned round where the
    target asks whether none will come.
    """
    asked = rows.instants
    con.register("asked_users", pa.table({"user": np.arange(len(asked.users)), "user_id": asked.users}))
    con.register("asked", pa.table({"instant": np.arange(len(asked)), "user": asked.user, "t": asked.t}))
    found = con.execute(
        """
        SELECT a.instant AS instant, any_value(a.t) - max(e.e) AS age_us
        FROM asked AS a JOIN asked_users AS u ON u.user = a.user
        JOIN asked_events AS e ON e.user_id = u.user_id AND e.k < a.t
        GROUP BY a.instant ORDER BY a.instant
        """
    ).fetchnumpy()
    for name in ("asked", "asked_users"):
        con.unregister(name)
    score = np.full(len(asked), -_NEVER)
    score[found["instant"]] = -(found["age_us"] // SECOND_US).astype(np.float64)
    of_row: np.ndarray = (-score if target.negated else score)[rows.instant]
    return of_row


def popularity(con: duckdb.DuckDBPyConnection, rows: Rows, target: Target) -> np.ndarray:
    """How many users had the event in each row's category in the target's popular span before t: float64[m]."""
    instants, of_row = np.unique(rows.t, return_inverse=True)
    con.register("asked_instants", pa.table({"instant": np.arange(len(instants)), "t": instants}))
    con.register("asked_categories", _categories(rows))
    found = con.execute(
        """
        SELECT a.instant * $categories + c.code AS pair, count(DISTINCT e.user_id) AS users
        FROM asked_instants AS a
        JOIN asked_events AS e ON e.k < a.t AND e.e >= a.t - $popular
        JOIN asked_categories AS c ON c.category = e.category
        GROUP BY pair ORDER BY pair
        """,
        {"categories": len(rows.categories), "popular": target.popular_us},
    ).fetchnumpy()
    for name in ("asked_instants", "asked_categories"):
        con.unregister(name)
    wanted = of_row.astype(np.int64) * len(rows.categories) + rows.category
    return _looked_up(wanted, found["pair"], found["users"].astype(np.float64))


def frequency(con: duckdb.DuckDBPyConnection, rows: Rows, span_us: int = FREQUENT_US) -> np.ndarray:
    """The order of each user's own habits, float64[m]: distinct baskets with the category, then recency.

    baskets x 2^32 + 2^32 - 1 - seconds since the last event of the category over all history, and 0 for a category that
    the user never had: whole numbers, so exact. A basket is an order with an event of the category in the `span_us`
    before t; events without an order are one basket per instant.
    """
    asked = rows.instants
    con.register("asked_users", pa.table({"user": np.arange(len(asked.users)), "user_id": asked.users}))
    con.register("asked", pa.table({"instant": np.arange(len(asked)), "user": asked.user, "t": asked.t}))
    con.register("asked_categories", _categories(rows))
    found = con.execute(
        """
        SELECT a.instant * $categories + c.code AS pair, any_value(a.t) - max(e.e) AS age_us,
            count(DISTINCT coalesce(e.order_id, 'at ' || e.e)) FILTER (e.e >= a.t - $span) AS baskets
        FROM asked AS a
        JOIN asked_users AS u ON u.user = a.user
        JOIN asked_events AS e ON e.user_id = u.user_id AND e.k < a.t
        JOIN asked_categories AS c ON c.category = e.category
        GROUP BY pair ORDER BY pair
        """,
        {"categories": len(rows.categories), "span": span_us},
    ).fetchnumpy()
    for name in ("asked", "asked_users", "asked_categories"):
        con.unregister(name)
    age_s = np.minimum(found["age_us"] // SECOND_US, _BASKET - 2)
    score = found["baskets"].astype(np.int64) * _BASKET + _BASKET - 1 - age_s
    wanted = rows.instant.astype(np.int64) * len(rows.categories) + rows.category
    return _looked_up(wanted, found["pair"], score.astype(np.float64))


def _categories(rows: Rows) -> pa.Table:
    return pa.table({"category": rows.categories, "code": np.arange(len(rows.categories))})


def _looked_up(wanted: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value of each wanted key, 0 where there is none; keys ascend."""
    if not len(keys):
        return np.zeros(len(wanted))
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0.0)

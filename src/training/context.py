"""Counting for the context tables of a bundle: what is wanted when, and by whom.

events of the target before `until` → local hour and weekday of each → counts by category
Sundays before `until` → the active users' personas then → what they had in the horizon after → counts by category
"""

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from behavior.context import WEEKDAYS, ContextTables, Counts, tables_of
from behavior.event import DAY_US, HOUR_US, MINUTE_US, PERSONALIZATION, SECOND_US
from behavior.manifest import Span
from behavior.personas import Personas
from behavior.plan import Plan
from deployment.zone import offsets_at
from training.dataset import vectors
from training.rows import Instants, Rows, cutoff_instants, sundays
from training.slices import slicers
from training.targets import Target

if TYPE_CHECKING:
    from feast import FeatureStore

# 52 whole weeks: every weekday and every season is counted equally often, once there is a year.
COUNTED_US = 364 * DAY_US
# Personas of so many Sundays: one asks Feast for every active user, and half a year tells enough.
PERSONA_WEEKS = 26
_HOURS = 24
# 1970-01-01 was a Thursday.
_EPOCH_WEEKDAY = 3


def context_tables(
    con: duckdb.DuckDBPyConnection,
    store: "FeatureStore",
    plan: Plan,
    target: Target,
    *,
    until: int,
    zone: str,
    personas: Personas | None = None,
) -> ContextTables:
    """The context tables of what was known before `until` (µs UTC).

    `con` has the archive as the view `events`, and the target's as `asked_events` (`training.rows.open_events`).

    zone       IANA zone for events without an offset of their own
    personas   those made from anything at or after `until` would tell of the future: they are left out
    """
    since = until - COUNTED_US
    categories, hour, weekday = by_local_time(con, target, since, until, zone)
    if personas is not None and personas.made_from.end_us > until:
        personas = None
    names = () if personas is None else personas.names
    persona = np.zeros((len(categories), len(names)), dtype=np.int64)
    if personas is not None:
        persona = _by_persona(con, store, plan, target, categories, personas, until=until, zone=zone)
    counts = Counts(categories, hour, weekday, names, persona)
    return tables_of(counts, Span(since, until), "" if personas is None else personas.personas_id)


def by_local_time(
    con: duckdb.DuckDBPyConnection, target: Target, since: int, until: int, zone: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The categories in order, and how often each was in events of the target from `since` until `until`, by local
    hour int64[k, 24] and by local weekday int64[k, 7].

    What a user has of one category at one instant counts once, however many lines it has. Local is the offset that the
    event came with, else the zone's at the event's instant, which knows its changes to summer time.
    """
    span = {"since": since, "until": until}
    chosen = f"""
        kind = '{target.event}' AND category IS NOT NULL AND purposes & {PERSONALIZATION} <> 0
        AND k < $until AND e >= $since
    """
    minutes = con.execute(
        f"SELECT DISTINCT e // {MINUTE_US} AS minute FROM events WHERE {chosen} AND utc_offset_s IS NULL", span
    ).fetchnumpy()["minute"].astype(np.int64)  # fmt: skip
    # By the very function that a request's offset comes from, and not by another program's tables of time zones.
    offsets = pa.table({"minute": minutes, "offset_s": offsets_at(zone, minutes * MINUTE_US)})
    con.register("zone_offsets", offsets)
    found = con.execute(
        f"""
        SELECT category, local_us // {HOUR_US} % {_HOURS} AS hour,
            (local_us // {DAY_US} + {_EPOCH_WEEKDAY}) % {WEEKDAYS} AS weekday, count(*) AS events
        FROM (
            SELECT DISTINCT user_id, e, category, e + coalesce(utc_offset_s, offset_s) * {SECOND_US} AS local_us
            FROM events LEFT JOIN zone_offsets ON minute = e // {MINUTE_US} AND utc_offset_s IS NULL
            WHERE {chosen}
        ) GROUP BY ALL
        """,
        span,
    ).fetchnumpy()
    con.unregister("zone_offsets")
    categories, row = np.unique(np.asarray(found["category"], dtype=object).astype(str), return_inverse=True)
    return (
        [str(each) for each in categories],
        _summed(row, found["hour"], found["events"], (len(categories), _HOURS)),
        _summed(row, found["weekday"], found["events"], (len(categories), WEEKDAYS)),
    )


def _by_persona(
    con: duckdb.DuckDBPyConnection,
    store: "FeatureStore",
    plan: Plan,
    target: Target,
    categories: list[str],
    personas: Personas,
    *,
    until: int,
    zone: str,
) -> np.ndarray:
    """How often each category was had in the horizon after a Sunday by users of each persona then, int64[k, p]."""
    last = until - target.horizon_us
    cutoffs = sundays(last - PERSONA_WEEKS * 7 * DAY_US, last, zone)
    instants = cutoff_instants(con, target, cutoffs)
    names = persona_names(store, plan, instants, personas, zone)
    users = np.asarray(instants.users, dtype=object)[instants.user]
    return had_after(con, instants.t, users, names, categories, personas.names, target.horizon_us, until)


def persona_names(store: "FeatureStore", plan: Plan, instants: Instants, personas: Personas, zone: str) -> np.ndarray:
    """The name of each user's persona at each instant, object[n], as a request then would have been told."""
    n = len(instants)
    nothing = np.zeros(n, dtype=np.int32)
    rows = Rows(instants, np.arange(n, dtype=np.int32), nothing, [""], nothing.astype(np.uint8), np.ones(n, np.float32))
    parted = [each for each in slicers(plan, personas) if each.name == "persona"]
    return vectors(store, plan, (), rows, {}, zone, slicers=parted).slices["persona"]


def had_after(
    con: duckdb.DuckDBPyConnection,
    t: np.ndarray,
    users: np.ndarray,
    names: np.ndarray,
    categories: list[str],
    personas: tuple[str, ...],
    horizon_us: int,
    until: int,
) -> np.ndarray:
    """How often users had each category in so long from an instant on, by the persona that they had at it: int64[k, p].

    A category that a user had more than once after one instant counts once. Users without a persona are left out, and
    what was not admitted before `until`.

    t, users, names   [n], an instant, who is asked about then, and the persona's name
    """
    con.register("asked", pa.table({"t": t, "user_id": users.tolist(), "persona": names.tolist()}))
    con.register("asked_personas", pa.table({"persona": list(personas), "place": np.arange(len(personas))}))
    con.register("asked_categories", pa.table({"category": categories, "code": np.arange(len(categories))}))
    found = con.execute(
        """
        SELECT code, place, count(*) AS events FROM (
            SELECT DISTINCT a.t, a.user_id, c.code AS code, p.place AS place
            FROM asked AS a JOIN asked_personas AS p USING (persona)
            JOIN asked_events AS e ON e.user_id = a.user_id AND e.e >= a.t AND e.e < a.t + $horizon
                AND e.k < $until
            JOIN asked_categories AS c ON c.category = e.category
        ) GROUP BY ALL
        """,
        {"horizon": horizon_us, "until": until},
    ).fetchnumpy()
    for name in ("asked", "asked_personas", "asked_categories"):
        con.unregister(name)
    return _summed(found["code"], found["place"], found["events"], (len(categories), len(personas)))


def _summed(row: np.ndarray, column: np.ndarray, events: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, (row.astype(np.int64), column.astype(np.int64)), events.astype(np.int64))
    return counts

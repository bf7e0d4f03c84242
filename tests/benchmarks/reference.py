"""Our propensities beside a plain LightGBM on hand-made window counts: same dates and rows, paired resamples of users.

    reference    lines and orders of 7, 30 and 90 days per user and category, user, and category; days since the last
                 and the first purchase. Plain SQL over the archive's events: no Feast, no plan, no state of ours
    ours         the shipped catalogue and recipe, as `opportune train` makes it

Both learn from what lies before the same day, and are asked the same questions at the same Sundays.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import lightgbm
import numpy as np
import pyarrow as pa
from rich.console import Group

from behavior.calibration import propensities
from behavior.event import DAY_US
from deployment.plan_file import load_plan
from deployment.settings import Settings
from opportune.progress import progress
from opportune.warehouse import archive_of, events_of, local_midnight
from tests.benchmarks.year import prepared
from training.backfill import backfill
from training.bundle import read_bundle
from training.evaluation import Evaluation, evaluate
from training.evaluation import render as table_of
from training.measuring import answered, unseen_rows
from training.propensity import Propensity
from training.rows import Rows, local_midnights
from training.sampling import Recipe, split, training_rows
from training.store import open_store
from training.targets import Target, target_named
from training.train import Learning, train

SUMMARY = "our propensities beside a plain LightGBM on hand-made window counts"
UNTIL, FIRST, LAST = "2017-09-25", "2017-10-15", "2017-12-10"
TARGETS = ("purchase_7d", "purchase_14d")
WINDOWS = (7, 30, 90)
# What one would take without looking twice; stopped early and fitted again like ours, on the same rows.
PLAIN = {
    "objective": "binary", "learning_rate": 0.05, "num_leaves": 31, "min_data_in_leaf": 200, "verbosity": -1,
    "deterministic": True, "force_row_wise": True, "seed": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class OneTarget:
    """Both on all eligible rows of the cut-offs; the difference is ours − the reference."""

    target: str
    rows: int
    training_seconds: float
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class ReferenceBench:
    """What was measured; see the module."""

    trained_until: str
    first_cutoff: str
    last_cutoff: str
    targets: tuple[OneTarget, ...]


def measure(home: Path, rounds: int) -> ReferenceBench:
    """Backfill the year, train both for each target, and measure them; `rounds` hundred resamplings of users."""
    settings = prepared(home)
    with TemporaryDirectory(prefix="opportune-bench-", dir=home) as directory, progress() as tell:
        settings = settings.replaced(tables=Path(directory) / "tables", bundles=str(Path(directory) / "bundles"))
        backfill(
            load_plan(settings.plan), archive_of(settings), settings.tables, memory_limit=settings.memory_limit,
            threads=settings.thread_count, progress=tell,
        )  # fmt: skip
        with events_of(settings) as events:
            found = tuple(_one(settings, events, target_named(name), 100 * rounds, tell) for name in TARGETS)
    return ReferenceBench(UNTIL, FIRST, LAST, found)


def render(found: ReferenceBench) -> Group:
    """The figures as tables for people."""
    return Group(*(table_of(each.evaluation) for each in found.targets))


def _one(settings: Settings, con: duckdb.DuckDBPyConnection, target: Target, replicates: int, tell: Any) -> OneTarget:
    store, plan = open_store(settings), load_plan(settings.plan)
    until = local_midnight(UNTIL, settings)
    learning = Learning(con, store, plan, settings.zone, settings.thread_count)
    trained = train(learning, target, settings.bundles, until=until, created=datetime.now(UTC), progress=tell)
    manifest, files = read_bundle(settings.bundles, trained.bundle_id)
    rows = unseen_rows(con, target, manifest, local_midnights(FIRST, LAST, settings.zone))
    ours = answered(Propensity.of_bundle(manifest, files, settings.thread_count), store, plan, rows)
    tell("fitting the reference", 0, 1)
    theirs = reference(con, target, rows, until=until, zone=settings.zone, threads=settings.thread_count)
    scores = {target.name: ours.measured.propensity, "reference": theirs}
    user = rows.instants.user[rows.instant]
    both = evaluate(user, rows.instant, rows.label, scores, propensities=list(scores), replicates=replicates)
    return OneTarget(target.name, len(rows), sum(step.seconds for step in trained.steps), both)


def reference(
    con: duckdb.DuckDBPyConnection, target: Target, asked: Rows, *, until: int, zone: str, threads: int
) -> np.ndarray:
    """Propensities float64[m] of the plain model for the questions, fitted on what lies before `until`.

    Ours is fitted again with the newest weeks once it is known when to stop: so is this, or the difference would hold
    what these weeks are worth.
    """
    rows = training_rows(con, target, until=until, zone=zone, recipe=Recipe())
    parts = split(rows, until=until, target=target, recipe=Recipe())
    x = counts(con, target, rows)
    late = np.concatenate([parts.stop, parts.calibrate])
    fitted, stops, everything = (
        lightgbm.Dataset(x[each], rows.label[each], weight=rows.weight[each])
        for each in (parts.fit, late, np.concatenate([parts.fit, late]))
    )
    parameters = {**PLAIN, "num_threads": threads}
    early = lightgbm.train(
        parameters, fitted, 2000, valid_sets=[stops], callbacks=[lightgbm.early_stopping(50, verbose=False)]
    )
    booster = lightgbm.train(parameters, everything, early.best_iteration)
    raw = booster.predict(counts(con, target, asked), raw_score=True)
    return propensities(np.asarray(raw))


def counts(con: duckdb.DuckDBPyConnection, target: Target, rows: Rows) -> np.ndarray:
    """The hand-made counts of each question, float32[m, d]; what never was is NaN."""
    of_user = _of_instants(con, rows, by_category=False)[rows.instant]
    if target.entity == "user":
        return of_user
    pairs = rows.instant.astype(np.int64) * len(rows.categories) + rows.category
    return np.concatenate([_of_instants(con, rows, by_category=True)[pairs], of_user, _of_categories(con, rows)], 1)


def _of_instants(con: duckdb.DuckDBPyConnection, rows: Rows, *, by_category: bool) -> np.ndarray:
    """Lines, orders and days since, per instant (and category): float32[instants (× categories), 8]."""
    asked = rows.instants
    con.register("q", pa.table({"i": np.arange(len(asked)), "u": asked.user, "t": asked.t}))
    con.register("people", pa.table({"u": np.arange(len(asked.users)), "user_id": asked.users}))
    con.register("groups", pa.table({"category": rows.categories, "c": np.arange(len(rows.categories))}))
    place, joined = ("i * $groups + c", "JOIN groups USING (category)") if by_category else ("i", "")
    windows = ", ".join(
        f"count(*) FILTER (e >= t - {days * DAY_US}), count(DISTINCT order_id) FILTER (e >= t - {days * DAY_US})"
        for days in WINDOWS
    )
    found = con.execute(
        f"""
        SELECT {place} AS place, {windows}, (any_value(t) - max(e)) / {DAY_US}, (any_value(t) - min(e)) / {DAY_US}
        FROM q JOIN people USING (u) JOIN asked_events AS a USING (user_id) {joined}
        WHERE a.k < t GROUP BY place
        """,
        {"groups": len(rows.categories)} if by_category else {},
    ).fetchnumpy()
    for name in ("q", "people", "groups"):
        con.unregister(name)
    first, *columns = found.values()
    made = np.zeros((len(asked) * (len(rows.categories) if by_category else 1), len(columns)), dtype=np.float32)
    made[:, -2:] = np.nan
    made[first] = np.stack(columns, axis=1)
    return made


def _of_categories(con: duckdb.DuckDBPyConnection, rows: Rows) -> np.ndarray:
    """Lines and orders of each question's category until the midnight (UTC) before it, float32[m, 6]."""
    days, of_row = np.unique(rows.t // DAY_US, return_inverse=True)
    con.register("days", pa.table({"d": np.arange(len(days)), "t": days * DAY_US}))
    con.register("groups", pa.table({"category": rows.categories, "c": np.arange(len(rows.categories))}))
    found = con.execute(
        f"""
        WITH by_day AS (
            SELECT c, k // {DAY_US} AS day, count(*) AS lines, count(DISTINCT order_id) AS orders
            FROM asked_events JOIN groups USING (category) GROUP BY ALL
        )
        SELECT d * $groups + c AS place, {
            ", ".join(
                f"coalesce(sum({what}) FILTER (day * {DAY_US} >= t - {days * DAY_US}), 0)"
                for days in WINDOWS
                for what in ("lines", "orders")
            )
        }
        FROM days JOIN by_day ON day * {DAY_US} < t AND day * {DAY_US} >= t - {max(WINDOWS) * DAY_US} GROUP BY place
        """,
        {"groups": len(rows.categories)},
    ).fetchnumpy()
    for name in ("days", "groups"):
        con.unregister(name)
    first, *columns = found.values()
    made = np.zeros((len(days) * len(rows.categories), len(columns)), dtype=np.float32)
    made[first] = np.stack(columns, axis=1)
    return made[of_row.astype(np.int64) * len(rows.categories) + rows.category]

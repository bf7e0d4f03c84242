"""How fast the past is computed: change-point tables of a real year, one day more, and training rows from them.

    year         1.47 million purchases of Complete Journey into the tables of 70 features in 5 views, from nothing
    day          one more day into these tables
    rows         600,000 point-in-time rows with all features, through Feast
    four years   every household four times, each copy's instants moved: how the year grows with the events; once only

Each is a process of its own, so that its peak of memory is its own. All work under the same memory limit. Seconds of
processors are told too: they mind less what else the machine does.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from rich.table import Table

from behavior.event import DAY_US
from behavior.plan import Plan
from deployment.archive import Archive
from deployment.plan_file import load_plan
from deployment.pseudonym import Pseudonyms, make_key
from deployment.settings import Settings, load
from opportune.demonstration import ZONE, _data_directory

SUMMARY = "change-point tables of a year, of one day more, of four times the events, and training rows from them"
MEMORY_LIMIT = "2500MB"
ROWS = 600_000
CATEGORIES_PER_INSTANT = 4
COPIES = 4
# The tables are complete up to here before days are added: a Wednesday in the last quarter of the year.
FIRST_DAY = "2017-11-08"
_ROOT = Path(__file__).parents[2]

VIEWS = """
from entities import all_users, category, item, user

from feast_plugin.definitions import affinity, age, behavior_view, count, distinct, ever, first, last, mean, rate
from feast_plugin.definitions import recent, total

WINDOWS = ("1h", "24h", "7d", "30d", "90d")
KINDS = ("purchase", "add_to_cart", "item_view")
PURCHASES = [count("purchase", over=window) for window in WINDOWS]
PER_VIEW = rate("purchase", per="item_view", over="30d", prior=(1, 50))

user_activity = behavior_view(
    "user_activity", entity=user, owner="bench", selects=KINDS,
    features=[
        *PURCHASES, count("purchase"), count("item_view", over="24h"), ever("purchase"),
        *(total("purchase.value", over=window) for window in WINDOWS[1:]), total("purchase.value"),
        mean("purchase.value", over="30d"), mean("purchase.value"), PER_VIEW,
        age("purchase"), age("purchase", since="first"), first("purchase.category"),
        last("purchase.category"), last("purchase.item"), last("*.utc_offset_s"),
        distinct("purchase.category", over="7d"), distinct("purchase.item", over="7d"), distinct("purchase.category"),
        recent(10),
    ],
)
user_category = behavior_view(
    "user_category", entity=(user, category), owner="bench", selects=KINDS,
    features=[
        *PURCHASES, count("purchase"), total("purchase.value", over="30d"), total("purchase.value", over="90d"),
        total("purchase.value"), mean("purchase.value", over="90d"), ever("purchase"), age("purchase"),
        age("purchase", since="first"), last("purchase.item"), distinct("purchase.item", over="7d"),
        affinity({"purchase": 10, "item_view": 1, "purchase where value >= 500": 5}, over="30d"),
        affinity({"purchase": 10, "item_view": 1}, over="7d"),
    ],
)
popularity = dict(owner="bench", selects=KINDS, personal_data="aggregate")
buyers = distinct("purchase.user", over="7d")
spent = mean("purchase.value", over="30d")
item_activity = behavior_view(
    "item_activity", entity=item, **popularity,
    features=[*PURCHASES, count("purchase"), buyers, spent, age("purchase"), PER_VIEW],
)
category_activity = behavior_view(
    "category_activity", entity=category, **popularity,
    features=[*PURCHASES, total("purchase.value", over="30d"), buyers, spent, age("purchase"), PER_VIEW],
)
all_activity = behavior_view(
    "all_activity", entity=all_users, **popularity,
    features=[*PURCHASES, total("purchase.value", over="30d"), buyers],
)
"""


@dataclass(frozen=True, slots=True)
class BackfillBench:
    """Medians over the rounds; see the module."""

    rounds: int
    memory_limit: str
    events: int
    features: int
    year_seconds: float
    year_processor_seconds: float
    year_peak_memory_gb: float
    year_table_rows: dict[str, int]
    year_table_megabytes: dict[str, float]
    day_seconds: float
    day_processor_seconds: float
    day_peak_memory_gb: float
    point_in_time_rows: int
    point_in_time_rows_seconds: float
    point_in_time_rows_processor_seconds: float
    point_in_time_rows_peak_memory_gb: float
    four_times_the_events_seconds: float
    four_times_the_events_processor_seconds: float
    four_times_the_events_peak_memory_gb: float
    four_times_the_events_per_year_seconds: float
    four_times_the_events_per_year_processor_seconds: float


def measure(home: Path, rounds: int) -> BackfillBench:
    """Measure everything in a home of its own; the year is imported into it first if it is not there."""
    settings = _prepared(home)
    plan = load_plan(settings.plan)
    days = [_instant(FIRST_DAY) + day * DAY_US for day in range(rounds + 1)]
    shutil.rmtree(home / "day-after-day", ignore_errors=True)
    _job("backfill", settings, "archive", "day-after-day", str(days[0]))
    found: dict[str, list[dict[str, Any]]] = {"year": [], "day": [], "rows": []}
    for number in range(rounds):
        found["year"].append(_job("backfill", settings, "archive", "tables", ""))
        found["day"].append(_job("backfill", settings, "archive", "day-after-day", str(days[number + 1])))
        found["rows"].append(_job("rows", settings))
    found["four"] = [_job("backfill", settings, "archive-of-four", "tables-of-four", "")]

    def median(job: str, figure: str) -> float:
        return round(statistics.median(each[figure] for each in found[job]), 2)

    def ratio(figure: str) -> float:
        return round(median("four", figure) / median("year", figure), 2)

    year = found["year"][0]
    return BackfillBench(
        rounds=rounds,
        memory_limit=MEMORY_LIMIT,
        events=year["events"],
        features=len(plan.features),
        year_seconds=median("year", "seconds"),
        year_processor_seconds=median("year", "processor_seconds"),
        year_peak_memory_gb=median("year", "peak_gb"),
        year_table_rows=year["rows"],
        year_table_megabytes=year["megabytes"],
        day_seconds=median("day", "seconds"),
        day_processor_seconds=median("day", "processor_seconds"),
        day_peak_memory_gb=median("day", "peak_gb"),
        point_in_time_rows=found["rows"][0]["rows"],
        point_in_time_rows_seconds=median("rows", "seconds"),
        point_in_time_rows_processor_seconds=median("rows", "processor_seconds"),
        point_in_time_rows_peak_memory_gb=median("rows", "peak_gb"),
        four_times_the_events_seconds=median("four", "seconds"),
        four_times_the_events_processor_seconds=median("four", "processor_seconds"),
        four_times_the_events_peak_memory_gb=median("four", "peak_gb"),
        four_times_the_events_per_year_seconds=ratio("seconds"),
        four_times_the_events_per_year_processor_seconds=ratio("processor_seconds"),
    )


def render(found: BackfillBench) -> Table:
    """The figures for the terminal."""
    title = f"{found.events:,} events, {found.features} features, memory limit {found.memory_limit}"
    table = Table("what", "seconds", "of processors", "peak memory", title=title)
    for what, job in (
        ("tables of a year", "year"),
        ("one day more", "day"),
        (f"{found.point_in_time_rows:,} training rows", "point_in_time_rows"),
        ("tables of four times the events", "four_times_the_events"),
    ):
        figures = [getattr(found, f"{job}_{figure}") for figure in ("seconds", "processor_seconds", "peak_memory_gb")]
        table.add_row(what, f"{figures[0]:.1f}", f"{figures[1]:.1f}", f"{figures[2]:.1f} GB")
    table.caption = f"four times the events take {found.four_times_the_events_per_year_seconds} times the year"
    return table


def _prepared(home: Path) -> Settings:
    """The home's settings; repository, archive, plan and the archive of four times the events are there."""
    repo = home / "feature_repo"
    repo.mkdir(parents=True, exist_ok=True)
    for name in ("entities.py", "feature_store.yaml"):
        shutil.copy(_ROOT / "feature_repo" / name, repo / name)
    (repo / "views.py").write_text(VIEWS, encoding="utf-8")
    settings = _settings(home)
    if not settings.key_file.exists():
        make_key(settings.key_file)
    if not (settings.archive / "import").exists():
        _import_year(settings)
    _job("apply", settings)
    if not (home / "archive-of-four" / "import" / "year").exists():
        _write_copies(settings, home / "archive-of-four")
    return settings


def _settings(home: Path) -> Settings:
    return load(home=home, feature_repo=home / "feature_repo", zone=ZONE, memory_limit=MEMORY_LIMIT)


def _import_year(settings: Settings) -> None:
    from training.importing import import_files
    from training.mapping import EventMapping, load_mapping

    import_files(
        [_data_directory() / "transactions.parquet"], load_mapping("complete_journey", EventMapping),
        archive=Archive(settings.archive, settings.partitions), pseudonyms=Pseudonyms.load(settings.key_file),
        rejects=settings.home / "rejects.parquet", base_currency=settings.currency, memory_limit=MEMORY_LIMIT,
        threads=settings.thread_count,
    )  # fmt: skip


def _write_copies(settings: Settings, target: Path) -> None:
    """The year of four times as many households: each copy goes shopping up to three days sooner or later."""
    folder = target / "import" / ".year"
    folder.mkdir(parents=True, exist_ok=True)
    (target / "archive.json").write_text(json.dumps({"format": 1, "partitions": settings.partitions}))
    with duckdb.connect() as connection:
        Archive(settings.archive, settings.partitions).create_view(connection)
        for copy in range(COPIES):
            moved = f"(hash(user_id || k || {copy}) % {6 * DAY_US})::BIGINT - {3 * DAY_US}" if copy else "0"
            connection.execute(
                f"COPY (SELECT * EXCLUDE (moved) REPLACE (message_id || '-{copy}' AS message_id, "
                f"user_id || '-{copy}' AS user_id, e + moved AS e, k + moved AS k) "
                f"FROM (SELECT *, {moved} AS moved FROM events)) "
                f"TO '{folder}/p={copy:03d}.parquet' (FORMAT parquet, COMPRESSION zstd)"
            )
    folder.rename(folder.with_name("year"))


def _instant(day: str) -> int:
    row = duckdb.sql(f"SELECT epoch_us(TIMESTAMP '{day}')").fetchone()
    assert row is not None
    return int(row[0])


# ------------------------------------------------------------------------------------ what runs in processes of its own


def _job(job: str, settings: Settings, *arguments: str) -> dict[str, Any]:
    """What the job says, with the peak of memory of its process."""
    command = [sys.executable, "-m", "tests.benchmarks.backfill", job, str(settings.home), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT / "src"), str(_ROOT)])}
    ran = subprocess.run(command, env=environment, cwd=_ROOT, stdout=subprocess.PIPE, check=True, text=True)
    said: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return said


def _apply(home: Path) -> dict[str, Any]:
    from training.apply import apply

    return {"features": len(apply(_settings(home)).features)}


def _backfill(home: Path, archive: str, tables: str, until: str) -> dict[str, Any]:
    """Backfill; from nothing unless it is day after day."""
    from training.backfill import backfill

    settings = _settings(home)
    target = home / tables
    if tables != "day-after-day":
        shutil.rmtree(target, ignore_errors=True)
    began, used = time.perf_counter(), time.process_time()
    report = backfill(
        load_plan(settings.plan), Archive(home / archive, settings.partitions), target, memory_limit=MEMORY_LIMIT,
        threads=settings.thread_count, until=int(until) if until else None,
    )  # fmt: skip
    return {
        "seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - used,
        "events": report.events,
        "rows": {table.view: table.rows for table in report.tables},
        "view_seconds": {table.view: round(table.seconds, 2) for table in report.tables},
        "megabytes": {
            table.view: round(sum(file.stat().st_size for file in table.path.iterdir()) / 1e6, 1)
            for table in report.tables
        },
        "done": [table.done for table in report.tables],
    }


def _rows(home: Path) -> dict[str, Any]:
    """Households at the instants of their baskets, each with four categories and an item; all features of all views."""
    from training.store import open_store

    settings = _settings(home)
    plan: Plan = load_plan(settings.plan)
    store = open_store(settings)
    with duckdb.connect() as connection:
        Archive(settings.archive, settings.partitions).create_view(connection)
        frame = connection.execute(
            f"""WITH baskets AS (SELECT user_id, k, min(item) AS item FROM events GROUP BY user_id, k
                QUALIFY row_number() OVER (ORDER BY hash(user_id || k)) <= {ROWS // CATEGORIES_PER_INSTANT}),
            groups AS (SELECT category, row_number() OVER (ORDER BY category) - 1 AS number
                FROM (SELECT DISTINCT category FROM events WHERE category IS NOT NULL)),
            asked AS (SELECT user_id, k, item, hash(user_id || k || nth) AS chance,
                chance % (SELECT count(*) FROM groups) AS number
                FROM baskets CROSS JOIN range({CATEGORIES_PER_INSTANT}) AS r(nth))
            SELECT user_id, category, item, 'all' AS all_id, make_timestamp(k)::TIMESTAMPTZ AS event_timestamp
            FROM asked JOIN groups USING (number) ORDER BY hash(chance)"""
        ).df()
    began, used = time.perf_counter(), time.process_time()
    found = store.get_historical_features(frame, list(plan.features), full_feature_names=True).to_arrow()
    return {
        "seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - used,
        "rows": found.num_rows,
        "columns": found.num_columns,
    }


_JOBS: dict[str, Callable[..., dict[str, Any]]] = {"apply": _apply, "backfill": _backfill, "rows": _rows}


def _peak_gb() -> float:
    """The greatest resident size of this process (VmHWM, in kB), which begins anew with it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1e6, 2)


if __name__ == "__main__":
    made = _JOBS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
    print(json.dumps({**made, "peak_gb": _peak_gb()}))

"""From the archive to change-point tables: one Parquet file per behavior view, replaced whole.

    <tables>/<view>.parquet   join keys, ts (timestamp µs UTC), seen_e (int64 µs), one raw column per feature;
                              sorted by join keys and ts, which are unique

What a value means at an instant is in `change_points`; this module only runs the statements on DuckDB.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from rich.table import Column, Table

from behavior.errors import OpportuneError
from behavior.plan import Plan, View
from deployment.archive import Archive
from deployment.durable import flush
from training.change_points import change_points

# Entities are looked up one by one or all in order, never by a scan for one value: groups may be large.
_ROW_GROUP_SIZE = 122_880


@dataclass(frozen=True, slots=True)
class TableReport:
    """One table that was written."""

    view: str
    path: Path
    rows: int


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """What a backfill read and wrote; `until` is None if it took all there was."""

    events: int
    until: int | None
    tables: tuple[TableReport, ...]


def backfill(
    plan: Plan,
    archive: Archive,
    tables_dir: Path,
    *,
    memory_limit: str = "1500MB",
    threads: int | None = None,
    until: int | None = None,
    progress: Callable[[str, int, int], None] = lambda view, done, of: None,
) -> BackfillReport:
    """Write the change-point table of every view of the plan from the archive's events with k < `until`.

    Each table is replaced at once when it is complete. `progress` is told each step, how much of it is done and how
    much there is. Raises OpportuneError if DuckDB cannot do it within the memory limit.
    """
    tables_dir.mkdir(parents=True, exist_ok=True)
    written: list[TableReport] = []
    with TemporaryDirectory(dir=tables_dir, prefix=".spill-") as spill, duckdb.connect() as connection:
        _configure(connection, memory_limit, threads, spill)
        archive.create_view(connection)
        for view in plan.views:
            progress(f"computing {view.name}", 0, 1)
            written.append(_write(connection, view, tables_dir / f"{view.name}.parquet", until))
            progress(f"computing {view.name}", 1, 1)
        events = _one(connection, "SELECT count(*) FROM events" + ("" if until is None else f" WHERE k < {until}"))
    return BackfillReport(events, until, tuple(written))


def render(report: BackfillReport) -> Table:
    """The tables that were written, for the terminal."""
    table = Table("table", Column("rows", justify="right"), title=f"backfill of {report.events:,} events")
    for each in report.tables:
        table.add_row(str(each.path), f"{each.rows:,}")
    return table


def _configure(connection: duckdb.DuckDBPyConnection, memory_limit: str, threads: int | None, spill: str) -> None:
    connection.execute("SET memory_limit = ?", [memory_limit])
    connection.execute("SET temp_directory = ?", [spill])
    # The tables are sorted explicitly; keeping the order of the input would only cost memory.
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET TimeZone = 'UTC'")
    if threads is not None:
        connection.execute("SET threads = ?", [threads])


def _write(connection: duckdb.DuckDBPyConnection, view: View, target: Path, until: int | None) -> TableReport:
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        connection.execute(_copy(view, staging, until))
        flush(staging)
        rows = _one(connection, f"SELECT count(*) FROM read_parquet({_quoted(staging)})")
        staging.replace(target)
        flush(target.parent)
    except duckdb.OutOfMemoryException as error:
        raise OpportuneError(
            f"view {view.name}: DuckDB ran out of memory ({str(error).splitlines()[0]}); raise memory_limit"
        ) from None
    finally:
        staging.unlink(missing_ok=True)
    return TableReport(view.name, target, rows)


def _copy(view: View, target: Path, until: int | None) -> str:
    """The statement's rows as a sorted Parquet file; `ts` becomes a timestamp, which Spark would spell otherwise."""
    keys: Sequence[str] = view.join_keys
    columns = [*keys, "make_timestamp(ts)::TIMESTAMPTZ AS ts", "seen_e", *(f'"{each.name}"' for each in view.features)]
    return (
        f"COPY (\nSELECT {', '.join(columns)}\nFROM (\n{change_points(view, 'events', until)}\n) AS points\n"
        f"ORDER BY {', '.join([*keys, 'points.ts'])}\n"
        f") TO {_quoted(target)} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP_SIZE})"
    )


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return 0 if row is None else int(row[0])


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"

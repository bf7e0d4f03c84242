"""From the archive to change-point tables: what is new since the last run is added, what is final stays.

    boundary B   the start of the day before that of the last archived event: rows with ts <= B are final and stand in
                 parts; the rest, which later events change, is the tail and is made anew
    carry        one row per entity as of B, from which everything without a window follows

A run reads the carry, the events after B, and those before it that windows may still hold. It makes the whole table of
a view if its definition has changed, or if other events before B have come to the archive. What a value means at an
instant is in `change_points`, the files are those of `tables`; this module decides and runs the statements.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
from rich.table import Column, Table

from behavior.errors import OpportuneError
from behavior.plan import Plan, View
from deployment.archive import Archive
from deployment.table_manifest import FORMAT, Manifest, Part, TableFile, fingerprint_of
from training.change_points import Statement
from training.chosen import Chosen
from training.stock import Stock
from training.tables import PARQUET, ViewFiles, alone_with, parquet, quoted

# Changes are put in order in memory, at about 150 bytes each; a multiple of this would spill and take far longer.
_CHANGES_AT_ONCE = 5_000_000


@dataclass(frozen=True, slots=True)
class TableReport:
    """One view's table: where it is, how many rows it has, and what this run did to it and why.

    done   `whole`, `added` (what has changed since the last run) or `nothing`
    """

    view: str
    path: Path
    rows: int
    done: str
    why: str
    seconds: float


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
    """Bring the change-point table of every view of the plan up to the archive's events with k < `until`.

    Each view's table is replaced at once when it is complete; a run after one that was killed goes on with the views
    that were not done. `progress` is told each step, how much of it is done and how much there is. Raises
    OpportuneError if DuckDB cannot do it within the memory limit, Unavailable if another backfill is at work.
    """
    with alone_with(tables_dir) as spill, duckdb.connect() as connection:
        _configure(connection, memory_limit, threads, spill)
        stock = Stock(archive, connection, until)
        reports = []
        for view in plan.views:
            progress(f"computing {view.name}", 0, 1)
            with _explained(view):
                reports.append(_bring_up(connection, ViewFiles(tables_dir, view), stock))
            progress(f"computing {view.name}", 1, 1)
    return BackfillReport(stock.events, until, tuple(reports))


def render(report: BackfillReport) -> Table:
    """What was done for each view, for the terminal."""
    rows, seconds = Column("rows", justify="right"), Column("seconds", justify="right")
    table = Table("view", rows, "done", "why", seconds, title=f"backfill of {report.events:,} events")
    for each in report.tables:
        table.add_row(each.view, f"{each.rows:,}", each.done, each.why, f"{each.seconds:.1f}")
    return table


def _bring_up(connection: duckdb.DuckDBPyConnection, files: ViewFiles, stock: Stock) -> TableReport:
    began = time.perf_counter()
    found = files.manifest()
    files.sweep(found)
    done, why = _what_to_do(files.view, found, stock)
    if found is None or done != "nothing":
        run = _Run(connection, files, stock, found if done == "added" else None)
        found = run.made(found)
    seconds = time.perf_counter() - began
    return TableReport(files.view.name, files.directory, found.rows, done, why, seconds)


def _what_to_do(view: View, found: Manifest | None, stock: Stock) -> tuple[str, str]:
    """`whole`, `added` or `nothing`, and why."""
    if found is None:
        return "whole", "there was no table"
    if found.fingerprint != fingerprint_of(view):
        return "whole", "its definition has changed"
    if stock.until is not None and stock.until < found.boundary:
        return "whole", "it reached beyond the instant asked for"
    if stock.has_changed_before(found):
        return "whole", "the archive has other events of days that were final"
    if stock.until == found.until and dict(found.archive) == stock.files:
        return "nothing", "no new events"
    if found.boundary == 0:
        return "whole", "nothing of it was final"
    return "added", "new events"


class _Run:
    """One view's statements, run: from nothing, or on from a manifest."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, files: ViewFiles, stock: Stock, base: Manifest | None
    ) -> None:
        self._connection = connection
        self._files = files
        self._stock = stock
        self._base = base
        self._since = None if base is None else base.boundary
        self._view = files.view
        # A view of whole intervals has its boundary at one.
        self._boundary = max(stock.boundary - stock.boundary % self._view.interval_us, self._since or 0)
        self._statement = Statement(Chosen(self._view, "events", stock.until, self._since))

    def made(self, former: Manifest | None) -> Manifest:
        """The new manifest, in place of the former one."""
        base, view = self._base, self._view
        with self._relations():
            parts, tail = self._rows()
            is_carry_old = base is not None and base.boundary == self._boundary
            carry = base.carry if base is not None and is_carry_old else self._carry()
        manifest = Manifest(
            format=FORMAT,
            view=view.name,
            fingerprint=fingerprint_of(view),
            features={feature.name: feature.fingerprint for feature in view.features},
            boundary=self._boundary,
            until=self._stock.until,
            parts=self._files.merged(self._connection, [*(base.parts if base else ()), *parts]),
            tail=tail,
            carry=carry,
            events_before=self._stock.events_before(self._boundary),
            archive=tuple(sorted(self._stock.files.items())),
            former=tuple(former.files) if former else (),
        )
        self._files.commit(manifest)
        return manifest

    @contextmanager
    def _relations(self) -> Iterator[None]:
        """The steps, as temporary tables, which DuckDB spills if it must."""
        steps = dict(self._statement.steps)
        if self._base:
            steps = {"carried": self._carried("SEMI", self._keys_read), **steps}
        try:
            for name, sql in steps.items():
                self._connection.execute(f"CREATE TEMP TABLE {name} AS\n{sql}")
            yield
        finally:
            for name in steps:
                self._connection.execute(f"DROP TABLE IF EXISTS {name}")

    @property
    def _keys_read(self) -> str:
        chosen = self._statement.chosen
        return f"(SELECT DISTINCT {chosen.keys} FROM {chosen.rows()})"

    def _carried(self, kind: str, others: str) -> str:
        """The rows of the former carry that are among others (SEMI) or are not (ANTI)."""
        assert self._base is not None
        source = parquet([self._files.directory / self._base.carry.file])
        return f"SELECT * FROM {source} {kind} JOIN {others} AS others USING ({self._statement.chosen.keys})"

    def _rows(self) -> tuple[list[Part], tuple[TableFile, ...]]:
        """The rows, those up to the boundary as a part (none if there are none), the others as the tail."""
        final: list[TableFile] = []
        tail: list[TableFile] = []
        with self._files.staging() as staging:
            for number, lives in enumerate(self._stretches()):
                target = staging / f"{number}"
                rows = self._select(lives, f", points.ts <= {self._boundary} AS is_final")
                self._copy(rows, target, ", PARTITION_BY (is_final)")
                final += [self._files.take(path, "part", self._boundary) for path in target.glob("is_final=true/*")]
                tail += [self._files.take(path, "tail", self._boundary) for path in target.glob("is_final=false/*")]
            if not tail:
                self._copy(self._select((0, 0)), staging / "nothing")
                tail.append(self._files.take(staging / "nothing", "tail", self._boundary))
        return [Part(tuple(final), self._since or 0, self._boundary)] if final else [], tuple(tail)

    def _stretches(self) -> list[tuple[int, int]]:
        """Stretches of lives, from first to last, in which about as much changes as can be put in order at once."""
        parts = self._statement.chosen.parts
        at_once = max(1, _CHANGES_AT_ONCE // (1 + len(parts.windows) + 2 * len(parts.members)))
        return self._connection.execute(
            f"SELECT min(life), max(life) FROM ("
            f"SELECT life, sum(admissions) OVER (ORDER BY life) // {at_once} AS stretch FROM ("
            "SELECT life, count(*) AS admissions FROM lived GROUP BY life)) GROUP BY stretch ORDER BY stretch"
        ).fetchall()

    def _select(self, lives: tuple[int, int], more: str = "") -> str:
        """The rows of a stretch of lives; `ts` becomes a timestamp here, which Spark would spell otherwise."""
        within = f"WHERE life BETWEEN {lives[0]} AND {lives[1]}"
        steps = [f"{name} AS NOT MATERIALIZED (SELECT * FROM temp.{name} {within})" for name in self._statement.steps]
        relations = [f"{name} AS (\n{sql}\n)" for name, sql in self._statement.relations.items()]
        raws = (f'"{raw.name}"' for raw in self._view.raws)
        columns = [*self._view.join_keys, "make_timestamp(ts)::TIMESTAMPTZ AS ts", "seen_e", *raws]
        return (
            f"WITH {', '.join([*steps, *relations])}\n"
            f"SELECT {', '.join(columns)}{more} FROM (\n{self._statement.rows}\n) AS points"
        )

    def _copy(self, query: str, target: Path, more: str = "") -> None:
        self._connection.execute(f"COPY (\n{query}\n) TO {quoted(target)} ({PARQUET}{more})")

    def _carry(self) -> TableFile:
        """What the next run goes on from; entities of which nothing was read are carried on."""
        carry = self._statement.carry(self._boundary)
        if self._base:
            alive = f"{self._boundary} - seen_e < {self._view.retention_us}"
            carry += f"\nUNION ALL BY NAME {self._carried('ANTI', 'carried')} WHERE {alive}"
        with self._files.staging() as staging:
            target = staging / "carry"
            self._copy(carry, target)
            return self._files.take(target, "carry", self._boundary)


@contextmanager
def _explained(view: View) -> Iterator[None]:
    """One sentence for what DuckDB could not do."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise OpportuneError(
            f"view {view.name}: DuckDB ran out of memory ({str(error).splitlines()[0]}); raise memory_limit"
        ) from None


def _configure(connection: duckdb.DuckDBPyConnection, memory_limit: str, threads: int | None, spill: Path) -> None:
    connection.execute("SET memory_limit = ?", [memory_limit])
    connection.execute("SET temp_directory = ?", [str(spill)])
    # Rows of one entity come out together as it is; keeping the order of the input would only cost memory.
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET partitioned_write_flush_threshold = 122880")
    connection.execute("SET TimeZone = 'UTC'")
    if threads is not None:
        connection.execute("SET threads = ?", [threads])

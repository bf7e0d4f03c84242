"""`opportune import --items`: a catalogue file → the plain view of items, merged with what earlier imports brought.

The view is one Parquet file, ordered by (item, ts): what was known of an item from the instant `ts` on. `created` is
when it became known: of several rows for one (item, ts) the newest created stays, of equally new ones the last.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from behavior.admission import EARLIEST_US, LATEST_US, MAX_ID_BYTES, MAX_VALUE_MINOR
from training import conversion
from training.accounting import write_rejects
from training.joining import Wide, joined_paths, load_wide
from training.lock import alone_in
from training.mapping_form import CatalogueMapping
from training.source import Progress, Rejected, connect, quoted

CATALOGUE = pa.schema(
    [
        pa.field("item", pa.string(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("price_minor", pa.int64()),
        pa.field("available", pa.bool_()),
        pa.field("ts", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("created", pa.timestamp("us", "UTC"), nullable=False),
    ]
)
FILE_NAME = "item_catalogue.parquet"

_ID_SQL = "strlen({0}) > {1} OR regexp_matches({0}, '[\\x00-\\x1f\\x7f]')"
# What a row is refused for: reason, field, detail, and the SQL over converted rows that is true where it applies.
_REFUSALS = (
    ("no_item", "item", "a catalogue row needs an item", "item IS NULL"),
    ("bad_item", "item", f"item must be 1 to {MAX_ID_BYTES} bytes without control characters",
     _ID_SQL.format("item", MAX_ID_BYTES)),
    ("bad_category", "category", f"category must be at most {MAX_ID_BYTES} bytes without control characters",
     _ID_SQL.format("category", MAX_ID_BYTES)),
    *(("bad_value", name, f"{name} could not be converted", conversion.faulty(f"t_{name}", name))
      for name in ("price", "available", "valid_from", "created")),
    ("value_out_of_range", "price", f"price must be 0 to {MAX_VALUE_MINOR} minor units",
     f"price NOT BETWEEN 0 AND {MAX_VALUE_MINOR}"),
    *(("bad_time", name, f"{name} must lie between 1970 and 2100",
       f"{name} IS NULL OR {name} < {EARLIEST_US} OR {name} >= {LATEST_US}") for name in ("valid_from", "created")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CatalogueReport:
    """What a catalogue import did: received = accepted + duplicate + Σ rejected.

    A duplicate is a row that changes nothing: its (item, ts) is known as well or newer. `rows` is the size of the view.
    """

    received: int
    accepted: int
    duplicate: int
    rows: int
    rejected: dict[str, int] = field(default_factory=dict)
    rejects_file: Path | None = None
    seconds: float = 0.0


def import_items(
    file: Path,
    mapping: CatalogueMapping,
    *,
    tables: Path,
    rejects: Path | None = None,
    progress: Progress | None = None,
    memory_limit: str = "1400MB",
    threads: int = 2,
) -> CatalogueReport:
    """Merge the catalogue `file` into `<tables>/item_catalogue.parquet`, which is replaced whole or not at all.

    Raises BadInput, with nothing written, for what is wrong with the file or the mapping as a whole; one bad row never
    does.
    """
    started = time.perf_counter()
    readable = [file, *joined_paths([file], mapping)]
    with alone_in(tables), connect(readable, tables, memory_limit, threads) as connection:
        wide = load_wide(connection, [file], mapping, digest=False, progress=progress)
        _make_rows(connection, wide, mapping)
        _merge(connection, tables / FILE_NAME)
        rejected = wide.records.unreadable + list(_rejected(connection, file))
        report = CatalogueReport(
            received=len(wide.records.unreadable) + _count(connection, "converted"),
            accepted=_count(connection, "merged WHERE fresh"),
            duplicate=_count(connection, "converted WHERE refused IS NULL") - _count(connection, "merged WHERE fresh"),
            rows=_count(connection, "merged"),
            rejected=dict(sorted(Counter(each.reason for each in rejected).items())),
            rejects_file=rejects,
        )
        write_rejects(rejected, rejects)
        if report.accepted:
            _replace(connection, tables / FILE_NAME)
    if progress:
        progress("write", report.rows, report.rows)
    return replace(report, seconds=time.perf_counter() - started)


def render(report: CatalogueReport) -> Table:
    """The accounts as a table for the terminal."""
    table = Table(title="catalogue", caption=f"{report.rows:,} rows in the view, {report.seconds:.1f} s")
    table.add_column("records")
    table.add_column("count", justify="right")
    table.add_row("received", f"{report.received:,}", end_section=True)
    table.add_row("accepted", f"{report.accepted:,}")
    table.add_row("duplicate", f"{report.duplicate:,}")
    for reason, count in report.rejected.items():
        table.add_row(f"rejected: {reason}", f"{count:,}")
    if report.rejected and report.rejects_file is not None:
        table.add_section()
        table.add_row("rejected records are listed in", str(report.rejects_file))
    return table


def _make_rows(connection: duckdb.DuckDBPyConnection, wide: Wide, mapping: CatalogueMapping) -> None:
    """Table `converted`: converted rows, with `refused`, the number of what they are refused for, or null."""
    texts = {
        name: wide.text(name) or "NULL::VARCHAR" for name in ("item", "category", "available", "valid_from", "created")
    }
    price = mapping.price
    texts["price"] = "NULL::VARCHAR" if price is None else wide.either(price.column, price.expression, "[price]")
    fields = {"item": "t_item", "category": "t_category", "available": conversion.boolean("t_available")}
    major = price is not None and price.unit == "major"
    fields["price"] = (
        conversion.minor_units("t_price", price.minor_digits) if price and major else conversion.integer("t_price")
    )
    for name in ("valid_from", "created"):
        constant = name in mapping.constants
        fields[name] = (
            conversion.constant_instant_us(mapping, name) if constant else conversion.instant_us(f"t_{name}", mapping)
        )
    if wide.text("created") is None:  # known from when it is valid
        fields["created"] = fields["valid_from"]
    columns = ", ".join(f"{sql} AS t_{name}" for name, sql in texts.items())
    converted = ", ".join(f"{sql} AS {name}" for name, sql in fields.items())
    cases = " ".join(f"WHEN {refusal[3]} THEN {number}" for number, refusal in enumerate(_REFUSALS))
    connection.execute(
        "CREATE TEMP TABLE converted AS SELECT line, position, item, category, price AS price_minor, available, "
        "valid_from AS ts, created, "
        f"CASE {cases} END AS refused FROM (SELECT *, {converted} FROM "
        f"(SELECT r.line, r.position, {columns} FROM {wide.relation}))"
    )


def _merge(connection: duckdb.DuckDBPyConnection, known: Path) -> None:
    """Table `merged`: the view as it will be, `fresh` where a row is new."""
    fields = "item, category, price_minor, available, ts, created"
    stored = "SELECT * FROM converted WHERE FALSE"
    if known.exists():
        source = f"read_parquet({quoted(str(known.resolve()))})"
        stored = f"SELECT * REPLACE (epoch_us(ts) AS ts, epoch_us(created) AS created) FROM {source}"
    same = " AND ".join(f"k.{name} IS NOT DISTINCT FROM c.{name}" for name in ("category", "price_minor", "available"))
    connection.execute(
        f"""CREATE TEMP TABLE merged AS WITH
        known AS (SELECT {fields}, FALSE AS fresh, 0 AS line, 0 AS position FROM ({stored})),
        fresh AS (SELECT {fields}, TRUE AS fresh, line, coalesce(position, 0) AS position FROM converted AS c
                  WHERE refused IS NULL AND NOT EXISTS (
                  FROM known AS k WHERE k.item = c.item AND k.ts = c.ts AND k.created = c.created AND {same}))
        SELECT {fields}, fresh FROM (FROM known UNION ALL BY NAME FROM fresh)
        QUALIFY row_number() OVER (
            PARTITION BY item, ts ORDER BY created DESC, fresh DESC, line DESC, position DESC) = 1"""
    )


def _rejected(connection: duckdb.DuckDBPyConnection, file: Path) -> Iterator[Rejected]:
    for line, position, number in connection.execute(
        "SELECT line, position, refused FROM converted WHERE refused IS NOT NULL"
    ).fetchall():
        reason, name, detail, _ = _REFUSALS[number]
        yield Rejected(reason, str(file), line, position, name, detail)


def _replace(connection: duckdb.DuckDBPyConnection, target: Path) -> None:
    fields = ", ".join(CATALOGUE.names)
    table = connection.execute(f"SELECT {fields} FROM merged ORDER BY item, ts").to_arrow_table().cast(CATALOGUE)
    staging = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with staging.open("wb") as out:
            pq.write_table(table, out, compression="zstd")
            out.flush()
            os.fsync(out.fileno())
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(row[0]) if row else 0

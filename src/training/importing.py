"""`opportune import`: history in files of any shape → events in the archive, each record accounted for exactly once.

    files ─ read ─▶ records (texts) ─ convert ─▶ events ─ admit ─▶ accepted ─▶ <archive>/import/<batch>/p=NNN.parquet
              │                          │          ├─▶ dropped (no consent)
              └──── unreadable ──────────┴─ bad ────┴─▶ rejected (reason, file, line) or duplicate

What is imported is history: its admission instant k is its event time e. The batch becomes visible whole, by one
rename, after
everything has been counted; whatever goes wrong before leaves the archive as it was. What a killed import leaves on
disk (its spill, which holds raw ids, and its staging) goes at the start of the next one.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from behavior.admission import RULES
from behavior.errors import BadInput, OpportuneError
from behavior.partition import partition_of
from deployment.archive import EVENTS, Archive
from deployment.pseudonym import Pseudonyms
from training.accounting import ImportReport, write_rejects
from training.event_sql import event_sql
from training.joining import Wide, joined_paths, load_wide
from training.lock import alone_in
from training.mapping_form import EventMapping
from training.source import Progress, Rejected, connect

BATCH_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """One way to be rejected: `sql` is true, on a converted record, where it applies."""

    reason: str
    field: str
    detail: str
    sql: str


def import_files(
    files: Sequence[Path],
    mapping: EventMapping,
    *,
    archive: Archive,
    pseudonyms: Pseudonyms,
    rejects: Path | None = None,
    progress: Progress | None = None,
    base_currency: str | None = None,
    memory_limit: str = "1400MB",
    threads: int = 2,
) -> ImportReport:
    """Import `files` as one batch; received = accepted + duplicate + rejected + dropped, always.

    `rejects` (.parquet or .jsonl) gets the reason, file and line of every rejected record. Raises BadInput, with
    nothing written, for what is wrong with the files or the mapping as a whole; one bad record never does.
    """
    started = time.perf_counter()
    tell = progress or (lambda stage, done, total: None)
    if not files:
        raise BadInput("no files to import")
    readable = [*files, *joined_paths(files, mapping)]
    with alone_in(archive.path), connect(readable, archive.path, memory_limit, threads) as connection:
        archive.discard_unfinished()
        wide = load_wide(connection, files, mapping, digest=mapping.message_id is None, progress=progress)
        tell("convert", 0, 2)
        _make_users(connection, wide, pseudonyms, archive.partitions)
        tell("convert", 1, 2)
        refusals = _make_events(connection, wide, mapping, pseudonyms, base_currency)
        tell("convert", 2, 2)
        _decide(connection, archive)
        counts = dict(connection.execute("SELECT outcome, count(*) FROM decided GROUP BY outcome").fetchall())
        rejected = wide.records.unreadable + list(_rejected(connection, files, refusals))
        reasons = Counter(each.reason for each in rejected)
        report = ImportReport(
            received=len(wide.records.unreadable) + sum(counts.values()),
            accepted=counts.get("accepted", 0),
            duplicate=counts.get("duplicate", 0),
            rejected=dict(sorted(reasons.items())),
            dropped={"consent": counts["dropped"]} if "dropped" in counts else {},
            rejects_file=rejects,
            batch=_batch_name(connection, mapping) if counts.get("accepted") else None,
            seconds=0.0,
        )
        if not report.adds_up():
            raise OpportuneError(f"the import's accounts do not add up ({report}); nothing was written")
        if report.batch is not None:
            with archive.staged_import(report.batch) as staging:
                _write(connection, staging, report.accepted, tell)
                write_rejects(rejected, rejects)
        else:
            write_rejects(rejected, rejects)
    return report.after(time.perf_counter() - started)


def _make_users(connection: duckdb.DuckDBPyConnection, wide: Wide, pseudonyms: Pseudonyms, partitions: int) -> None:
    """Tables `users` and `anonymous`: each raw id of the files with its pseudonym and that one's partition."""
    for table, text, pseudonym in (
        ("users", wide.text("user_id"), pseudonyms.user),
        ("anonymous", wide.text("anonymous_id"), pseudonyms.anonymous),
    ):
        found = connection.execute(f"SELECT DISTINCT {text or 'NULL'} FROM {wide.relation}").fetchall()
        raw = [row[0] for row in found if row[0] is not None and _is_id(row[0])]
        made = [pseudonym(each) for each in raw]
        homes = [partition_of(each, partitions) for each in made]
        data = {
            "raw": pa.array(raw, pa.string()),
            "pseudonym": pa.array(made, pa.string()),
            "p": pa.array(homes, pa.int32()),
        }
        connection.register("made", pa.table(data))
        connection.execute(f"CREATE TEMP TABLE {table} AS SELECT * FROM made")
        connection.unregister("made")


def _is_id(raw: str) -> bool:
    """Raw ids are bounded as all ids are: 1 to 256 bytes without control characters."""
    return 0 < len(raw.encode()) <= 256 and all(character >= " " and character != "\x7f" for character in raw)


def _make_events(
    connection: duckdb.DuckDBPyConnection,
    wide: Wide,
    mapping: EventMapping,
    pseudonyms: Pseudonyms,
    base_currency: str | None,
) -> list[Refusal]:
    """Table `events`: every readable record in the archive's columns, with `file line position p granted` and
    `refused`,
    the number of its refusal in the list that is returned, or null.
    """
    salt = pseudonyms.user("\0message ids")  # keyed, so that ids made of user ids cannot be guessed back
    converted, faults = event_sql(connection, wide, mapping, salt)
    refusals = [
        *(Refusal("bad_value", field, f"{field} could not be converted", sql) for field, sql in faults.items()),
        *(Refusal(rule.reason, rule.field, rule.message, f"NOT {rule.sql}") for rule in RULES),
    ]
    if base_currency is not None:
        detail = f"the deployment's base currency is {base_currency}"
        refusals.append(Refusal("wrong_currency", "currency", detail, f"currency <> '{base_currency}'"))
    cases = " ".join(f"WHEN {refusal.sql} THEN {number}" for number, refusal in enumerate(refusals))
    kept = ", ".join(name for name in EVENTS.names if name not in ("e", "k"))
    connection.execute(
        f"CREATE TEMP TABLE events AS SELECT file, line, position, p, granted, {kept}, CASE {cases} END AS refused "
        f"FROM ({converted})"
    )
    connection.execute("DROP TABLE records")
    return refusals


def _decide(connection: duckdb.DuckDBPyConnection, archive: Archive) -> None:
    """View `decided`: events with their `outcome`: rejected, dropped, duplicate, late or accepted, in this order of
    precedence.
    """
    connection.execute(
        "CREATE TEMP TABLE candidates AS SELECT rowid AS id, file, line, position, message_id, p, client_time "
        "FROM events WHERE refused IS NULL AND granted"
    )
    archive.create_view(connection, "archived")
    connection.execute(
        """CREATE TEMP TABLE repeated AS
        SELECT id FROM candidates SEMI JOIN archived USING (message_id)
        UNION
        SELECT id FROM (
            SELECT id, row_number() OVER (PARTITION BY message_id ORDER BY file, line, position) AS nth
            FROM candidates SEMI JOIN (SELECT message_id FROM candidates GROUP BY message_id HAVING count(*) > 1)
            USING (message_id)
        ) WHERE nth > 1"""
    )
    firsts_by_partition = {partition: archive.log_began(partition) for partition in range(archive.partitions)}
    began = [(partition, first) for partition, first in firsts_by_partition.items() if first is not None]
    firsts = {"p": pa.array([p for p, _ in began], pa.int32()), "first_k": pa.array([k for _, k in began], pa.int64())}
    connection.register("log_began", pa.table(firsts))
    connection.execute(
        "CREATE TEMP TABLE late AS SELECT id FROM candidates JOIN log_began USING (p) WHERE client_time > first_k "
        "AND id NOT IN (FROM repeated)"
    )
    connection.execute(
        """CREATE TEMP VIEW decided AS SELECT events.*, CASE WHEN refused IS NOT NULL THEN 'rejected' WHEN NOT granted
        THEN 'dropped'
        WHEN repeated.id IS NOT NULL THEN 'duplicate' WHEN late.id IS NOT NULL THEN 'late' ELSE 'accepted' END AS
        outcome
        FROM events LEFT JOIN repeated ON events.rowid = repeated.id LEFT JOIN late ON events.rowid = late.id"""
    )


def _rejected(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Path], refusals: Sequence[Refusal]
) -> Iterator[Rejected]:
    """The readable records that were rejected, in no order."""
    rows = connection.execute(
        "SELECT file, line, position, refused FROM decided WHERE outcome IN ('rejected', 'late')"
    ).fetchall()
    late = Refusal("after_log_began", "client_time", "later than the first event that the partition's log took", "")
    for file, line, position, number in rows:
        refusal = late if number is None else refusals[number]
        yield Rejected(refusal.reason, str(files[file]), line, position, refusal.field, refusal.detail)


def _batch_name(connection: duckdb.DuckDBPyConnection, mapping: EventMapping) -> str:
    """A name that no other batch of the archive can have: accepted message ids are new to it."""
    row = connection.execute("SELECT min(message_id) FROM decided WHERE outcome = 'accepted'").fetchone()
    return f"{mapping.name}-{row[0][:16] if row else ''}"


def _write(connection: duckdb.DuckDBPyConnection, staging: Path, total: int, tell: Progress) -> None:
    """Write the accepted events, one file a partition, each ordered by (k, message id)."""
    columns = ", ".join({"e": "client_time AS e", "k": "client_time AS k"}.get(name, name) for name in EVENTS.names)
    reader = connection.execute(
        f"SELECT {columns}, p FROM decided WHERE outcome = 'accepted' ORDER BY p, client_time, message_id"
    ).to_arrow_reader(BATCH_ROWS)
    done = 0
    with ExitStack() as open_file:
        current, writer = -1, None
        for batch in reader:
            homes = batch.column("p").to_numpy()
            events = pa.Table.from_batches([batch]).drop_columns(["p"]).cast(EVENTS)
            borders = [0, *((homes[1:] != homes[:-1]).nonzero()[0] + 1).tolist(), len(homes)]
            for start, end in pairwise(borders):
                if writer is None or homes[start] != current:
                    current = int(homes[start])
                    open_file.close()
                    writer = open_file.enter_context(_partition_file(staging, current))
                writer.write_table(events.slice(start, end - start))
            done += len(homes)
            tell("write", done, total)


def _partition_file(staging: Path, partition: int) -> pq.ParquetWriter:
    return pq.ParquetWriter(staging / f"p={partition:03d}.parquet", EVENTS, compression="zstd")

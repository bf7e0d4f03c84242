"""The archive: every admitted event for ever, as Parquet files that are their own index.

    <archive>/import/<batch>/p=NNN.parquet              history that entered at once, k = e
    <archive>/log/p=NNN/<epoch>-<first>-<last>.parquet  what the log took, first and last are its offsets (= k)
    <archive>/journal/p=NNN/...                         what was served, named alike: `deployment.journal_archive`

A file appears whole or not at all: written beside, flushed to disk, renamed. The names of the log files are the
archive's offset, so nothing else has to be committed with them. They may overlap (`log_files`); every reader here gets
every event once.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior.errors import BadInput
from behavior.event import Admitted, Event
from deployment.compaction import merge_neighbours
from deployment.durable import flush
from deployment.log_files import (
    Stretch,
    despite_merging,
    log_files,
    rows_between,
    stretches,
    superfluous,
    write_log_file,
)

if TYPE_CHECKING:
    import duckdb

_STAGING = ".staging-"
# Rows that are Python objects at once.
_ROWS_AT_ONCE = 50_000
_TEXT_COLUMNS = ("order_id", "session_id", "request_id", "placement")

EVENTS = pa.schema(
    [
        pa.field("message_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("anonymous_id", pa.string()),
        pa.field("e", pa.int64(), nullable=False),
        pa.field("k", pa.int64(), nullable=False),
        pa.field("client_time", pa.int64(), nullable=False),
        pa.field("item", pa.string()),
        pa.field("category", pa.string()),
        pa.field("value", pa.int64()),
        pa.field("currency", pa.string()),
        pa.field("quantity", pa.int64()),
        *(pa.field(name, pa.string()) for name in _TEXT_COLUMNS),
        pa.field("utc_offset_s", pa.int32()),
        pa.field("device", pa.string()),
        pa.field("page", pa.string()),
        pa.field("source", pa.string()),
        pa.field("properties", pa.string(), nullable=False),
        pa.field("purposes", pa.int64(), nullable=False),
    ]
)
# The columns that are the event's own, in the order of its parts; `e` and `k` are the log's.
_OWN = Event.__struct_fields__
_NO_PROPERTIES = "{}"


class Archive:
    """Readers and writers of the archive directory.

    `partitions` is the deployment's number of partitions; an archive that was bucketed by another is refused.
    """

    def __init__(self, path: Path, partitions: int) -> None:
        self.path = path
        self.partitions = partitions

    def files(self, partition: int | None = None) -> list[Path]:
        """The Parquet files that a reader of one partition, or of all, opens; in a stable order.

        Raises BadInput if the archive was bucketed by another number of partitions.
        """
        return [*self._imports(partition), *(stretch.path for stretch in self._logged(partition))]

    def create_view(self, connection: "duckdb.DuckDBPyConnection", name: str = "events") -> None:
        """Make the whole archive readable in DuckDB as the view `name` with the columns of `EVENTS`.

        The view names the files that there are now. They stay for `KEPT_S` of the archiver, an hour.
        """
        logged = self._logged(None)
        disjoint = [*self._imports(None), *(stretch.path for stretch in logged if stretch.whole)]
        sources = [f"FROM {_parquet(disjoint)}"] if disjoint else []
        sources += [
            f"FROM {_parquet([stretch.path])} WHERE k > {stretch.after}" for stretch in logged if not stretch.whole
        ]
        if not sources:
            connection.register(f"{name}_empty", EVENTS.empty_table())
            sources = [f"FROM {name}_empty"]
        columns = ", ".join(EVENTS.names)
        selects = " UNION ALL ".join(f"SELECT {columns} {source}" for source in sources)
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {selects}")

    def read(self, partition: int, *, until: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The partition's events with k < `until`, ordered by (k, message_id)."""
        wanted = list(columns or EVENTS.names)
        needed = [*wanted, *(name for name in ("k", "message_id") if name not in wanted)]
        tables = despite_merging(lambda: self._tables(partition, until, needed))
        if not tables:
            return EVENTS.empty_table().select(wanted)
        table = pa.concat_tables(tables)
        if until is not None:
            table = table.filter(pc.less(table["k"], until))
        return table.sort_by([("k", "ascending"), ("message_id", "ascending")]).select(wanted)

    def read_log(self, partition: int, after: int, upto: int, limit: int | None = None) -> list[Admitted]:
        """The first `limit` of the events that the log took with after < k <= upto, in its order; imports are not it.

        For readers that fell behind what the log still holds.
        """
        return despite_merging(lambda: self._read_log(partition, after, upto, limit))

    def newest_of(self, partition: int, user_id: str, upto: int, most: int) -> list[Admitted]:
        """The newest events of one user with k <= upto, at most so many, whatever way they came in; oldest first."""
        return despite_merging(lambda: self._newest_of(partition, user_id, upto, most))

    def logged_span(self, partition: int) -> tuple[int, int] | None:
        """The first and the last admission instant that came through the log, or None."""
        logged = self._logged(partition)
        return (logged[0].first, logged[-1].last) if logged else None

    def log_began(self, partition: int) -> int | None:
        """The first admission instant that a log took, this partition's or one's that was moved here; None if none did.

        History must not be imported behind it.
        """
        span = self.logged_span(partition)
        moved = (self._marker() or {}).get("log_began")
        began = [instant for instant in (span[0] if span else None, moved) if instant is not None]
        return min(began) if began else None

    def covered_until(self, partition: int) -> int:
        """The admission instant of the last event that came through the log and is durable here, or 0."""
        span = self.logged_span(partition)
        return span[1] if span else 0

    @contextmanager
    def staged_import(self, batch: str) -> Iterator[Path]:
        """A directory to write `p=NNN.parquet` files into, which becomes visible whole on success, else not at all."""
        self.agree_on_partitions()
        staging = self.path / f"{_STAGING}{uuid.uuid4().hex}"
        staging.mkdir(parents=True)
        try:
            yield staging
            for file in staging.iterdir():
                flush(file)
            flush(staging)  # else a power cut may keep the new name and lose the files' names within
            target = self.path / "import" / batch
            if target.parent.resolve() != (self.path / "import").resolve():
                raise BadInput(f"{batch!r} is no name for an import")
            target.parent.mkdir(exist_ok=True)
            if target.exists():
                raise BadInput(f"the archive already has an import named {batch}")
            if any(staging.iterdir()):
                staging.rename(target)
                flush(target.parent)
                flush(self.path)  # where `import` may be new
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def append_log(self, partition: int, epoch: int, events: Sequence[Admitted]) -> Path:
        """Write admitted events of one partition, in log order, as one file; durable when this returns."""
        self.agree_on_partitions()
        return write_log_file(self._folder(partition), epoch, events[0].k, events[-1].k, to_table(events))

    def compact(self, partition: int, epoch: int) -> int:
        """Merge small files of the log; how many have become superfluous. For who holds the partition's lease."""
        return merge_neighbours(self._folder(partition), epoch)

    def superfluous(self, partition: int) -> set[Path]:
        """Files of the log that a reader who begins now does not open; one that began before may."""
        return superfluous(self._folder(partition))

    def agree_on_partitions(self) -> None:
        """Refuse to mix two bucketings in one archive; the first writer decides."""
        self.path.mkdir(parents=True, exist_ok=True)
        marker = self.path / "archive.json"
        if not marker.exists():
            staging = self.path / f".{marker.name}.{uuid.uuid4().hex}"
            try:
                staging.write_text(json.dumps({"format": 1, "partitions": self.partitions}), encoding="utf-8")
                flush(staging)
                with suppress(FileExistsError):
                    os.link(staging, marker)  # unlike a rename, it leaves another writer's marker alone
                flush(self.path)
            finally:
                staging.unlink(missing_ok=True)
        self.refuse_other_bucketing()

    def discard_unfinished(self) -> None:
        """Remove what imports that were killed had staged; only for who holds the lock of imports."""
        for staging in self.path.glob(f"{_STAGING}*"):
            shutil.rmtree(staging, ignore_errors=True)

    def _folder(self, partition: int) -> Path:
        return self.path / "log" / f"p={partition:03d}"

    def _imports(self, partition: int | None) -> list[Path]:
        self.refuse_other_bucketing()
        return sorted(self.path.glob(f"import/*/p={'*' if partition is None else f'{partition:03d}'}.parquet"))

    def _logged(self, partition: int | None) -> list[Stretch]:
        self.refuse_other_bucketing()
        numbers = range(self.partitions) if partition is None else (partition,)
        return [stretch for number in numbers for stretch in stretches(log_files(self._folder(number)))]

    def _tables(self, partition: int, until: int | None, columns: Sequence[str]) -> list[pa.Table]:
        tables = [pq.read_table(file, columns=list(columns), partitioning=None) for file in self._imports(partition)]
        for stretch in self._logged(partition):
            if until is None or stretch.first < until:
                table = pq.ParquetFile(stretch.path).read(list(columns)).select(columns)
                tables.append(table if stretch.whole else table.filter(pc.greater(table["k"], stretch.after)))
        return tables

    def _read_log(self, partition: int, after: int, upto: int, limit: int | None) -> list[Admitted]:
        found: list[Admitted] = []
        for stretch in self._logged(partition):
            if stretch.last <= after or stretch.first > upto:
                continue
            for table in rows_between(stretch.path, max(after, stretch.after), upto):
                found += to_events(table if limit is None else table.slice(0, limit - len(found)))
                if limit is not None and len(found) >= limit:
                    return found
        return found

    def _newest_of(self, partition: int, user_id: str, upto: int, most: int) -> list[Admitted]:
        files = [*self._imports(partition), *(each.path for each in self._logged(partition) if each.first <= upto)]
        wanted = (pc.field("user_id") == user_id) & (pc.field("k") <= upto)
        tables = [pq.read_table(file, filters=wanted, schema=EVENTS, partitioning=None) for file in files]
        if not tables:
            return []
        rows = pa.concat_tables(tables).sort_by([("k", "ascending"), ("message_id", "ascending")])
        # Twice, since files may overlap.
        events = {each.event.message_id: each for each in to_events(rows.slice(max(0, rows.num_rows - 2 * most)))}
        return list(events.values())[-most:]

    def _marker(self) -> dict[str, int] | None:
        """What `archive.json` says; None if it is not there."""
        try:
            said = json.loads((self.path / "archive.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return dict(said)

    def refuse_other_bucketing(self) -> None:
        """Raise BadInput if the archive was bucketed by another number of partitions."""
        marker = self.path / "archive.json"
        try:
            said = self._marker()
            if said is None:
                return
            found = int(said["partitions"])
        except (ValueError, KeyError, TypeError):
            raise BadInput(
                f'{marker} does not say how many partitions the archive has; write {{"format": 1, "partitions": N}} '
                "into it with the number that the archive was made with"
            ) from None
        if found != self.partitions:
            raise BadInput(
                f"the archive {self.path} has {found} partitions, the settings say {self.partitions}; "
                "set `partitions` to the archive's number or use another archive"
            )


def to_table(events: Sequence[Admitted]) -> pa.Table:
    """Admitted events as a table of the archive's schema."""
    own = [each.event for each in events]
    columns: dict[str, list[object]] = {name: list(map(attrgetter(name), own)) for name in _OWN}
    columns["properties"] = [
        json.dumps(said.properties, sort_keys=True) if said.properties else _NO_PROPERTIES for said in own
    ]
    columns["e"] = [each.e for each in events]
    columns["k"] = [each.k for each in events]
    return pa.table({name: pa.array(columns[name], EVENTS.field(name).type) for name in EVENTS.names}, schema=EVENTS)


def to_events(table: pa.Table) -> Iterator[Admitted]:
    """The admitted events of a table of the archive's schema, in its order."""
    for start in range(0, table.num_rows, _ROWS_AT_ONCE):
        part = table.slice(start, _ROWS_AT_ONCE)
        columns = {name: part[name].to_pylist() for name in EVENTS.names}
        columns["properties"] = [{} if text == _NO_PROPERTIES else json.loads(text) for text in columns["properties"]]
        # By position, column after column: three times as fast as by name, event after event.
        yield from map(Admitted, map(Event, *(columns[name] for name in _OWN)), columns["e"], columns["k"])


def _parquet(files: Sequence[Path]) -> str:
    paths = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
    return f"read_parquet([{paths}], hive_partitioning = false)"

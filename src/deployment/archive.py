"""The archive: every admitted event for ever, as Parquet files that are their own index.

    <archive>/import/<batch>/p=NNN.parquet              history that entered at once, k = e
    <archive>/log/p=NNN/<epoch>-<first>-<last>.parquet  what the log took, first and last are its offsets (= k)

A file appears whole or not at all: written beside, flushed to disk, renamed. The names of the log files are the
archive's offset, so nothing else has to be committed with them.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior.errors import BadInput
from behavior.event import Admitted, Event, admit
from deployment.durable import flush

if TYPE_CHECKING:
    import duckdb

_STAGING = ".staging-"
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
# The columns that are the event's own, in the order of the schema; `e` and `k` are the log's.
_OWN = tuple(name for name in EVENTS.names if name not in ("e", "k"))


class Archive:
    """Readers and writers of the archive directory.

    `partitions` is the deployment's number of partitions; an archive that was bucketed by another is refused.
    """

    def __init__(self, path: Path, partitions: int) -> None:
        self.path = path
        self.partitions = partitions

    def files(self, partition: int | None = None) -> list[Path]:
        """All Parquet files of one partition, or of all; in a stable order.

        Raises BadInput if the archive was bucketed by another number of partitions.
        """
        self._refuse_other_bucketing()
        bucket = "p=*" if partition is None else f"p={partition:03d}"
        return [
            *sorted(self.path.glob(f"import/*/{bucket}.parquet")),
            *sorted(self.path.glob(f"log/{bucket}/*.parquet")),
        ]

    def create_view(self, connection: "duckdb.DuckDBPyConnection", name: str = "events") -> None:
        """Make the whole archive readable in DuckDB as the view `name` with the columns of `EVENTS`."""
        files = self.files()
        if files:
            paths = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
            source = f"read_parquet([{paths}], hive_partitioning = false)"
        else:
            connection.register(f"{name}_empty", EVENTS.empty_table())
            source = f"{name}_empty"
        columns = ", ".join(EVENTS.names)
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT {columns} FROM {source}")

    def read(self, partition: int, *, until: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The partition's events with k < `until`, ordered by (k, message_id)."""
        wanted = list(columns or EVENTS.names)
        needed = [*wanted, *(name for name in ("k", "message_id") if name not in wanted)]
        tables = [pq.read_table(file, columns=needed, partitioning=None) for file in self.files(partition)]
        if not tables:
            return EVENTS.empty_table().select(wanted)
        table = pa.concat_tables(tables)
        if until is not None:
            table = table.filter(pc.less(table["k"], until))
        return table.sort_by([("k", "ascending"), ("message_id", "ascending")]).select(wanted)

    def logged_span(self, partition: int) -> tuple[int, int] | None:
        """The first and the last admission instant that came through the log, or None."""
        self._refuse_other_bucketing()
        spans = [_span(file) for file in self.path.glob(f"log/p={partition:03d}/*.parquet")]
        return (min(span[0] for span in spans), max(span[1] for span in spans)) if spans else None

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
        folder = self.path / "log" / f"p={partition:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{epoch:06d}-{events[0].k:020d}-{events[-1].k:020d}.parquet"
        staging = folder / f".{target.name}.{uuid.uuid4().hex}"
        pq.write_table(to_table(events), staging, compression="zstd")
        flush(staging)
        staging.rename(target)
        flush(folder)
        return target

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
        self._refuse_other_bucketing()

    def discard_unfinished(self) -> None:
        """Remove what imports that were killed had staged; only for who holds the lock of imports."""
        for staging in self.path.glob(f"{_STAGING}*"):
            shutil.rmtree(staging, ignore_errors=True)

    def _refuse_other_bucketing(self) -> None:
        marker = self.path / "archive.json"
        try:
            found = int(json.loads(marker.read_text(encoding="utf-8"))["partitions"])
        except FileNotFoundError:
            return
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
    columns: dict[str, list[object]] = {name: [getattr(each.event, name) for each in events] for name in _OWN}
    columns["properties"] = [json.dumps(each.event.properties, sort_keys=True) for each in events]
    columns["e"] = [each.e for each in events]
    columns["k"] = [each.k for each in events]
    return pa.table({name: pa.array(columns[name], EVENTS.field(name).type) for name in EVENTS.names}, schema=EVENTS)


def to_events(table: pa.Table) -> Iterator[Admitted]:
    """The admitted events of a table of the archive's schema, in its order."""
    columns = {name: table[name].to_pylist() for name in EVENTS.names}
    for row in range(table.num_rows):
        values = {name: columns[name][row] for name in _OWN}
        values["properties"] = json.loads(values["properties"])
        yield admit(Event(**values), columns["k"][row])


def _span(file: Path) -> tuple[int, int]:
    _, first, last = file.stem.split("-")
    return int(first), int(last)

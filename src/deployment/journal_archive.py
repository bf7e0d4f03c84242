"""The archived journal: every answer that was given, as Parquet files beside the events.

    <archive>/journal/p=NNN/<epoch>-<first>-<last>.parquet

Named, written, merged and read like the files of the log (`log_files`). A row is one answer: its entry as the log had
it, and beside it what one asks of many answers. The columns follow from the entry, so a reader who decodes it sees when
one of them was changed.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from behavior.errors import Altered
from behavior.served import Served, decode
from deployment.archive import Archive
from deployment.compaction import merge_neighbours
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

# An entry has some 10 kB: rows that are read at once, and the bounds of merging (`compaction`).
_GROUP_ROWS, _SMALL_ROWS, _MOST_ROWS = 256, 500, 5_000

ANSWERS = pa.schema(
    [
        pa.field("k", pa.int64(), nullable=False),
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("as_of", pa.int64(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("s", pa.int64(), nullable=False),
        pa.field("placement", pa.string()),
        pa.field("persona", pa.string(), nullable=False),
        pa.field("bundle_id", pa.string(), nullable=False),
        pa.field("learner_version", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("ids", pa.list_(pa.string()), nullable=False),
        pa.field("positions", pa.list_(pa.int32()), nullable=False),
        pa.field("scores", pa.list_(pa.float64()), nullable=False),
        pa.field("propensities", pa.list_(pa.float64()), nullable=False),
        pa.field("entry", pa.binary(), nullable=False),
    ]
)
# What stands of an entry that cannot be read: its bytes are kept, for whoever wants to know what happened.
_UNREADABLE = Served("", "", 0, 0, 0, "", 0, ())


class JournalArchive:
    """Readers and writers of the journal in an archive directory of so many partitions."""

    def __init__(self, path: Path, partitions: int) -> None:
        self.path = path
        self.partitions = partitions
        self._archive = Archive(path, partitions)

    def append(self, partition: int, epoch: int, entries: Sequence[tuple[int, bytes]]) -> Path:
        """Write (k, entry) of one partition, in log order, as one file; durable when this returns."""
        self._archive.agree_on_partitions()
        first, last = entries[0][0], entries[-1][0]
        return write_log_file(self._folder(partition), epoch, first, last, to_table(entries), _GROUP_ROWS)

    def read(self, partition: int, after: int = -1, upto: int = 2**63 - 1) -> Iterator[tuple[int, bytes]]:
        """(k, entry) of a partition's answers with after < k <= upto, in the order of the log, a few at a time.

        Raises Altered for a row whose columns are not its entry's, BadInput if the archive has another number of
        partitions.
        """
        while True:
            page = despite_merging(partial(self._page, partition, after, upto))
            if page is None:
                return
            yield from _checked(page, self._folder(partition))
            after = page["k"][-1].as_py()

    def covered_until(self, partition: int) -> int:
        """The admission instant of the last answer that is durable here, or 0."""
        found = self._stretches(partition)
        return found[-1].last if found else 0

    def files(self, partition: int) -> list[Path]:
        """The files that a reader of the partition opens."""
        return [stretch.path for stretch in self._stretches(partition)]

    def create_view(self, connection: "duckdb.DuckDBPyConnection", name: str = "journal") -> None:
        """Make the journal readable in DuckDB as the view `name` with the columns of `ANSWERS`."""
        found = [stretch for number in range(self.partitions) for stretch in self._stretches(number)]
        sources = [
            "FROM read_parquet('{}', hive_partitioning = false) WHERE k > {}".format(
                str(stretch.path).replace("'", "''"), stretch.after
            )
            for stretch in found
        ]
        if not sources:
            connection.register(f"{name}_empty", ANSWERS.empty_table())
            sources = [f"FROM {name}_empty"]
        columns = ", ".join(f'"{column}"' for column in ANSWERS.names)
        selects = " UNION ALL ".join(f"SELECT {columns} {source}" for source in sources)
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {selects}")

    def compact(self, partition: int, epoch: int) -> int:
        """Merge small files; how many have become superfluous. For who holds the partition's lease."""
        return merge_neighbours(
            self._folder(partition), epoch, small=_SMALL_ROWS, most=_MOST_ROWS, group_rows=_GROUP_ROWS
        )

    def superfluous(self, partition: int) -> set[Path]:
        """Files that a reader who begins now does not open; one that began before may."""
        return superfluous(self._folder(partition))

    def _page(self, partition: int, after: int, upto: int) -> pa.Table | None:
        """The next rows, some of them, or None if there are none."""
        for stretch in self._stretches(partition):
            if stretch.last > after and stretch.first <= upto:
                for table in rows_between(stretch.path, max(after, stretch.after), upto):
                    if table.num_rows:
                        return table
        return None

    def _stretches(self, partition: int) -> list[Stretch]:
        self._archive.refuse_other_bucketing()
        return stretches(log_files(self._folder(partition)))

    def _folder(self, partition: int) -> Path:
        return self.path / "journal" / f"p={partition:03d}"


def to_table(entries: Sequence[tuple[int, bytes]]) -> pa.Table:
    """Entries with their k as a table of the journal's schema."""
    return pa.Table.from_pylist([_row(k, data) for k, data in entries], schema=ANSWERS)


def _row(k: int, data: bytes) -> dict[str, Any]:
    try:
        entry = decode(data)
    except msgspec.DecodeError:
        entry = _UNREADABLE
    shown = entry.shown
    return {
        "k": k, "request_id": entry.request_id, "user_id": entry.user_id, "as_of": entry.as_of,
        "offset": entry.offset, "s": entry.s, "placement": entry.placement, "persona": entry.persona,
        "bundle_id": entry.bundle_id, "learner_version": entry.learner_version,
        "kind": shown[0].kind if shown else "", "ids": [each.id for each in shown],
        "positions": list(range(1, len(shown) + 1)), "scores": [each.score for each in shown],
        "propensities": np.frombuffer(entry.propensities[: len(entry.propensities) // 8 * 8], "<f8").tolist(),
        "entry": data,
    }  # fmt: skip


def _checked(table: pa.Table, folder: Path) -> Iterator[tuple[int, bytes]]:
    for row in table.to_pylist():
        wanted = _row(row["k"], row["entry"])
        wrong = [name for name in ANSWERS.names if _differ(row[name], wanted[name])]
        if wrong:
            raise Altered(
                f"a row of {folder} (k = {row['k']}) has been changed since it was written: its {wrong[0]} is not its "
                "entry's"
            )
        yield row["k"], row["entry"]


def _differ(one: object, other: object) -> bool:
    # As text, so that NaN is itself.
    return one != other and repr(one) != repr(other)

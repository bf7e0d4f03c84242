"""The files of one view's change-point table: written beside, then named all at once by a manifest that is replaced.

What `deployment.table_manifest` describes is kept here: a run stages its files in the view's directory, flushes them,
and replaces the manifest last. Killed at any instant, a run leaves the former manifest with all its files; what it had
staged is swept away by the next. Files of the manifest before the current one stay for readers who hold it still.
"""

import fcntl
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from behavior.errors import BadInput, Unavailable
from behavior.plan import View
from deployment.durable import flush
from deployment.table_manifest import Manifest, Part, TableFile, read_manifest, write_manifest

# A retrieval opens every part; more of them are merged.
MOST_PARTS = 16
# Entities are looked up one by one or all in order, never by a scan for one value: groups may be large.
_ROW_GROUP_SIZE = 122_880
# Level 1 takes half the time of the default and a tenth more room.
PARQUET = f"FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {_ROW_GROUP_SIZE}"
_SPILL = ".spill-"


@contextmanager
def alone_with(tables: Path) -> Iterator[Path]:
    """Hold off other backfills into the directory, which is made if need be; gives a directory to spill into.

    The lock dies with the process. Raises Unavailable if another backfill holds it.
    """
    tables.mkdir(parents=True, exist_ok=True)
    with (tables / ".backfill.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another backfill into {tables} is running; try again when it is done") from None
        for left_behind in tables.glob(f"{_SPILL}*"):
            shutil.rmtree(left_behind, ignore_errors=True)
        spill = tables / f"{_SPILL}{uuid.uuid4().hex}"
        spill.mkdir()
        try:
            yield spill
        finally:
            shutil.rmtree(spill, ignore_errors=True)


class ViewFiles:
    """The directory of one view, for who is alone with the tables."""

    def __init__(self, tables: Path, view: View) -> None:
        self.tables = tables
        self.view = view
        self.directory = tables / view.name

    def manifest(self) -> Manifest | None:
        """The manifest; None if there is none, if it is of another version or if a file of it is gone."""
        with suppress(BadInput):
            found = read_manifest(self.tables, self.view.name)
            if found is not None and all((self.directory / file).is_file() for file in found.files):
                return found
        return None

    def sweep(self, manifest: Manifest | None) -> None:
        """Remove what neither this manifest nor the one before it names."""
        named = set() if manifest is None else {*manifest.files, *manifest.former}
        for path in self.directory.iterdir() if self.directory.is_dir() else ():
            if path.name.startswith(".staging-"):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(("part-", "tail-", "carry-")) and path.name not in named:
                path.unlink()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A directory beside the files, on the same disk, that is gone afterwards."""
        staging = self.directory / f".staging-{uuid.uuid4().hex}"
        staging.mkdir(parents=True)
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def take(self, staged: Path, kind: str, upto: int) -> TableFile:
        """Give a finished file its name in the directory; on disk when this returns, but for the name."""
        file = f"{kind}-{upto}-{uuid.uuid4().hex[:12]}.parquet"
        flush(staged)
        staged.rename(self.directory / file)
        return TableFile(file, pq.read_metadata(self.directory / file).num_rows)

    def commit(self, manifest: Manifest) -> None:
        """Make the manifest the current one."""
        flush(self.directory)
        flush(self.tables)  # where the directory may be new
        write_manifest(self.tables, manifest)

    def merged(self, connection: duckdb.DuckDBPyConnection, parts: Sequence[Part]) -> tuple[Part, ...]:
        """The parts, neighbours merged until there are few enough: always the two that have the fewest rows."""
        groups = [[part] for part in parts]
        while len(groups) > MOST_PARTS:
            rows = [sum(part.rows for part in group) for group in groups]
            place = min(range(len(groups) - 1), key=lambda place: rows[place] + rows[place + 1])
            groups[place : place + 2] = [groups[place] + groups[place + 1]]
        return tuple(group[0] if len(group) == 1 else self._merge(connection, group) for group in groups)

    def _merge(self, connection: duckdb.DuckDBPyConnection, group: Sequence[Part]) -> Part:
        with self.staging() as staging:
            source = parquet([self.directory / each.file for part in group for each in part.files])
            connection.execute(f"COPY (FROM {source}) TO {quoted(staging / 'merged')} ({PARQUET})")
            taken = self.take(staging / "merged", "part", group[-1].upto)
        return Part((taken,), group[0].after, group[-1].upto)


def parquet(files: Sequence[Path]) -> str:
    """Parquet files as a relation in DuckDB."""
    return f"read_parquet([{', '.join(quoted(file) for file in files)}], hive_partitioning = false)"


def quoted(path: Path) -> str:
    """A path as a literal."""
    return "'" + str(path).replace("'", "''") + "'"

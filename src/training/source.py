"""Data files of any shape as one DuckDB table of texts: what importing and the catalogue both start from.

The table has the columns `file` (which of the files), `line` (of the physical file, from 1; for Parquet the row, from
1), `position` (within an unnested list, from 1), `digest` (of the whole raw record, if asked for) and `c0, c1, ...`:
the wanted columns as VARCHAR, absent values null. All later conversions read texts: a value means the same in every
format.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from behavior.errors import BadInput, OpportuneError
from deployment.database import connected
from training.mapping_form import EPOCH_UNITS_US, FileMapping, nearest
from training.records import BlankSeparated, Chunk, CsvFile, JsonFile, TextFile

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is done, out of how much

_FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_FLOATS = ("DOUBLE", "FLOAT")
_SPILL = ".import-spill-"  # not `.spill-`: that is the backfill's, which holds no lock of imports
_POSITION = '"#position"'  # beside the file's own columns, which may have any name


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that was refused: which file, line and position, and why; never its content."""

    reason: str
    file: str
    line: int
    position: int | None
    field: str
    detail: str


@dataclass(slots=True)
class Records:
    """The table `table` of a connection, its wanted columns by name, and the records that could not be read."""

    table: str
    columns: dict[str, str]
    unreadable: list[Rejected] = field(default_factory=list)


@contextmanager
def connect(files: Sequence[Path], home: Path, memory_limit: str, threads: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that can read nothing but these files and what is in `home`, cannot be told otherwise, and spills to a
    private folder in `home`, which goes when it is closed.

    The caller holds the lock of imports into `home`: spills that are found there are of imports that were killed, and
    hold raw ids, so they are removed first.
    """
    for left in home.glob(f"{_SPILL}*"):
        shutil.rmtree(left, ignore_errors=True)
    with (
        _private(home.resolve() / f"{_SPILL}{os.getpid()}-{uuid.uuid4().hex}") as spill,
        connected() as connection,
    ):
        connection.execute(f"SET memory_limit = {quoted(memory_limit)}")
        connection.execute(f"SET threads = {int(threads)}")
        connection.execute(f"SET temp_directory = {quoted(str(spill))}")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(f"SET allowed_paths = [{', '.join(quoted(str(path.resolve())) for path in files)}]")
        connection.execute(f"SET allowed_directories = [{quoted(str(home.resolve()))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            yield connection
        except duckdb.OutOfMemoryException:
            raise OpportuneError(f"the import needs more than {memory_limit} of memory; allow it more") from None


@contextmanager
def _private(folder: Path) -> Iterator[Path]:
    """A new folder that nobody else may open, removed at the end with all that is in it."""
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def quoted(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def load(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    files: Sequence[Path],
    mapping: FileMapping,
    names: Sequence[str],
    *,
    unnest: str | None = None,
    times: Sequence[str] = (),
    digest: bool = False,
    progress: Progress | None = None,
) -> Records:
    """Read the columns `names` of all `files` into the new table `table`; `times` are those that hold timestamps.

    Raises BadInput for a file that is missing, empty, of unknown format or lacks a column.
    """
    records = Records(table, {name: f"c{index}" for index, name in enumerate(names)})
    columns = "".join(f", {column} VARCHAR" for column in records.columns.values())
    connection.execute(
        f"CREATE TEMP TABLE {table} (file INTEGER, line BIGINT, position BIGINT, digest VARCHAR{columns})"
    )
    opened = [_open(connection, file, mapping, names, unnest, times) for file in files]
    total = sum(file.stat().st_size for file in files)
    done = 0
    for index, (path, reader) in enumerate(zip(files, opened, strict=True)):
        if isinstance(reader, _ParquetFile):
            reader.insert(connection, table, index, digest)
        else:
            before = done
            for chunk in reader.read(names, digest=digest):
                _insert(connection, records, index, path, chunk, mapping.null_values)
                done = min(done + chunk.bytes_read, before + path.stat().st_size)
                if progress:
                    progress("read", done, total)
            done = before
            if isinstance(reader, JsonFile):
                _refuse_missing_members(connection, table, index, reader)
        done += path.stat().st_size
        if progress:
            progress("read", done, total)
    _refuse_empty(connection, records, files)
    return records


@dataclass(frozen=True, slots=True)
class _ParquetFile:
    """A Parquet file: SQL that yields its records, and SQL that makes a text of each wanted column."""

    path: Path
    source: str
    texts: tuple[str, ...]
    everything: str

    def insert(self, connection: duckdb.DuckDBPyConnection, table: str, index: int, digest: bool) -> None:
        """Append all rows to `table`."""
        made = f"sha256({self.everything})" if digest else "NULL"
        texts = "".join(f", {text}" for text in self.texts)
        try:
            connection.execute(
                f"INSERT INTO {table} SELECT {index}, file_row_number + 1, {_POSITION}, {made}{texts} "
                f"FROM ({self.source})"
            )
        except (duckdb.InterruptException, duckdb.OutOfMemoryException):
            raise
        except duckdb.Error as error:
            raise BadInput(f"{self.path} cannot be read as Parquet: {type(error).__name__}") from None


def check(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[Path],
    mapping: FileMapping,
    names: Sequence[str],
    *,
    unnest: str | None = None,
    times: Sequence[str] = (),
) -> None:
    """Raise what `load` would raise before it reads the first record."""
    for file in files:
        _open(connection, file, mapping, names, unnest, times)


def _open(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    mapping: FileMapping,
    names: Sequence[str],
    unnest: str | None,
    times: Sequence[str],
) -> CsvFile | JsonFile | _ParquetFile:
    if not path.is_file():
        raise BadInput(f"there is no file {path}")
    if path.stat().st_size == 0:
        raise BadInput(f"{path} is empty")
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    form = mapping.format or _FORMATS.get(suffixes[-1] if suffixes else "")
    if form is None:
        raise BadInput(f"{path}: its format cannot be told from its name; set `format` in the mapping")
    if form == "parquet":
        return _open_parquet(connection, path, mapping, names, unnest, times)
    text = TextFile(path, mapping.encoding)
    if form == "jsonl":
        return JsonFile(text, unnest)
    if unnest is not None:
        raise BadInput(f"{path}: unnest = {unnest!r} needs JSON lines or Parquet, not CSV")
    delimiter = mapping.delimiter or ("\t" if suffixes and suffixes[-1] == ".tsv" else ",")
    if delimiter == "blanks":
        text, delimiter = BlankSeparated(path, mapping.encoding), "\t"
    reader = CsvFile.open(text, delimiter)
    for name in names:
        _refuse_missing(path, name, reader.names)
    return reader


def _open_parquet(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    mapping: FileMapping,
    names: Sequence[str],
    unnest: str | None,
    times: Sequence[str],
) -> _ParquetFile:
    file = quoted(str(path.resolve()))
    source = f"SELECT *, NULL::BIGINT AS {_POSITION} FROM read_parquet({file}, file_row_number = true)"
    try:
        present = [row[0] for row in connection.execute(f"DESCRIBE {source}").fetchall()]
        if unnest is not None:
            _refuse_missing(path, unnest, present)
            column = identifier(unnest)
            source = (
                f"SELECT * EXCLUDE ({_POSITION}) REPLACE (unnest({column}) AS {column}), "
                f"generate_subscripts({column}, 1) AS {_POSITION} FROM "
                f"(SELECT * REPLACE (coalesce({column}, [NULL]) AS {column}) FROM ({source}))"
            )
        types = {name: _parquet_type(connection, path, source, name, present) for name in names}
    except duckdb.Error as error:
        raise BadInput(f"{path} cannot be read as Parquet: {type(error).__name__}") from None
    for name in times:
        _refuse_time(path, name, types[name], mapping.timestamps_in)
    own = sorted(set(present) - {"file_row_number", _POSITION.strip('"')})
    everything = ", ".join(f"coalesce({identifier(name)}::VARCHAR, chr(0)), chr(31)" for name in own)
    texts = tuple(_normal(_as_text(reached, kind), mapping.null_values) for reached, kind in types.values())
    return _ParquetFile(path, source, texts, f"concat({everything})")


def _parquet_type(
    connection: duckdb.DuckDBPyConnection, path: Path, source: str, name: str, present: Sequence[str]
) -> tuple[str, str]:
    """SQL that reaches the column `name`, through struct members if it has dots, and its DuckDB type."""
    head, *members = [name] if name in present else name.split(".")
    _refuse_missing(path, head, present)
    reached = identifier(head)
    for member in members:
        reached = f"struct_extract({reached}, {quoted(member)})"
    try:
        kind = connection.execute(f"DESCRIBE SELECT {reached} AS reached FROM ({source})").fetchall()[0][1]
    except duckdb.Error:
        raise BadInput(f"{path} has no column {name!r}; {head!r} has no such member") from None
    return reached, str(kind)


def _as_text(reached: str, kind: str) -> str:
    """SQL for a Parquet value as text: whole floats without their `.0`, so that ids stay ids; NaN is absent."""
    if kind not in _FLOATS:
        return f"{reached}::VARCHAR"
    return (
        f"CASE WHEN isnan({reached}) THEN NULL WHEN abs({reached}) < 9e15 AND {reached} = trunc({reached}) "
        f"THEN {reached}::BIGINT::VARCHAR ELSE {reached}::VARCHAR END"
    )


def _normal(text: str, null_values: Sequence[str]) -> str:
    """SQL for a text with the absent ones turned into null."""
    return f"CASE WHEN {text} IN ({', '.join(quoted(value) for value in ('', *null_values))}) THEN NULL ELSE {text} END"


def _insert(
    connection: duckdb.DuckDBPyConnection,
    records: Records,
    index: int,
    path: Path,
    chunk: Chunk,
    null_values: Sequence[str],
) -> None:
    records.unreadable.extend(
        Rejected("unreadable", str(path), line, position, "", wrong) for line, position, wrong in chunk.unreadable
    )
    if not chunk.lines:
        return
    digests: Sequence[str | None] = chunk.digests or [None] * len(chunk.lines)
    arrays = [pa.array(chunk.lines, pa.int64()), pa.array(chunk.positions, pa.int64()), pa.array(digests, pa.string())]
    arrays += [pa.array(column, pa.string()) for column in chunk.columns]
    names = ["line", "position", "digest", *records.columns.values()]
    connection.register("chunk", pa.Table.from_arrays(arrays, names=names))
    texts = "".join(f", {_normal(column, null_values)}" for column in records.columns.values())
    connection.execute(f"INSERT INTO {records.table} SELECT {index}, line, position, digest{texts} FROM chunk")
    connection.unregister("chunk")


def _refuse_empty(connection: duckdb.DuckDBPyConnection, records: Records, files: Sequence[Path]) -> None:
    filled = {files[row[0]] for row in connection.execute(f"SELECT DISTINCT file FROM {records.table}").fetchall()}
    filled |= {Path(rejected.file) for rejected in records.unreadable}
    for path in files:
        if path not in filled:
            raise BadInput(f"{path} is empty: it holds no records")


def _refuse_missing(path: Path, name: str, present: Sequence[str]) -> None:
    if name not in present:
        raise BadInput(f"{path} has no column {name!r}{nearest(name, present)}")


def _refuse_missing_members(connection: duckdb.DuckDBPyConnection, table: str, index: int, reader: JsonFile) -> None:
    """Refuse a column that no object of the file has, unless no record could be read at all."""
    row = connection.execute(f"SELECT count(*) FROM {table} WHERE file = {index}").fetchone()
    if reader.missing and row and row[0]:
        name = min(reader.missing)
        raise BadInput(f"{reader.file.path} has no column {name!r} on any line{nearest(name, reader.met)}")


def _refuse_time(path: Path, name: str, reached: tuple[str, str], timestamps_in: str | None) -> None:
    """Refuse to read instants as local times and local times as instants."""
    kind = reached[1]
    if kind == "TIMESTAMP WITH TIME ZONE" and timestamps_in != "offset":
        raise BadInput(f'{path}: {name!r} holds instants already; set timestamps_in = "offset"')
    naive = kind.startswith(("TIMESTAMP", "DATE")) and kind != "TIMESTAMP WITH TIME ZONE"
    if naive and (timestamps_in == "offset" or timestamps_in in EPOCH_UNITS_US):
        raise BadInput(f"{path}: {name!r} holds times without offset; set timestamps_in to their IANA zone")

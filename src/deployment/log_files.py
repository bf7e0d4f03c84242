"""The archive's files of the log: their names say which stretch each holds, and what a reader takes of each.

    p=NNN/<epoch>-<first>-<last>.parquet

A file is a complete copy of the log's events with first <= k <= last, written under the lease that `epoch` numbers, and
never changed. Files may overlap: a writer that slept through the end of its lease repeats what its successor wrote, and
a merged file repeats what it was merged from. A reader goes through them by first instant, the longest of equals ahead,
and takes from each what lies beyond all before: so every event comes once, in the order of the log.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deployment.durable import flush

_NAME = re.compile(r"(\d{6,})-(\d{20})-(\d{20})\.parquet")
_UNFINISHED = re.compile(r"\.\d{6,}-\d{20}-\d{20}\.parquet\.[0-9a-f]{32}")
# A reader that fell behind takes one group of rows at a time; larger ones would compress a little better.
GROUP_ROWS = 8_192
# How often a reader begins anew because files were merged and removed under its hands.
_ATTEMPTS = 5
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of a partition: who wrote it, and the admission instants of its first and last event (µs)."""

    path: Path
    epoch: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a reader takes of a file: its events with k > `after`, up to `last`."""

    path: Path
    first: int
    last: int
    after: int

    @property
    def whole(self) -> bool:
        """Whether that is all of the file."""
        return self.after < self.first


def log_files(folder: Path) -> list[LogFile]:
    """The finished files of one partition, in the order in which they are read."""
    found = [_parsed(folder, name) for name in _names(folder) if _NAME.fullmatch(name)]
    return sorted(found, key=lambda file: (file.first, -file.last, file.epoch))


def stretches(files: Iterable[LogFile]) -> list[Stretch]:
    """What is taken of each file, given in reading order; files that add nothing are left out.

    >>> stretches([LogFile(Path("a"), 1, 10, 20), LogFile(Path("b"), 2, 10, 15), LogFile(Path("c"), 2, 16, 30)])
    ... # doctest: +ELLIPSIS
    [Stretch(path=...('a'), first=10, last=20, after=-1), Stretch(path=...('c'), first=16, last=30, after=20)]
    """
    taken: list[Stretch] = []
    reached = -1
    for file in files:
        if file.last > reached:
            taken.append(Stretch(file.path, file.first, file.last, reached))
            reached = file.last
    return taken


def write_log_file(
    folder: Path, epoch: int, first: int, last: int, table: pa.Table, group_rows: int = GROUP_ROWS
) -> Path:
    """Write a complete copy of [first, last] as one file; durable when this returns, and never half there."""
    _make(folder)
    target = folder / f"{epoch:06d}-{first:020d}-{last:020d}.parquet"
    staging = folder / f".{target.name}.{uuid.uuid4().hex}"
    try:
        pq.write_table(table, staging, compression="zstd", row_group_size=group_rows)
        flush(staging)
        staging.rename(target)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    flush(folder)
    return target


def rows_between(path: Path, after: int, upto: int) -> Iterator[pa.Table]:
    """The rows of a log file with after < k <= upto, one group of rows at a time, opening only those that have any."""
    file = pq.ParquetFile(path)
    place = file.schema_arrow.get_field_index("k")
    for number in range(file.num_row_groups):
        bounds = file.metadata.row_group(number).column(place).statistics
        if bounds is None or (bounds.max > after and bounds.min <= upto):
            table = file.read_row_group(number)
            k = table["k"]
            yield table.filter(pc.and_(pc.greater(k, after), pc.less_equal(k, upto)))


def despite_merging(read: Callable[[], _T]) -> _T:
    """What `read` gives; anew if a file was merged into another and removed between being listed and being opened."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(FileNotFoundError):
            return read()
    return read()


def superfluous(folder: Path) -> set[Path]:
    """Files that no reader who lists the folder now would open: covered by others, or never finished.

    Somebody who listed it before may still read them, and a writer may still be at work.
    """
    files = log_files(folder)
    needed = {stretch.path for stretch in stretches(files)}
    unfinished = {folder / name for name in _names(folder) if _UNFINISHED.fullmatch(name)}
    return unfinished | {file.path for file in files if file.path not in needed}


def _names(folder: Path) -> list[str]:
    try:
        return [found.name for found in folder.iterdir()]
    except FileNotFoundError:
        return []


def _make(folder: Path) -> None:
    """The folder, with its name on disk: else a power cut may keep a file and lose the way to it."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        flush(folder.parent)
        flush(folder.parent.parent)


def _parsed(folder: Path, name: str) -> LogFile:
    epoch, first, last = name.removesuffix(".parquet").split("-")
    return LogFile(folder / name, int(epoch), int(first), int(last))

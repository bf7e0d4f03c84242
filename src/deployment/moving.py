"""The archive with another number of partitions: every event into the partition that its user belongs to then.

    <archive>.moving     being written; with a file `complete` once it is
    <archive>.before-64  what it was made from, kept until somebody deletes it

What came through the log stands in the new archive as one import: its instants k and e are what they were, and the log
goes on behind them. `archive.json` remembers when the log began, since history must not be imported behind that.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from behavior.errors import BadInput, OpportuneError, Unavailable
from behavior.partition import partition_of
from deployment.archive import EVENTS, Archive
from deployment.database import connected
from deployment.durable import flush

_COMPLETE = "complete"
_ROWS_AT_ONCE = 100_000


@contextmanager
def alone(archive: Archive) -> Iterator[None]:
    """Hold off other moves of the archive; dies with the process. Raises Unavailable if another one is under way."""
    with _beside(archive.path, "moving.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"the archive {archive.path} is being moved already; wait for that") from None
        yield


def discard_unfinished(archive: Archive) -> None:
    """Remove a copy that is not complete, of a move that was cut off; only for who holds `alone`."""
    target = _beside(archive.path, "moving")
    if not (target / _COMPLETE).exists():
        shutil.rmtree(target, ignore_errors=True)


def check_room(archive: Archive) -> None:
    """Raise BadInput if the name is taken under which the archive is to be kept once it was moved."""
    kept = _kept(archive)
    if archive.path.exists() and kept.exists():
        raise BadInput(f"{kept} is there already, from a move before; delete or rename it, then move again")


def moved_archive(archive: Archive, partitions: int, *, memory_limit: str) -> Archive:
    """A complete copy of the archive with so many partitions, beside it; `put_in_place` lets it take its place.

    A copy that is complete already is used as it is: nothing may come through the log in between.
    """
    target = _beside(archive.path, "moving")
    copy = Archive(target, partitions)
    if (target / _COMPLETE).exists():
        copy.agree_on_partitions()
        return copy
    if target.exists():
        raise BadInput(f"{target} is there and not complete, from a move that was cut off; delete it and move again")
    target.mkdir(parents=True)
    began = [first for number in range(archive.partitions) if (first := archive.log_began(number)) is not None]
    marker = {"format": 1, "partitions": partitions} | ({"log_began": min(began)} if began else {})
    (target / "archive.json").write_text(json.dumps(marker), encoding="utf-8")
    with (
        copy.staged_import(f"moved-from-{archive.partitions}") as staging,
        connected(memory_limit=memory_limit, spill=str(target / ".spill")) as connection,
    ):
        archive.create_view(connection)
        _write(connection, partitions, staging)
    shutil.rmtree(target / ".spill", ignore_errors=True)
    (target / _COMPLETE).touch()
    flush(target / _COMPLETE)
    flush(target)
    return copy


def put_in_place(archive: Archive, partitions: int) -> None:
    """Let the complete copy take the archive's place; what was there is kept under another name.

    Cut off at any point, it goes on when it is called again; when all is done it changes nothing.
    """
    target = _beside(archive.path, "moving")
    if (target / _COMPLETE).exists():
        check_room(archive)
        if archive.path.exists():
            archive.path.rename(_kept(archive))
        target.rename(archive.path)
    elif not _is_in_place(archive):
        raise OpportuneError(f"{target} is not complete; move again")
    (archive.path / _COMPLETE).unlink(missing_ok=True)
    flush(archive.path.parent)


def _kept(archive: Archive) -> Path:
    return _beside(archive.path, f"before-{archive.partitions}")


def _is_in_place(archive: Archive) -> bool:
    """Whether what stands in the archive's place has another number of partitions: the copy."""
    marker = archive.path / "archive.json"
    return marker.exists() and json.loads(marker.read_text(encoding="utf-8"))["partitions"] != archive.partitions


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}.{what}")


def _write(connection: duckdb.DuckDBPyConnection, partitions: int, staging: Path) -> None:
    """One file per partition, in the order of (k, message id)."""
    users = [row[0] for row in connection.execute("SELECT DISTINCT user_id FROM events").fetchall()]
    homes = pa.table({"user_id": pa.array(users, pa.string()), "p": [partition_of(user, partitions) for user in users]})
    connection.register("homes", homes)
    columns = ", ".join(f"events.{name}" for name in EVENTS.names)
    for number in sorted(set(homes["p"].to_pylist())):
        reader = connection.execute(
            f"SELECT {columns} FROM events JOIN homes USING (user_id) WHERE homes.p = {number} ORDER BY k, message_id"
        ).to_arrow_reader(_ROWS_AT_ONCE)
        # Not DuckDB's COPY, which forgets what is never null: such files do not go together with those of the log.
        with pq.ParquetWriter(staging / f"p={number:03d}.parquet", EVENTS, compression="zstd") as writer:
            for batch in reader:
                writer.write_table(pa.Table.from_batches([batch]).cast(EVENTS))

"""The archive: what was admitted comes back, whole files or none, one bucketing."""

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior.errors import BadInput
from behavior.event import Admitted, Event, admit
from deployment.archive import EVENTS, Archive, to_events, to_table
from deployment.compaction import merge_neighbours
from deployment.log_files import log_files

text = st.text(max_size=8)
maybe = st.none() | text
int64 = st.integers(-(2**63), 2**63 - 1)
any_event = st.builds(
    Event, message_id=text, kind=text, user_id=text, client_time=int64, anonymous_id=maybe, item=maybe, category=maybe,
    value=st.none() | int64, currency=maybe, quantity=st.none() | int64, order_id=maybe, session_id=maybe,
    request_id=maybe, placement=maybe, utc_offset_s=st.none() | st.integers(-64_800, 64_800), device=maybe,
    page=maybe, source=maybe, properties=st.dictionaries(text, int64 | text, max_size=3), purposes=st.integers(0, 7),
)  # fmt: skip
admitted_events = st.builds(admit, any_event, int64)
logged_events = st.builds(admit, any_event, st.integers(0, 2**63 - 1))


def event(number: int, k: int, user: str = "k1-a", **parts: Any) -> Admitted:
    return admit(Event(f"m{number}", "purchase", user, k - 1, purposes=1, **parts), k)


def write_import(archive: Archive, batch: str, partition: int, events: Sequence[Admitted]) -> None:
    with archive.staged_import(batch) as staging:
        pq.write_table(to_table(events), staging / f"p={partition:03d}.parquet")


def everything(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


@settings(deadline=None)
@given(st.lists(admitted_events, max_size=5))
def test_a_table_gives_back_the_events(events: list[Admitted]) -> None:
    """Every part of every event and both its times survive the table, absent parts and NULs included, in order."""
    table = to_table(events)
    assert table.schema.equals(EVENTS)
    assert list(to_events(table)) == events


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(logged_events, min_size=1, max_size=5, unique_by=lambda a: a.k))
def test_a_file_gives_back_the_events(tmp_path_factory: pytest.TempPathFactory, events: list[Admitted]) -> None:
    """What the log took is in the archive, equal to the last bit and in the order of admission."""
    archive = Archive(tmp_path_factory.mktemp("archive"), 4)
    logged = sorted(events, key=lambda a: a.k)
    archive.append_log(1, 1, logged)
    assert list(to_events(archive.read(1))) == logged


def test_reading_is_ordered_across_files_and_ties(tmp_path: Path) -> None:
    """Imports and log files come back as one sequence by (k, message id), whatever file each is in."""
    archive = Archive(tmp_path / "archive", 4)
    history = [event(9, 5), event(3, 5), event(4, 2)]
    write_import(archive, "one", 1, history)
    write_import(archive, "two", 1, [event(5, 5), event(1, 1)])
    archive.append_log(1, 1, [event(7, 10), event(8, 11)])
    archive.append_log(1, 2, [event(2, 12)])
    found = [(a.k, a.event.message_id) for a in to_events(archive.read(1))]
    assert found == [(1, "m1"), (2, "m4"), (5, "m3"), (5, "m5"), (5, "m9"), (10, "m7"), (11, "m8"), (12, "m2")]


def test_until_leaves_out_what_was_admitted_then_or_later(tmp_path: Path) -> None:
    """`until` is by admission, not event time, and its own instant is out."""
    archive = Archive(tmp_path / "archive", 4)
    archive.append_log(1, 1, [event(1, 10), event(2, 11), event(3, 12)])
    assert [[a.k for a in to_events(archive.read(1, until=t))] for t in (10, 11, 12, 13)] == [
        [],
        [10],
        [10, 11],
        [10, 11, 12],
    ]


def test_only_the_asked_columns_are_read(tmp_path: Path) -> None:
    """`columns` names what comes back, still in the order of (k, message id)."""
    archive = Archive(tmp_path / "archive", 4)
    write_import(archive, "one", 1, [event(3, 7, value=3), event(1, 7, value=1), event(2, 6, value=2)])
    found = archive.read(1, columns=["value"])
    assert found.to_pydict() == {"value": [2, 1, 3]}


def test_partitions_are_kept_apart(tmp_path: Path) -> None:
    """A partition's events are read from its own files; an empty one has the schema and no rows."""
    archive = Archive(tmp_path / "archive", 4)
    archive.append_log(1, 1, [event(1, 10)])
    archive.append_log(2, 1, [event(2, 10)])
    assert [a.event.message_id for a in to_events(archive.read(2))] == ["m2"]
    nothing = archive.read(3)
    assert nothing.num_rows == 0
    assert nothing.schema.equals(EVENTS)
    assert len(archive.files()) == 2
    assert len(archive.files(1)) == 1
    assert archive.files() == sorted(archive.files())


def test_the_names_of_the_log_files_are_the_offset(tmp_path: Path) -> None:
    """The logged span is the first and last k of the log, over epochs; imports do not count."""
    archive = Archive(tmp_path / "archive", 4)
    assert archive.logged_span(1) is None
    write_import(archive, "one", 1, [event(1, 5)])
    assert archive.logged_span(1) is None
    archive.append_log(1, 9, [event(2, 10), event(3, 11)])
    archive.append_log(1, 10, [event(4, 100), event(5, 10**15)])
    archive.append_log(2, 11, [event(6, 10**16, "k1-b")])
    assert archive.logged_span(1) == (10, 10**15)
    assert Archive(tmp_path / "archive", 4).logged_span(1) == (10, 10**15)


def test_an_import_appears_whole(tmp_path: Path) -> None:
    """Until the staging ends, nothing of it is seen by any reader; then all of it is."""
    archive = Archive(tmp_path / "archive", 4)
    with archive.staged_import("one") as staging:
        for partition in (0, 3):
            pq.write_table(to_table([event(partition, 5)]), staging / f"p={partition:03d}.parquet")
        assert archive.files() == []
        assert archive.read(3).num_rows == 0
    assert [archive.read(partition).num_rows for partition in range(4)] == [1, 0, 0, 1]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_an_import_that_fails_leaves_nothing(tmp_path: Path, failure: type[BaseException]) -> None:
    """An error or Ctrl-C within the staging leaves no file behind, and the same import can be tried again."""
    archive = Archive(tmp_path / "archive", 4)
    with pytest.raises(failure), archive.staged_import("one") as staging:
        pq.write_table(to_table([event(1, 5)]), staging / "p=001.parquet")
        raise failure
    assert [name for name in everything(tmp_path) if name.endswith(".parquet")] == []
    write_import(archive, "one", 1, [event(1, 5)])
    assert archive.read(1).num_rows == 1


def test_an_import_of_a_known_name_is_refused(tmp_path: Path) -> None:
    """A second import of the same name is refused by it, and the first stays as it was."""
    archive = Archive(tmp_path / "archive", 4)
    write_import(archive, "one", 1, [event(1, 5)])
    before = everything(tmp_path)
    with pytest.raises(BadInput, match="one"):
        write_import(archive, "one", 1, [event(2, 6)])
    assert everything(tmp_path) == before
    assert [a.event.message_id for a in to_events(archive.read(1))] == ["m1"]


def test_a_killed_import_is_never_read(tmp_path: Path) -> None:
    """What a process that was killed left in its staging is not part of the archive, for the reader and for DuckDB."""
    archive = Archive(tmp_path / "archive", 4)
    write_import(archive, "one", 1, [event(1, 5)])
    abandoned = archive.staged_import("two")
    staging = abandoned.__enter__()  # never left, as after kill -9
    pq.write_table(to_table([event(2, 6)]), staging / "p=001.parquet")
    again = Archive(tmp_path / "archive", 4)
    assert again.read(1).num_rows == 1
    assert len(again.files()) == 1
    with duckdb.connect() as connection:
        again.create_view(connection)
        assert connection.execute("SELECT count(*) FROM events").fetchall() == [(1,)]


def test_a_log_file_is_flushed_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written beside, flushed to disk, renamed, and its directory flushed: a file that has its name is durable."""
    done: list[str] = []

    def noted(name: str, original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            return original(*args, **kwargs)

        return call

    archive = Archive(tmp_path / "archive", 4)
    archive.append_log(1, 1, [event(1, 10)])
    monkeypatch.setattr(os, "fsync", noted("flush", os.fsync))
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, noted("rename", getattr(os, name)))
    archive.append_log(1, 1, [event(2, 11)])
    assert done.count("rename") == 1
    assert "flush" in done[: done.index("rename")]
    assert "flush" in done[done.index("rename") :]


def test_a_log_file_that_could_not_be_finished_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the process ends before the rename, neither the offset nor any reader knows of the file."""
    archive = Archive(tmp_path / "archive", 4)
    archive.append_log(1, 1, [event(1, 10)])

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, broken)
    with pytest.raises(OSError, match="no space"):
        archive.append_log(1, 1, [event(2, 11)])
    monkeypatch.undo()
    assert archive.logged_span(1) == (10, 10)
    assert len(archive.files()) == 1
    assert archive.read(1).num_rows == 1


def test_another_number_of_partitions_is_refused_by_every_writer(tmp_path: Path) -> None:
    """An archive bucketed by 4 takes no log file and no import of 8, and says both numbers."""
    Archive(tmp_path / "archive", 4).append_log(1, 1, [event(1, 10)])
    before = everything(tmp_path)
    other = Archive(tmp_path / "archive", 8)
    with pytest.raises(BadInput, match=r"4 partitions.*8"):
        other.agree_on_partitions()
    with pytest.raises(BadInput, match=r"4 partitions.*8"):
        other.append_log(1, 1, [event(2, 11)])
    with pytest.raises(BadInput, match=r"4 partitions.*8"):
        write_import(other, "one", 1, [event(2, 11)])
    assert everything(tmp_path) == before
    Archive(tmp_path / "archive", 4).agree_on_partitions()


def test_another_number_of_partitions_is_refused_by_readers_too(tmp_path: Path) -> None:
    """An archive that was bucketed by another number of partitions is refused for reading as well."""
    Archive(tmp_path / "archive", 4).append_log(1, 1, [event(1, 10)])
    with pytest.raises(BadInput, match=r"4 partitions.*8"):
        Archive(tmp_path / "archive", 8).read(1)


def test_duckdb_sees_the_whole_archive(tmp_path: Path) -> None:
    """The view has the columns of `EVENTS` and the rows of all partitions, also if empty and under odd paths."""
    for name in ("archive", "it's an archive", "a*b [c]"):
        archive = Archive(tmp_path / name, 4)
        with duckdb.connect() as connection:
            archive.create_view(connection)
            assert connection.execute("SELECT count(*) FROM events").fetchall() == [(0,)]
        write_import(archive, "one", 1, [event(1, 5, value=None)])
        archive.append_log(2, 1, [event(2, 10, value=3)])
        with duckdb.connect() as connection:
            archive.create_view(connection, "seen")
            assert connection.execute("SELECT message_id, e, k, value FROM seen ORDER BY k").fetchall() == [
                ("m1", 4, 5, None),
                ("m2", 9, 10, 3),
            ]
            described: list[tuple[Any, ...]] = connection.execute("DESCRIBE seen").fetchall()
            assert [row[0] for row in described] == EVENTS.names


def test_a_table_of_another_schema_is_told_by_its_names() -> None:
    """The schema is the contract: its names and types stand here, so that a change is seen."""
    texts = [
        "message_id",
        "kind",
        "user_id",
        "anonymous_id",
        "item",
        "category",
        "currency",
        "order_id",
        "session_id",
        "request_id",
        "placement",
        "device",
        "page",
        "source",
        "properties",
    ]
    numbers = ["e", "k", "client_time", "value", "quantity", "purposes"]
    assert {field.name for field in EVENTS if field.type == pa.string()} == set(texts)
    assert {field.name for field in EVENTS if field.type == pa.int64()} == set(numbers)
    assert {field.name for field in EVENTS} - set(texts) - set(numbers) == {"utc_offset_s"}


def test_an_import_is_flushed_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files and the names of the files in the staging directory are on disk before the batch gets its name."""
    flushed: list[tuple[str, bool]] = []
    target = tmp_path / "import" / "b1"
    monkeypatch.setattr("deployment.archive.flush", lambda path: flushed.append((path.name, target.exists())))
    archive = Archive(tmp_path, 4)
    with archive.staged_import("b1") as staging:
        pq.write_table(to_table([event(1, 1)]), staging / "p=000.parquet")
    before = [name for name, renamed in flushed if not renamed]
    assert before[-2:] == ["p=000.parquet", staging.name]
    assert ("import", True) in flushed


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"partitions": null}', "\0"])
def test_a_broken_marker_is_said_in_one_sentence(tmp_path: Path, content: str) -> None:
    """A marker that does not say the number of partitions is wrong input, to readers and to writers, not a defect."""
    (tmp_path / "archive.json").write_text(content)
    archive = Archive(tmp_path, 4)
    for attempt in (archive.files, archive.agree_on_partitions):
        with pytest.raises(BadInput, match=r"archive\.json does not say how many partitions"):
            attempt()


def test_the_marker_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails while the marker is written, the next writer is not kept from writing it."""
    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", lambda *_: pytest.fail("full"))
        patch.setattr(json, "dump", lambda *_: pytest.fail("full"))
        with pytest.raises(pytest.fail.Exception):
            Archive(tmp_path, 4).agree_on_partitions()
    assert everything(tmp_path) == []
    Archive(tmp_path, 4).agree_on_partitions()
    assert everything(tmp_path) == ["archive.json"]


def test_the_first_marker_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two writers that begin at once the first decides: the second neither overwrites nor ignores its marker."""
    link = os.link

    def late(source: Path, target: Path) -> None:
        target.write_text('{"format": 1, "partitions": 8}')
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(BadInput, match="has 8 partitions, the settings say 4"):
        Archive(tmp_path, 4).agree_on_partitions()
    assert everything(tmp_path) == ["archive.json"]


def test_what_killed_imports_staged_is_discarded(tmp_path: Path) -> None:
    """What an import staged that is no more goes; what is in the archive stays."""
    archive = Archive(tmp_path, 4)
    write_import(archive, "b1", 0, [event(1, 1)])
    (tmp_path / ".staging-dead").mkdir()
    (tmp_path / ".staging-dead" / "p=000.parquet").touch()
    archive.discard_unfinished()
    assert everything(tmp_path) == ["archive.json", "import/b1/p=000.parquet"]


# ------------------------------------------------------------------------------------------------ overlapping files


class Written:
    """A log of one partition, and archivers that write it: each reads on from its own place, also when superseded."""

    def __init__(self, archive: Archive, draw: random.Random) -> None:
        self.archive = archive
        self.folder = archive.path / "log" / "p=001"
        self.draw = draw
        self.log: list[Admitted] = []
        self.places = [0]  # how far the archiver of each epoch has come

    @property
    def epoch(self) -> int:
        """Of the archiver that owns the partition."""
        return len(self.places) - 1

    def append(self) -> None:
        """A few more events in the log."""
        k = self.log[-1].k if self.log else 0
        for _ in range(self.draw.randrange(1, 9)):
            k += self.draw.choice((1, 1, 7))
            self.log.append(event(k, k))

    def write(self, epoch: int) -> None:
        """A file of some of what an archiver has not written yet."""
        waiting = [each for each in self.log if each.k > self.places[epoch]]
        if waiting:
            part = waiting[: self.draw.randrange(1, len(waiting) + 1)]
            self.archive.append_log(1, epoch, part)
            self.places[epoch] = part[-1].k

    def step(self) -> None:
        """Whatever may happen next."""
        match self.draw.randrange(7):
            case 0 | 1:
                self.append()
                self.write(self.epoch)
            case 2:
                self.append()
                self.places.append(self.archive.covered_until(1))
            case 3 if self.epoch:
                self.write(self.epoch - 1)
            case 4:
                merge_neighbours(self.folder, self.epoch, small=self.draw.choice((1, 10)))
            case 5:
                merge_neighbours(self.folder, self.epoch, most=self.draw.choice((5, 30)))
            case 6:
                for path in self.archive.superfluous(1):
                    path.unlink()

    def archived(self) -> list[Admitted]:
        """What readers must get."""
        return [each for each in self.log if each.k <= self.archive.covered_until(1)]

    def incomplete(self) -> list[Path]:
        """Files that are no complete copy of what their names say."""
        return [
            file.path
            for file in log_files(self.folder)
            if pq.read_table(file.path, columns=["k"], partitioning=None)["k"].to_pylist()
            != [each.k for each in self.log if file.first <= each.k <= file.last]
        ]


@pytest.mark.parametrize("seed", range(8))
def test_all_readers_get_each_event_once_however_files_overlap(tmp_path: Path, seed: int) -> None:
    """Zombies, merging and removing in any order: `read`, DuckDB, `read_log` and the span agree with the log."""
    written = Written(Archive(tmp_path / "archive", 4), random.Random(seed))
    archive, draw = written.archive, written.draw
    write_import(archive, "one", 1, [event(1, 0), event(2, 0)])
    for _ in range(30):
        written.step()
        expected = written.archived()
        assert list(to_events(archive.read(1)))[2:] == expected
        assert written.incomplete() == []
        assert archive.logged_span(1) == ((expected[0].k, expected[-1].k) if expected else None)
        after, upto = sorted(draw.choices(range(written.log[-1].k + 2 if written.log else 2), k=2))
        wanted = [each for each in expected if after < each.k <= upto]
        assert archive.read_log(1, after, upto) == wanted
        assert archive.read_log(1, after, upto, 3) == wanted[:3]
        assert [a.k for a in to_events(archive.read(1, until=upto))][2:] == [a.k for a in expected if a.k < upto]
    with duckdb.connect() as connection:
        archive.create_view(connection)
        found = connection.execute("SELECT k, message_id FROM events WHERE k > 0 ORDER BY k, message_id").fetchall()
        assert found == [(each.k, each.event.message_id) for each in written.archived()]
        rows = sum(pq.read_metadata(file).num_rows for file in archive.files(1))
        assert rows >= len(found) + 2
    assert len(written.log) > 30


def test_files_that_add_nothing_are_not_opened(tmp_path: Path) -> None:
    """A file whose stretch others cover is left out of what readers open; the newest of two that overlap is cut."""
    archive = Archive(tmp_path / "archive", 4)
    log = [event(k, k) for k in range(1, 31)]
    for epoch, first, last in ((1, 1, 10), (2, 1, 20), (1, 11, 20), (3, 15, 30), (4, 16, 19)):
        archive.append_log(1, epoch, log[first - 1 : last])
    assert [path.name[:6] for path in archive.files(1)] == ["000002", "000003"]
    assert {path.name[:6] for path in archive.superfluous(1)} == {"000001", "000004"}
    assert [a.k for a in to_events(archive.read(1))] == list(range(1, 31))


def test_merging_writes_an_event_a_few_times_only(tmp_path: Path) -> None:
    """160 flushes end in few files, and what has been merged is merged again only with as much that is new."""
    archive = Archive(tmp_path / "archive", 4)
    folder = archive.path / "log" / "p=001"
    rows = 0
    for number in range(160):
        archive.append_log(1, 1, [event(number, number)])
        if number % 8 == 7:
            known = set(folder.iterdir())
            merge_neighbours(folder, 1, small=1)
            rows += sum(pq.read_metadata(path).num_rows for path in set(folder.iterdir()) - known)
            for path in archive.superfluous(1):
                path.unlink()
    assert len(archive.files(1)) <= 8
    assert rows < 160 * 7
    assert [a.k for a in to_events(archive.read(1))] == list(range(160))


def test_a_reader_goes_on_when_files_are_merged_under_its_hands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was listed and is gone when it is opened is no error: its events are in another one by then."""
    archive = Archive(tmp_path / "archive", 4)
    for k in range(1, 11):
        archive.append_log(1, 1, [event(k, k)])
    opened = pq.ParquetFile
    merged: list[int] = []

    def meanwhile(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name.startswith("000001-00000000000000000003") and not merged:
            merged.append(1)
            archive.compact(1, 2)
            for each in archive.superfluous(1):
                each.unlink()
        return opened(path, *args, **kwargs)

    for read in (lambda: to_events(archive.read(1)), lambda: archive.read_log(1, 0, 10)):
        merged.clear()
        for path in (archive.path / "log" / "p=001").iterdir():
            path.unlink()
        for k in range(1, 11):
            archive.append_log(1, 1, [event(k, k)])
        with monkeypatch.context() as patch:
            patch.setattr(pq, "ParquetFile", meanwhile)
            assert [a.k for a in read()] == list(range(1, 11))
        assert merged


def test_a_lagging_reader_opens_only_the_rows_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a large file only the groups of rows are read that have what is asked for."""
    archive = Archive(tmp_path / "archive", 4)
    archive.append_log(1, 1, [event(k, k) for k in range(1, 50_001)])
    groups: list[int] = []
    original = pq.ParquetFile.read_row_group

    def noted(self: pq.ParquetFile, number: int, *args: Any, **kwargs: Any) -> Any:
        groups.append(number)
        return original(self, number, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    assert [a.k for a in archive.read_log(1, 30_000, 30_010)] == list(range(30_001, 30_011))
    assert [a.k for a in archive.read_log(1, 10, 50_000, 100)] == list(range(11, 111))
    assert len(groups) == 2


def test_what_a_killed_archiver_left_is_superfluous(tmp_path: Path) -> None:
    """An unfinished file is never read, and is found to be removed."""
    archive = Archive(tmp_path / "archive", 4)
    finished = archive.append_log(1, 1, [event(1, 1)])
    unfinished = finished.with_name(f".{finished.name}.{'0' * 32}")
    unfinished.write_bytes(b"PAR1")
    assert archive.superfluous(1) == {unfinished}
    assert archive.files(1) == [finished]
    assert archive.superfluous(2) == set()


def test_a_new_folder_is_on_disk_before_its_files_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut must not lose the name of a partition's folder, with its files in it."""
    flushed: list[str] = []
    monkeypatch.setattr("deployment.log_files.flush", lambda path: flushed.append(path.name))
    archive = Archive(tmp_path / "archive", 4)
    archive.append_log(1, 1, [event(1, 10)])
    assert flushed[:2] == ["log", "archive"]
    archive.append_log(1, 1, [event(2, 11)])
    assert flushed.count("log") == 1

"""The archive: what was admitted comes back, whole files or none, one bucketing."""

import json
import os
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

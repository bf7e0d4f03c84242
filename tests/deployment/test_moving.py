"""The archive with another number of partitions: every event as it was, at its user's new home; cut off, it goes on."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior.errors import BadInput, OpportuneError
from behavior.event import DAY_US, HOUR_US, PERSONALIZATION, Admitted, Event
from behavior.partition import partition_of
from deployment.archive import EVENTS, Archive, to_table
from deployment.moving import moved_archive, put_in_place

T0 = 17_440 * DAY_US
USERS = [f"k1-{number}" for number in range(40)]
OLD, NEW = 4, 6


def event(number: int, k: int, late: int = 0, **said: object) -> Admitted:
    """An event that says much, of one of many users."""
    user = USERS[number % len(USERS)]
    made = Event(
        f"m{number}", "purchase", user, k - late, item="käse|2", category="it's", value=-(10**11), quantity=number,
        order_id="o", utc_offset_s=-18_000, properties={"stars": 5, "colour": 'r"ed'}, purposes=PERSONALIZATION, **said,
    )  # fmt: skip
    return Admitted(made, k - late, k)


HISTORY = [event(number, T0 + number // 3) for number in range(60)]
LOGGED = [event(number, T0 + DAY_US + number, late=HOUR_US) for number in range(60, 140)]


def home(admitted: Admitted, partitions: int) -> int:
    return partition_of(admitted.event.user_id, partitions)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive of an import and of what a log took, some of it in two files."""
    made = Archive(tmp_path / "my archive", OLD)
    with made.staged_import("first") as staging:
        for number in range(OLD):
            mine = [each for each in HISTORY if home(each, OLD) == number]
            pq.write_table(to_table(mine), staging / f"p={number:03d}.parquet")
    for number in range(OLD):
        mine = [each for each in LOGGED if home(each, OLD) == number]
        made.append_log(number, 1, mine[:15])
        made.append_log(number, 2, mine[10:])
    return made


def moved(archive: Archive, partitions: int = NEW) -> Archive:
    return moved_archive(archive, partitions, memory_limit="200MB")


def rows(archive: Archive, partition: int) -> pa.Table:
    return archive.read(partition)


def expected(partition: int, partitions: int = NEW) -> pa.Table:
    mine = [each for each in HISTORY + LOGGED if home(each, partitions) == partition]
    return to_table(sorted(mine, key=lambda each: (each.k, each.event.message_id)))


def test_every_event_is_at_home_and_as_it_was(archive: Archive) -> None:
    """Each once, with all that it says and both of its times, in the order of (k, message id)."""
    copy = moved(archive)
    for partition in range(NEW):
        assert rows(copy, partition).equals(expected(partition))
        assert rows(copy, partition).schema == EVENTS
    assert sum(rows(copy, partition).num_rows for partition in range(NEW)) == len(HISTORY) + len(LOGGED)
    for partition in range(OLD):
        assert rows(archive, partition).equals(expected(partition, OLD))


@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_to_fewer_and_to_more(archive: Archive, partitions: int) -> None:
    """Also to partitions that no user is at home in."""
    copy = moved(archive, partitions)
    assert [rows(copy, number).num_rows for number in range(partitions)] == [
        expected(number, partitions).num_rows for number in range(partitions)
    ]


def test_the_copy_takes_the_archives_place(archive: Archive) -> None:
    """Under the same name; what was there is kept, and nobody reads it by mistake."""
    moved(archive)
    put_in_place(archive, OLD)
    found = Archive(archive.path, NEW)
    assert all(rows(found, partition).equals(expected(partition)) for partition in range(NEW))
    kept = archive.path.with_name("my archive.before-4")
    assert rows(Archive(kept, OLD), 0).equals(expected(0, OLD))
    assert not archive.path.with_name("my archive.moving").exists()
    assert not (archive.path / "complete").exists()
    with pytest.raises(BadInput, match="has 6 partitions, the settings say 4"):
        rows(archive, 0)


def test_the_archive_remembers_when_the_log_began(archive: Archive) -> None:
    """History must not be imported behind it, in no partition; a second move remembers it too."""
    began = min(each.k for each in LOGGED)
    copy = moved(archive)
    assert {copy.log_began(partition) for partition in range(NEW)} == {began}
    assert {moved(copy, 3).log_began(partition) for partition in range(3)} == {began}


def test_the_log_goes_on_behind_what_was_moved(archive: Archive) -> None:
    """What comes next is appended to the new archive, and read after what was moved."""
    moved(archive)
    put_in_place(archive, OLD)
    found = Archive(archive.path, NEW)
    later = event(200, T0 + 2 * DAY_US)
    found.append_log(home(later, NEW), 1, [later])
    assert rows(found, home(later, NEW)).to_pylist()[-1]["message_id"] == "m200"
    assert found.covered_until(home(later, NEW)) == later.k


def test_a_copy_that_is_complete_is_not_made_again(archive: Archive) -> None:
    """A move that was cut off after it goes on from there: nothing came through the log in between."""
    copy = moved(archive)
    files = {file: file.stat().st_mtime_ns for file in copy.files()}
    assert {file: file.stat().st_mtime_ns for file in moved(archive).files()} == files


def test_half_a_copy_is_never_taken_for_one(archive: Archive) -> None:
    """It is refused with its name, and does not take the archive's place."""
    copy = moved(archive)
    (copy.path / "complete").unlink()
    with pytest.raises(BadInput, match=r"my archive.moving is there and not complete.*delete it"):
        moved(archive)
    with pytest.raises(OpportuneError, match=r"my archive.moving is not complete"):
        put_in_place(archive, OLD)
    assert rows(archive, 0).equals(expected(0, OLD))


def test_what_an_earlier_move_kept_is_not_overwritten(archive: Archive) -> None:
    """Nothing is renamed until it is out of the way."""
    moved(archive)
    kept = archive.path.with_name("my archive.before-4")
    kept.mkdir()
    with pytest.raises(BadInput, match=r"my archive.before-4 is there already"):
        put_in_place(archive, OLD)
    assert rows(archive, 0).equals(expected(0, OLD))
    kept.rmdir()
    put_in_place(archive, OLD)
    assert rows(Archive(archive.path, NEW), 0).equals(expected(0))


@pytest.mark.parametrize("done", range(4))
def test_put_in_place_goes_on_wherever_it_was_cut_off(
    archive: Archive, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each rename or removal: called again, it ends as if it had not been; once more, it changes nothing."""
    moved(archive)
    left = done

    def cut_off(act: object) -> object:
        def acting(*args: object, **options: object) -> object:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return act(*args, **options)  # type: ignore[operator]

        return acting

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", cut_off(Path.rename))
        patched.setattr(Path, "unlink", cut_off(Path.unlink))
        if done < 3:
            with pytest.raises(KeyboardInterrupt):
                put_in_place(archive, OLD)
        else:
            put_in_place(archive, OLD)
    for _ in range(2):
        put_in_place(archive, OLD)
        found = Archive(archive.path, NEW)
        assert all(rows(found, partition).equals(expected(partition)) for partition in range(NEW))
        assert rows(Archive(archive.path.with_name("my archive.before-4"), OLD), 0).equals(expected(0, OLD))
        assert {each.name for each in archive.path.iterdir()} == {"archive.json", "import"}


def test_an_archive_that_holds_nothing_is_moved_too(tmp_path: Path) -> None:
    """A deployment whose log has taken no event yet, with an archive or without one."""
    for number, there in enumerate((True, False)):
        archive = Archive(tmp_path / f"a{number}", OLD)
        if there:
            archive.agree_on_partitions()
        copy = moved(archive)
        assert [rows(copy, partition).num_rows for partition in range(NEW)] == [0] * NEW
        assert copy.log_began(0) is None
        for _ in range(2):
            put_in_place(archive, OLD)
            assert json.loads((archive.path / "archive.json").read_text())["partitions"] == NEW

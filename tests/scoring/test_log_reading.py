"""Reading the log beyond what it still holds: a reader that fell behind gets exactly the events that it missed."""

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from behavior.errors import OpportuneError
from behavior.event import Admitted, decode
from behavior.served import EVENT_ENTRY, SERVED_ENTRY
from deployment.archive import Archive
from scoring import log as reading
from scoring.log import GAP_ENTRY, Entry, Log
from tests.scoring.raw_log import RawLog, drain


@pytest.fixture
def log(redis_url: str, prefix: str) -> RawLog:
    return RawLog(redis.Redis.from_url(redis_url), prefix)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive", 4)


def archive_and_trim(log: RawLog, archive: Archive, most: int = 0) -> None:
    """Archive all there is and trim all but what a log of `most` entries may keep, whoever has read it."""
    log.expire_leases()
    drain(log.archiver(archive, most=most))


def read_all(log: Log, offsets: Mapping[int, int], count: int = 10) -> list[Entry]:
    """All entries that a reader gets who goes on from each entry it has got."""
    places, found = dict(offsets), []
    while entries := log.read(places, 0, count):
        found += entries
        places |= {entry.partition: entry.k for entry in entries}
    return found


def ks(entries: list[Entry], partition: int, kind: bytes = EVENT_ENTRY) -> list[int]:
    """The instants of a partition's entries of one type; asserts that all of them are in order."""
    of_partition = [entry.k for entry in entries if entry.partition == partition]
    assert of_partition == sorted(set(of_partition))
    return [entry.k for entry in entries if entry.partition == partition and entry.type == kind]


@pytest.mark.parametrize("count", [1, 7, 1_000])
def test_a_lagging_reader_gets_exactly_the_missing_events(log: RawLog, archive: Archive, count: int) -> None:
    """What was trimmed comes from the archive, the rest from the log: each event once, equal to what was appended."""
    log.append(1, range(1, 101))
    archive_and_trim(log, archive)
    assert log.stored(1) == []
    log.append(1, range(120, 151))
    for offset in (0, 5, 99, 100, 135, 150):
        found = read_all(Log(log.client, log.keys, archive), {1: offset}, count)
        assert ks(found, 1) == [k for k in log.events[1] if k > offset]
        assert {decode(entry.payload).message_id for entry in found} == {f"m1-{entry.k}" for entry in found}
        assert {entry.type for entry in found} <= {EVENT_ENTRY}


def test_whatever_is_trimmed_and_read_when(log: RawLog, archive: Archive) -> None:
    """Appending, archiving, trimming, reading and beginning anew at random: a reader gets all events, in order."""
    draw = random.Random(11)
    reader, places, k = Log(log.client, log.keys, archive), dict.fromkeys(range(4), 0), 0
    taken: list[Entry] = []
    for _ in range(150):
        match draw.randrange(5):
            case 0 | 1:
                partition = draw.randrange(4)
                k += draw.choice((1, 1, 5))
                log.append(partition, range(k, k + draw.randrange(1, 8)), served=draw.random() < 0.3)
                k += 10
            case 2:
                archive_and_trim(log, archive, draw.choice((0, 0, 10)))
            case 3:
                reader = Log(log.client, log.keys, archive)
            case _:
                for entry in reader.read(places, 0, draw.choice((1, 3, 50))):
                    taken.append(entry)
                    places[entry.partition] = entry.k
    taken += read_all(reader, places)
    for partition in range(4):
        assert ks(taken, partition) == list(log.events[partition])
    assert any(entry.type == GAP_ENTRY for entry in taken)


def test_without_the_question_for_what_was_trimmed_events_would_be_missed(
    log: RawLog, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check has power: a reader that does not ask skips what was trimmed and does not notice."""
    monkeypatch.setattr(reading, "_OVERTAKEN", "return {}")
    log.append(1, range(1, 101))
    archive_and_trim(log, archive)
    log.append(1, [120])
    assert ks(read_all(Log(log.client, log.keys, archive), {1: 50}), 1) == [120]


@pytest.mark.parametrize("before", [True, False])
def test_a_reader_is_not_overtaken_between_two_commands(log: RawLog, archive: Archive, before: bool) -> None:
    """What is trimmed just before, or just after, the stream was read is neither lost nor given twice."""

    class Overtaken(Log):
        def _stream(self, *args: Any) -> Any:
            if before:
                archive_and_trim(log, archive)
            found = super()._stream(*args)
            archive_and_trim(log, archive)
            return found

    log.append(1, range(1, 31))
    reader = Overtaken(log.client, log.keys, archive)
    assert ks(reader.read({1: 3}, 0, 10), 1) == list(range(4, 14))
    assert ks(read_all(reader, {1: 13}), 1) == list(range(14, 31))


def test_a_reader_that_goes_back_gets_everything_again(log: RawLog, archive: Archive) -> None:
    """A consumer that took only a part, or begins anew at its committed offset, is given the rest again."""
    log.append(1, range(1, 101))
    archive_and_trim(log, archive)
    reader = Log(log.client, log.keys, archive)
    for offset in (0, 10, 10, 4, 90, 0):
        assert ks(reader.read({1: offset}, 0, 10), 1) == list(range(offset + 1, offset + 11))


def test_files_are_not_opened_for_every_read(log: RawLog, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes a little at a time reads ahead."""
    log.append(1, range(1, 101))
    archive_and_trim(log, archive)
    opened: list[int] = []
    original = archive.read_log

    def noted(partition: int, *args: int) -> list[Admitted]:
        opened.append(partition)
        return original(partition, *args)

    monkeypatch.setattr(archive, "read_log", noted)
    assert len(read_all(Log(log.client, log.keys, archive), {1: 0}, 2)) == 100
    assert opened == [1]


def test_served_entries_that_are_gone_leave_an_offset(log: RawLog, archive: Archive) -> None:
    """Where only served entries were trimmed, the reader is told how far, so that it is not behind for ever."""
    log.append(1, [1, 2])
    log.append(1, [3, 4], served=True)
    archive_and_trim(log, archive)
    reader = Log(log.client, log.keys, archive)
    before = reading.GAPS._value.get()
    assert [(entry.k, entry.type) for entry in read_all(reader, {1: 0}, 2)] == [
        (1, EVENT_ENTRY), (2, EVENT_ENTRY), (4, GAP_ENTRY),
    ]  # fmt: skip
    assert reading.GAPS._value.get() == before + 1
    log.append(1, [5], served=True)
    assert [(entry.k, entry.type) for entry in read_all(reader, {1: 4})] == [(5, SERVED_ENTRY)]


def test_a_partition_in_which_nothing_comes_in_is_asked_too(log: RawLog, archive: Archive) -> None:
    """A reader that was overtaken while its partition fell silent hears of it at once; so does a new one."""
    reader = Log(log.client, log.keys, archive)
    log.append(1, range(1, 6))
    assert ks(reader.read({1: 0}, 0, 10), 1) == [1, 2, 3, 4, 5]
    archive_and_trim(log, archive)
    assert ks(reader.read({1: 2}, 0, 10), 1) == [3, 4, 5]
    log.append(2, [1])
    archive_and_trim(log, archive)
    assert ks(reader.read({1: 5, 2: 0}, 0, 10), 2) == [1]


def test_without_an_archive_the_gap_is_named(log: RawLog, archive: Archive) -> None:
    """A reader that has no archive stops at a gap and says where; one that is not behind reads on."""
    log.append(1, range(1, 11))
    archive_and_trim(log, archive)
    log.append(1, [20])
    with pytest.raises(OpportuneError, match=r"partition 1 was trimmed up to 10, a reader stands at 4"):
        Log(log.client, log.keys).read({1: 4}, 0, 10)
    assert ks(Log(log.client, log.keys).read({1: 10}, 0, 10), 1) == [20]


def test_an_archive_that_lacks_the_gap_is_refused(log: RawLog, archive: Archive, tmp_path: Path) -> None:
    """Another directory, or one that is not up to date here, is no reason to skip events."""
    log.append(1, range(1, 11))
    archive_and_trim(log, archive)
    with pytest.raises(OpportuneError, match=r"lacks events up to 10.*set `archive`"):
        Log(log.client, log.keys, Archive(tmp_path / "other", 4)).read({1: 4}, 0, 10)


def test_a_reader_of_nothing_waits(log: RawLog) -> None:
    """A process that owns no partition does not spin."""
    before = time.monotonic()
    assert Log(log.client, log.keys).read({}, 50, 10) == []
    assert time.monotonic() - before >= 0.05

"""The archiver, on a real Redis: every event once, whoever is killed, stopped or late, and nothing trimmed before."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from behavior.errors import BadInput
from deployment.archive import Archive
from deployment.clock import advance
from deployment.generations import SHARDS
from deployment.keys import ShardKeys
from scoring import archiver as archiving
from scoring.consumer_offsets import slowest
from scoring.log import Log
from scoring.pending import Place
from scoring.trimming import Archived
from tests.scoring.raw_log import RawLog, archived, drain, journalled

PARTITIONS = 4
SECOND_US = 1_000_000


@pytest.fixture
def log(redis_url: str, prefix: str) -> RawLog:
    return RawLog(redis.Redis.from_url(redis_url), prefix)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive", PARTITIONS)


def names(archive: Archive, partition: int) -> list[tuple[int, int, int]]:
    """(epoch, first, last) of the partition's files."""
    found = (archive.path / "log" / f"p={partition:03d}").glob("*.parquet")
    return sorted((int(e), int(first), int(last)) for e, first, last in (path.stem.split("-") for path in found))


def test_files_are_named_by_epoch_and_stretch(log: RawLog, archive: Archive) -> None:
    """Each takeover writes under an epoch of its own, from where the files end."""
    log.append(1, [3, 5])
    drain(log.archiver(archive))
    log.append(1, [6])
    drain(log.archiver(archive))
    assert names(archive, 1) == [(1, 3, 5), (2, 6, 6)]
    assert archived(archive, 1) == log.events[1]


def test_several_share_the_partitions(log: RawLog, archive: Archive) -> None:
    """Each event is written by one of them; who stops cleanly leaves nothing behind and his part to the others."""
    first, second = log.archiver(archive, "a", ttl_ms=300), log.archiver(archive, "b", ttl_ms=300)
    stopping = threading.Event(), threading.Event()
    threads = [
        threading.Thread(target=each.run, args=(stop,)) for each, stop in zip((first, second), stopping, strict=True)
    ]
    for thread in threads:
        thread.start()
    for k in range(1, 200, 20):
        for partition in range(PARTITIONS):
            log.append(partition, range(k, k + 10))
        time.sleep(0.05)
    stopping[0].set()
    threads[0].join(10)
    for partition in range(PARTITIONS):
        log.append(partition, [300])
    time.sleep(0.5)
    stopping[1].set()
    threads[1].join(10)
    assert all(archived(archive, partition) == log.events[partition] for partition in range(PARTITIONS))
    assert len({epoch for partition in range(PARTITIONS) for epoch, _, _ in names(archive, partition)}) > 1


def test_served_entries_behind_the_last_event_are_not_read_again(log: RawLog, archive: Archive) -> None:
    """What no file tells of is noted in Redis; without Redis the files alone are enough."""
    log.append(1, [3, 5])
    log.append(1, [7, 9], served=True)
    drain(log.archiver(archive, keep_s=3600))
    assert (log.meta(1, "archived"), log.meta(1, "archived_event")) == (9, 5)
    assert log.stored(1) == [3, 5, 7, 9]
    assert log.archiver(archive).step() == 0
    log.client.delete(log.keys.meta(1))
    assert log.archiver(archive).step() == 2
    log.append(1, [10])
    drain(log.archiver(archive))
    assert archived(archive, 1) == log.events[1]


def test_two_at_once_write_each_event_once(log: RawLog, archive: Archive) -> None:
    """One that lost its leases writes what it has read; readers take each event once, and it notes nothing."""
    log.append(1, range(1, 21))
    zombie = log.archiver(archive, "zombie")
    zombie.step()
    log.expire_leases()
    log.append(1, range(21, 31))
    living = log.archiver(archive, "living", most=0)
    drain(living)
    assert log.stored(1) == []
    assert zombie.flush() == 20
    assert names(archive, 1) == [(1, 1, 20), (2, 1, 30)]
    assert archived(archive, 1) == log.events[1]
    assert log.meta(1, "archived") == 30
    log.append(1, [40])
    assert zombie.step() == 0
    drain(living)
    assert archived(archive, 1) == log.events[1]


def test_one_that_slept_does_not_leave_out_what_was_trimmed(log: RawLog, archive: Archive) -> None:
    """Its file would claim a stretch of which it has read only the ends: it drops what it has instead."""
    log.append(1, range(1, 6))
    sleeper = log.archiver(archive, "sleeper", ttl_ms=60_000)
    sleeper.step()
    log.expire_leases()
    log.append(1, range(6, 11))
    living = log.archiver(archive, "living", most=0)
    drain(living)
    log.append(1, [20, 21])
    assert sleeper.step() == 0
    assert sleeper.flush() == 0
    drain(living)
    assert archived(archive, 1) == log.events[1]


def test_who_slept_begins_anew_from_the_files(log: RawLog, archive: Archive) -> None:
    """A process whose leases ran out, and came back to it, reads on from what is archived by then."""
    log.append(1, range(1, 6))
    sleeper = log.archiver(archive, "a", ttl_ms=100)
    sleeper.step()
    log.expire_leases()
    log.append(1, range(6, 11))
    other = log.archiver(archive, "b", ttl_ms=100)
    drain(other)
    time.sleep(0.15)
    assert drain(sleeper) == 0
    log.append(1, [20])
    assert drain(sleeper) == 1
    assert archived(archive, 1) == log.events[1]


@pytest.mark.parametrize("trimmed", [True, False])
def test_an_archive_that_lost_events_is_told(log: RawLog, archive: Archive, tmp_path: Path, trimmed: bool) -> None:
    """Another directory gets the events again while the log has them; afterwards it is refused."""
    log.append(1, range(1, 11))
    drain(log.archiver(archive, most=0 if trimmed else 100))
    other = Archive(tmp_path / "other", PARTITIONS)
    if trimmed:
        with pytest.raises(BadInput, match=r"of partition 1: events up to 10.*set `archive`"):
            log.archiver(other).step()
    else:
        drain(log.archiver(other, most=0))
        assert archived(other, 1) == log.events[1]


# ------------------------------------------------------------------------------------------------ trimming


def test_nothing_is_trimmed_that_is_not_archived_read_and_old(log: RawLog, archive: Archive) -> None:
    """Three bounds: what is archived, the slowest consumer, and how long entries are kept."""
    log.append(1, [k * SECOND_US for k in range(1, 101)])
    advance(log.client, log.keys, 100 * SECOND_US)
    keeper = log.archiver(archive, keep_s=40)
    keeper.step()
    for offset, first in ((0, 1), (20, 21), (55, 56), (80, 61), (100, 61)):
        log.fold_reached(1, offset * SECOND_US)
        drain(keeper)
        assert log.stored(1)[0] == first * SECOND_US
        assert log.meta(1, "trimmed") == (first - 1) * SECOND_US
    advance(log.client, log.keys, 10**9)
    log.append(1, [10**9])
    keeper.step()
    keeper._trimming.note({1: (1, Archived(90 * SECOND_US, 90 * SECOND_US))})  # what is archived bounds it
    assert log.stored(1)[0] == 91 * SECOND_US


def test_a_log_that_is_too_long_loses_its_slow_readers(
    log: RawLog, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond `most`, first age does not keep entries, then no consumer does; this is said once."""
    log.append(1, range(1, 101))
    log.fold_reached(1, 30)
    keeper = log.archiver(archive, keep_s=3600, most=100)
    drain(keeper)
    assert len(log.stored(1)) == 100
    log.append(1, [101])
    drain(keeper)
    assert log.stored(1)[0] == 31
    assert "had more than" not in caplog.text
    for start in (102, 203):
        log.append(1, range(start, start + 101))
        drain(keeper)
        assert log.stored(1) == []
        assert log.meta(1, "trimmed") == start + 100
    assert caplog.text.count("partition 1 of the log had more than 100 entries") == 1


def test_an_archiver_that_was_superseded_trims_nothing(log: RawLog, archive: Archive) -> None:
    """Only the owner of the epoch notes what is archived and trims."""
    log.append(1, range(1, 11))
    drain(log.archiver(archive))
    log.client.hincrby(log.keys.meta(1), "epoch:archive", 1)
    superseded = log.archiver(archive)._trimming
    log.fold_reached(1, 10)
    assert superseded.note({1: (1, Archived(10, 10))}) == {1}
    assert len(log.stored(1)) == 10


def test_the_slowest_is_any_fold_or_the_learner(log: RawLog) -> None:
    """Both generations of a rebuild count, and the learner once there is one; what never ran does not."""

    def of(partition: int = 1) -> int:
        return slowest(log.client, log.keys, [0, partition])[partition]

    assert of() == 0
    log.fold_reached(1, 50)
    assert of() == 50
    log.client.hset(log.keys.place(1, 2), "epoch", "1")
    assert of() == 0
    log.fold_reached(1, 40, generation=2)
    assert of() == 40
    log.client.hset(log.keys.meta(1), "generation", "2")
    log.fold_reached(1, 60, generation=2)
    assert of() == 60
    shards = ShardKeys(log.keys.prefix, 2)
    log.client.hset(log.keys.deployment(), SHARDS, 2)
    log.client.hset(shards.places(0), "1", msgspec.msgpack.encode(Place(offset=10)))
    assert of() == 0, "the other shard has not begun"
    log.client.hset(shards.places(1), "1", msgspec.msgpack.encode(Place(offset=20)))
    assert of() == 10
    log.fold_reached(2, 5)
    assert of(2) == 0


# ------------------------------------------------------------------------------------------------ merging


def test_many_small_files_become_one(log: RawLog, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are merged when there are many, and those that they were merged from go when nobody can be reading them."""
    monkeypatch.setattr(archiving, "MANY_FILES", 5)
    writer = log.archiver(archive)
    for k in range(1, 8):
        log.append(1, [2 * k])
        drain(writer)
    assert (1, 2, 12) in names(archive, 1)
    assert len(archive.files(1)) == 2
    assert len(names(archive, 1)) == 8
    assert archived(archive, 1) == log.events[1]
    monkeypatch.setattr(archiving, "KEPT_S", 0.0)
    for k in range(8, 13):
        log.append(1, [2 * k])
        drain(writer)
    assert names(archive, 1) == [(1, 2, 24)]
    assert archive.logged_span(1) == (2, 24)
    assert archived(archive, 1) == log.events[1]


# ------------------------------------------------------------------------------------------------ chaos


class Fleet:
    """Archivers as processes."""

    def __init__(self, url: str, prefix: str, archive: Archive) -> None:
        self.arguments = [url, prefix, str(archive.path)]
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, holder: str, *dies: int) -> None:
        """Start one more; it has not taken anything yet."""
        argv = [sys.executable, "-m", "tests.scoring.archiver_process", *self.arguments, holder, "300"]
        self.running.append(subprocess.Popen([*argv, *map(str, dies)], cwd=Path(__file__).parents[2]))

    def stop(self, number: int, how: signal.Signals) -> None:
        """Send a signal to one that lives."""
        self.running[number].send_signal(how)
        if how in (signal.SIGKILL, signal.SIGTERM):
            self.running.pop(number).wait(20)


@pytest.fixture
def fleet(redis_url: str, prefix: str, archive: Archive) -> Iterator[Fleet]:
    made = Fleet(redis_url, prefix, archive)
    yield made
    for process in made.running:
        process.kill()
        process.wait()


@pytest.mark.parametrize("rounds", [6, pytest.param(40, marks=pytest.mark.prove)])
def test_every_event_is_archived_once_whoever_is_killed(
    log: RawLog, archive: Archive, fleet: Fleet, rounds: int
) -> None:
    """kill -9, SIGSTOP and death between a file and its note, at random, with merging and trimming going on."""
    draw, k = random.Random(rounds), 0
    fleet.start("first")
    _wait_for_the_first(log, fleet)
    for number in range(rounds):
        fleet.start(f"p{number}", *([draw.randrange(1, 4)] if number % 2 else []))
        for _ in range(draw.randrange(10, 25)):
            k += draw.choice((1, 1, 40))
            for partition in range(PARTITIONS):
                log.append(partition, range(k, k + 3), served=draw.random() < 0.2)
            k += 3
            time.sleep(draw.uniform(0, 0.05))
        victim = draw.randrange(len(fleet.running))
        if draw.random() < 0.4:
            fleet.stop(victim, signal.SIGSTOP)
            time.sleep(0.5)
            fleet.stop(victim, signal.SIGCONT)
        else:
            fleet.stop(victim, signal.SIGKILL)
        fleet.running = [process for process in fleet.running if process.poll() is None]
        for partition in range(PARTITIONS):
            _assert_nothing_is_missing(log, archive, partition)
    for _ in list(fleet.running):
        fleet.stop(0, signal.SIGTERM)
    log.expire_leases()
    drain(log.archiver(archive, most=20))  # trims too, as the others do when they come to note before they are killed
    for partition in range(PARTITIONS):
        assert archived(archive, partition) == log.events[partition]
        assert journalled(archive, partition) == log.served[partition]
        reader, offset, found = Log(log.client, log.keys, archive), 0, []
        while entries := reader.read({partition: offset}, 0, 100):
            found += [entry.k for entry in entries if entry.type == b"e"]
            offset = entries[-1].k
        assert found == list(log.events[partition])
        assert log.meta(partition, "trimmed") > 0


def _wait_for_the_first(log: RawLog, fleet: Fleet) -> None:
    """On a busy machine a process may need seconds to begin."""
    while not log.meta(0, "epoch:archive"):
        assert fleet.running[0].poll() is None
        time.sleep(0.05)


def _assert_nothing_is_missing(log: RawLog, archive: Archive, partition: int) -> None:
    """At any instant, an event and what was served are in the log or in the archive."""
    stored = set(log.stored(partition))  # first: what is trimmed after this is in the archive before
    durable = {each.k for each in archive.read_log(partition, 0, 2**62)}
    assert set(log.events[partition]) <= stored | durable
    assert set(log.served[partition]) <= stored | set(journalled(archive, partition))

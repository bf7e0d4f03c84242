"""Leases, reading, archiving and trimming on a Redis Cluster, where no command may touch two slots."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment.archive import Archive
from deployment.connections import open_blocking
from scoring.log import Log
from tests.redis_cluster import Cluster, slot_of
from tests.scoring.raw_log import RawLog, archived, drain

PARTITIONS = 16


@pytest.fixture
def log(cluster_url: str, prefix: str) -> Iterator[RawLog]:
    with open_blocking(cluster_url, cluster=True) as client:
        yield RawLog(client, prefix, PARTITIONS)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive", PARTITIONS)


def read_all(log: Log, partitions: int = PARTITIONS) -> dict[int, list[int]]:
    """The instants that a reader gets of each partition."""
    places = dict.fromkeys(range(partitions), 0)
    found: dict[int, list[int]] = {number: [] for number in places}
    while entries := log.read(places, 0, 7):
        for entry in entries:
            found[entry.partition].append(entry.k)
            places[entry.partition] = entry.k
    return found


def test_processes_share_the_partitions(log: RawLog) -> None:
    """As on one Redis: even parts, taken over at once after a clean stop."""
    first, second = log.leases("a"), log.leases("b")
    for each in (first, second, first, second):
        each.refresh(at_once=True)
    assert sorted([*first.owned(), *second.owned()]) == list(range(PARTITIONS))
    assert len(first.owned()) == PARTITIONS // 2
    first.release()
    assert len(second.refresh(at_once=True)) == PARTITIONS


def test_reading_archiving_and_trimming(log: RawLog, archive: Archive) -> None:
    """A reader gets everything, from the log and, where that was trimmed, from the archive."""
    for partition in range(PARTITIONS):
        log.append(partition, range(1, 31))
    everything = {number: list(events) for number, events in log.events.items()}
    assert read_all(Log(log.client, log.keys)) == everything
    drain(log.archiver(archive, most=0))
    assert all(log.stored(partition) == [] for partition in range(PARTITIONS))
    for partition in range(PARTITIONS):
        log.append(partition, range(41, 51))
        assert archived(archive, partition) == {k: f"m{partition}-{k}" for k in range(1, 31)}
    everything = {number: list(events) for number, events in log.events.items()}
    assert read_all(Log(log.client, log.keys, archive)) == everything


def test_a_waiting_reader_wakes_up(log: RawLog) -> None:
    """What comes in while a reader waits is given as soon as it is there, and nothing after the time is over."""
    reader, places = Log(log.client, log.keys), dict.fromkeys(range(PARTITIONS), 0)
    assert reader.read(places, 20, 10) == []
    later = threading.Timer(0.1, lambda: log.append(3, [5]))
    later.start()
    assert [(entry.partition, entry.k) for entry in reader.read(places, 10_000, 10)] == [(3, 5)]
    later.join()


def test_a_slot_may_move_while_it_is_read_and_archived(log: RawLog, archive: Archive, redis_cluster: Cluster) -> None:
    """Partitions that move to another node, also half of their keys, are read, archived and trimmed all the same."""
    slot = slot_of(log.keys.stream(2))
    keeper, reader = log.archiver(archive, most=0), Log(log.client, log.keys, archive)
    log.append(2, range(1, 11))
    with redis_cluster.migrating(slot, redis_cluster.other(redis_cluster.owner(slot))) as move:
        move([log.keys.stream(2)])
        assert [entry.k for entry in reader.read({2: 4}, 0, 100)] == list(range(5, 11))
    log.append(2, range(11, 21))
    drain(keeper)
    assert log.stored(2) == []
    assert read_all(reader)[2] == list(range(1, 21))

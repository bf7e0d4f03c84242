"""Leases, on a real Redis: living processes share the partitions, and one epoch has one owner."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from deployment.keys import Keys
from scoring.leases import Leases, holder_name

PARTITIONS = 64
TTL_MS = 300
LONG_MS = 60_000


class Shared:
    """The leases of one role under one prefix."""

    def __init__(self, url: str, prefix: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.keys = Keys(prefix, PARTITIONS)

    def process(self, holder: str, ttl_ms: int = LONG_MS, generation: int | None = 1) -> Leases:
        """A process of the role that works on a generation."""
        return Leases(
            self.client, self.keys, "fold", holder, ttl_ms,
            lambda partition: self.keys.place(partition, generation or 1), generation=generation,
        )  # fmt: skip


@pytest.fixture
def shared(redis_url: str, prefix: str) -> Shared:
    return Shared(redis_url, prefix)


def settle(processes: Sequence[Leases]) -> list[int]:
    """How many partitions each process has when nothing changes any more; asserts that none has two owners."""
    for _ in range(3):
        for each in processes:
            each.refresh(at_once=True)
    owned = [partition for each in processes for partition in each.owned()]
    assert len(owned) == len(set(owned))
    return [len(each.owned()) for each in processes]


def test_a_process_alone_owns_all(shared: Shared) -> None:
    """The first process takes every partition, each at its first epoch, and keeps it."""
    alone = shared.process("a")
    assert alone.refresh() == dict.fromkeys(range(PARTITIONS), 1)
    assert alone.refresh(at_once=True) == dict.fromkeys(range(PARTITIONS), 1)


@pytest.mark.parametrize(("number", "expected"), [(1, {64}), (2, {32}), (3, {20, 22}), (5, {12, 13})])
def test_living_processes_share_evenly(shared: Shared, number: int, expected: set[int]) -> None:
    """Whoever comes gets his part and nothing stays free, at most ceil(P / processes) for each."""
    processes = [shared.process(f"p{place}") for place in range(number)]
    processes[0].refresh()
    counts = settle(processes)
    assert sum(counts) == PARTITIONS
    assert set(counts) == expected


def test_who_leaves_is_replaced_at_once(shared: Shared) -> None:
    """After a clean stop the others take over without waiting, and every partition has a new epoch."""
    first, second = shared.process("a"), shared.process("b")
    settle([first, second])
    left = first.owned()
    first.release()
    assert first.owned() == {}
    taken = second.refresh(at_once=True)
    assert len(taken) == PARTITIONS
    assert all(taken[partition] > epoch for partition, epoch in left.items())


def test_what_another_was_faster_to_take_is_not_taken(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that saw the same partition free do not both get it."""
    first, second = shared.process("a"), shared.process("b")
    first.refresh()
    monkeypatch.setattr(second, "_free", list)
    assert second.refresh() == {}
    assert set(first.refresh(at_once=True).values()) == {1}


def test_a_release_takes_nothing_from_others(shared: Shared) -> None:
    """A process that lost its leases meanwhile releases none of its successor's."""
    slept = shared.process("a", TTL_MS)
    slept.refresh()
    time.sleep(TTL_MS / 1000 * 1.2)
    successor = shared.process("b")
    successor.refresh()
    slept.release()
    assert successor.refresh(at_once=True) == dict.fromkeys(range(PARTITIONS), 2)


def test_who_died_is_replaced_after_the_time_of_a_lease(shared: Shared) -> None:
    """A process that gives no sign of life any more loses all to the living one, which fences it by the epochs."""
    dead, living = shared.process("a", TTL_MS), shared.process("b", TTL_MS)
    settle([dead, living])
    deadline = time.monotonic() + 10
    while len(living.refresh()) < PARTITIONS:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    believed = dead.owned()
    assert believed
    assert all(living.owned()[partition] == epoch + 1 for partition, epoch in believed.items())
    assert not dead.refresh().items() & believed.items()


def test_a_lease_that_ran_out_unnoticed_comes_back_with_another_epoch(shared: Shared) -> None:
    """Who takes its own partition back cannot know what happened in between: its epoch has changed."""
    alone = shared.process("a", 100)
    before = alone.refresh()
    time.sleep(0.15)
    after = alone.refresh()
    assert after == {partition: epoch + 1 for partition, epoch in before.items()}


def test_the_same_holder_begins_anew(shared: Shared) -> None:
    """A process that lost its connection takes its own leases over at once, under new epochs."""
    shared.process("a").refresh()
    assert shared.process("a").refresh() == dict.fromkeys(range(PARTITIONS), 2)


def test_an_epoch_that_was_raised_ends_the_ownership(shared: Shared) -> None:
    """Who raises an epoch fences the owner, also while the lease lasts; the owner sees another epoch."""
    owner = shared.process("a")
    owner.refresh()
    shared.client.hincrby(shared.keys.place(5, 1), "epoch", 1)
    assert owner.refresh(at_once=True)[5] == 3


def test_refreshing_all_the_time_costs_nothing(shared: Shared) -> None:
    """Within a third of a lease nothing is asked."""
    alone = shared.process("a")
    alone.refresh()
    before = shared.client.info("stats")["total_commands_processed"]
    for _ in range(100):
        alone.refresh()
    assert shared.client.info("stats")["total_commands_processed"] - before < 100


def test_a_partition_that_is_read_from_another_generation_is_not_taken(shared: Shared) -> None:
    """While a rebuild swaps, a fold loses what was swapped, and the others' leases keep."""
    fold = shared.process("a")
    fold.refresh()
    for partition in (3, 9):
        shared.client.hset(shared.keys.meta(partition), "generation", 2)
    assert set(fold.refresh(at_once=True)) == set(range(PARTITIONS)) - {3, 9}
    assert fold.elsewhere == {3: 2, 9: 2}
    following = shared.process("b", generation=2)
    assert set(following.refresh()) == {3, 9}
    assert not following.elsewhere
    fold.release()
    for partition in range(PARTITIONS):
        shared.client.hset(shared.keys.meta(partition), "generation", 2)
    assert len(shared.process("b", generation=2).refresh()) == PARTITIONS


def test_a_process_may_own_partitions_of_two_generations(shared: Shared) -> None:
    """While a rebuild swaps, one process works on both: what it has of one it does not lose to the other."""
    older, newer = shared.process("a"), shared.process("a", generation=2)
    older.refresh()
    for swapped in range(0, PARTITIONS, 16):
        for _ in range(2):
            for each in (older, newer):
                each.refresh(at_once=True)
        assert older.owned() == dict.fromkeys(range(swapped, PARTITIONS), 1)
        assert newer.owned() == dict.fromkeys(range(swapped), 1)
        assert not newer.elsewhere
        assert set(older.elsewhere) == set(range(swapped))
        for partition in range(swapped, swapped + 16):
            shared.client.hset(shared.keys.meta(partition), "generation", 2)


def test_roles_do_not_meet(shared: Shared) -> None:
    """The archiver's leases and epochs are its own."""
    shared.process("a").refresh()
    archive = Leases(shared.client, shared.keys, "archive", "a", LONG_MS, shared.keys.meta, epoch_field="epoch:archive")
    assert archive.refresh() == dict.fromkeys(range(PARTITIONS), 1)
    assert shared.client.hget(shared.keys.meta(0), "epoch:archive") == b"1"


def test_scripts_that_the_server_forgot_are_sent_again(shared: Shared) -> None:
    """After a restart of Redis, or on another node, the lease goes on."""
    alone = shared.process("a")
    before = alone.refresh()
    shared.client.script_flush()
    assert alone.refresh(at_once=True) == before


def test_one_epoch_has_one_owner_whatever_happens(shared: Shared) -> None:
    """Processes come, sleep and leave at random: no epoch of a partition is ever given to two, and all end up owned."""
    draw = random.Random(3)
    processes = {f"p{n}": shared.process(f"p{n}", TTL_MS) for n in range(3)}
    given: dict[tuple[int, int], str] = {}
    for step in range(120):
        name, process = draw.choice(list(processes.items()))
        for each in process.refresh(at_once=True).items():
            assert given.setdefault(each, name) == name
        match draw.randrange(12):
            case 0:
                time.sleep(draw.uniform(0, 0.4))
            case 1 if len(processes) > 1:
                processes.pop(name).release()
            case 2 if len(processes) > 1:
                del processes[name]
            case 3 if len(processes) < 4:
                processes[f"p{step}-new"] = shared.process(f"p{step}-new", TTL_MS)
    time.sleep(TTL_MS / 1000 * 1.1)  # who was dropped without a word is forgotten
    counts = settle(list(processes.values()))
    assert sum(counts) == PARTITIONS
    assert max(counts) == -(-PARTITIONS // len(processes))


def test_names_of_holders_differ() -> None:
    """Two processes never share a name, nor does one that comes back."""
    assert holder_name() != holder_name()


# A process that commits all the time, under the epochs that it believes in; each commit that Redis takes is noted.
_WORKER = """
import sys, redis
from deployment.keys import Keys
from scoring.leases import Leases
url, prefix, holder, ttl_ms = sys.argv[1:]
client, keys = redis.Redis.from_url(url), Keys(prefix, 64)
leases = Leases(client, keys, "fold", holder, int(ttl_ms), lambda p: keys.place(p, 1), generation=1)
commit = client.register_script(
    "if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end "
    "redis.call('RPUSH', KEYS[2], ARGV[1] .. ' ' .. ARGV[2]) return 1")
print("ready", flush=True)
while True:
    for partition, epoch in leases.refresh().items():
        commit(keys=[keys.place(partition, 1), keys.deltas(partition, 1)], args=[epoch, holder])
"""


def test_a_process_that_was_stopped_is_replaced_and_fenced(shared: Shared, redis_url: str, prefix: str) -> None:
    """SIGSTOP beyond the lease: others take over, and nothing of the sleeper is committed under its old epochs."""
    names = ("a", "b", "c")
    workers = [_worker(redis_url, prefix, name) for name in names]
    try:
        _wait(lambda: _owners(shared) == set(names), "all three to own something")
        workers[0].send_signal(signal.SIGSTOP)
        _wait(lambda: _owners(shared) == {"b", "c"} and len(_leases(shared)) == PARTITIONS, "the others to take over")
        workers[0].send_signal(signal.SIGCONT)
        _wait(lambda: _owners(shared) == set(names), "the sleeper to get its part again")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    commits = 0
    for partition in range(PARTITIONS):
        stored: Any = shared.client.lrange(shared.keys.deltas(partition, 1), 0, -1)
        notes = [note.decode().split() for note in stored]
        epochs = [int(epoch) for epoch, _ in notes]
        assert epochs == sorted(epochs)
        assert len({epoch for epoch, _ in notes}) == len({(epoch, holder) for epoch, holder in notes})
        commits += len(notes)
    assert commits > PARTITIONS


def _worker(url: str, prefix: str, holder: str) -> "subprocess.Popen[bytes]":
    started = subprocess.Popen(
        [sys.executable, "-c", _WORKER, url, prefix, holder, str(TTL_MS)], stdout=subprocess.PIPE
    )
    assert started.stdout is not None
    assert started.stdout.readline() == b"ready\n"
    return started


def _leases(shared: Shared) -> list[str]:
    found: Any = [shared.client.get(shared.keys.lease(partition, "fold")) for partition in range(PARTITIONS)]
    return [owner.decode().partition("/")[0] for owner in found if owner is not None]


def _owners(shared: Shared) -> set[str]:
    return set(_leases(shared))


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)

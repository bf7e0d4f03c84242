"""From the log to the states: read a stretch, fold it in, commit states and offset together.

    log ──▶ partition states ──▶ commit (states + partials + offset, one script)
                             └─▶ at each whole interval: close every partition, publish the snapshot

A commit carries the epoch under which this process took the partition over; a process that was superseded is refused
by the script and stops. Killed at any instant, the next one continues from the stored offset and gives the same bits.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from importlib.resources import files
from itertools import chain
from typing import Any

import redis

from behavior.errors import Fenced
from behavior.event import Admitted, admit, decode
from behavior.plan import Plan
from behavior.served import EVENT_ENTRY
from deployment import snapshot
from deployment.clock import Clock
from deployment.keys import Keys
from scoring.log import Entry, Log, share_of_each
from scoring.partition_states import PartitionStates, encode_partials, encode_user, fields_touched
from scoring.publishing import Publisher

_log = logging.getLogger("opportune.fold")
WAIT_MS = 50
_PUBLISH = """
if tonumber(redis.call('GET', KEYS[2]) or '-1') >= tonumber(ARGV[2]) then return 0 end
redis.call('MSET', KEYS[1], ARGV[1], KEYS[2], ARGV[2])
return 1
"""


class Partition:
    """One partition owned by this process: its place in the log and what it holds in memory."""

    def __init__(self, number: int, epoch: int, offset: int, states: PartitionStates) -> None:
        self.number = number
        self.epoch = epoch
        self.offset = offset
        self.states = states


class Fold:
    """Folds all partitions of a deployment, one process for all of them."""

    def __init__(self, client: "redis.Redis", keys: Keys, log: Log, clock: Clock, plan: Plan, partitions: int) -> None:
        self._client = client
        self._keys = keys
        self._log = log
        self._clock = clock
        self._plan = plan
        self._commit_script = client.register_script(_lua("commit.lua"))
        self._close_script = client.register_script(_lua("close.lua"))
        self._publisher = Publisher(plan)
        self._batch = share_of_each(partitions)
        # What was really published bounds what any predecessor can have folded, so a restart never mixes intervals.
        self._published_s = int(client.get(keys.snapshot_version()) or -plan.interval_us)
        self.partitions = [self._take_over(number) for number in range(partitions)]

    def run(self, stopping: threading.Event, folded: Callable[[int, int], None] = lambda events, s: None) -> None:
        """Fold until told to stop; `folded(number of events, instant of the snapshot)` is called after each round."""
        while not stopping.is_set():
            s = self.due()
            if s is not None:
                self.publish(s)
            folded(self.step(WAIT_MS), self._published_s)

    def step(self, wait_ms: int = 0) -> int:
        """Fold what the log holds beyond the stored offsets, one batch per partition; the number of entries."""
        # Entries of the next interval wait until this one is published, so that partials never hold their own future.
        due = self._published_s + self._plan.interval_us
        entries = self._log.read(self._offsets(), wait_ms, self._batch)
        return sum(self._fold_entries(number, batch, due) for number, batch in by_partition(entries).items())

    def due(self) -> int | None:
        """The instant of the snapshot that can be published now, or None if it has been."""
        now = self._clock.now()
        s = now - now % self._plan.interval_us
        return s if s > self._published_s else None

    def publish(self, s: int) -> None:
        """Fold everything before s, close the interval in every partition, and publish the snapshot at s."""
        waiting = list(self.partitions)
        while waiting:
            waiting = [partition for partition in waiting if not self._close(partition, s)]
            offsets = {partition.number: partition.offset for partition in waiting}
            for number, batch in by_partition(self._log.read(offsets, 0, self._batch) if offsets else []).items():
                self._fold_entries(number, batch, s)
        whole = self._publisher.snapshot(s, [partition.states for partition in self.partitions])
        write_snapshot(self._client, self._keys, whole)
        self._published_s = s

    def _offsets(self) -> dict[int, int]:
        return {partition.number: partition.offset for partition in self.partitions}

    def _fold_entries(self, number: int, entries: Sequence[Entry], before: int) -> int:
        ready = [entry for entry in entries if entry.k < before]
        if not ready:
            return 0
        partition = self.partitions[number]
        events = [admit(decode(entry.payload), entry.k) for entry in ready if entry.type == EVENT_ENTRY]
        self._load_users(partition, events)
        for event in events:
            partition.states.add(event)
        self._commit(partition, ready[-1].k)
        return len(ready)

    def _load_users(self, partition: Partition, events: Sequence[Admitted]) -> None:
        wanted = {user: sorted(fields) for user, fields in fields_touched(self._plan, events).items()}
        with self._client.pipeline(transaction=False) as together:
            for user, fields in wanted.items():
                together.hmget(self._keys.user(partition.number, user), fields)
            answers = together.execute()
        for (user, fields), values in zip(wanted.items(), answers, strict=True):
            found = {name: value for name, value in zip(fields, values, strict=True) if value is not None}
            partition.states.load_user(user, found)

    def _commit(self, partition: Partition, offset: int) -> None:
        states, keys = partition.states, self._keys
        hashes = {keys.partials(partition.number): encode_partials(self._plan, states)}
        for user, fields in states.users.items():
            hashes[keys.user(partition.number, user)] = encode_user(self._plan, fields)
        args: list[bytes | int] = [partition.epoch, partition.offset, offset]
        for place, encoded in enumerate(hashes.values()):
            # A user's hash outlives its states' retention: event times never exceed the admission that is committed.
            args += [0 if place == 0 else self._plan.retention_us // 1000, len(encoded)]
            args += chain.from_iterable(encoded.items())
        if not self._commit_script(keys=[keys.meta(partition.number), *hashes], args=args):
            raise Fenced(f"partition {partition.number} was taken over by another fold; this one stops")
        partition.offset = offset
        states.committed()

    def _close(self, partition: Partition, s: int) -> bool:
        keys = [self._keys.meta(partition.number), self._keys.stream(partition.number)]
        closed = self._close_script(keys=keys, args=[partition.epoch, partition.offset, s, s - 1])
        if closed < 0:
            raise Fenced(f"partition {partition.number} was taken over by another fold; this one stops")
        return bool(closed)

    def _take_over(self, number: int) -> Partition:
        epoch = int(self._client.hincrby(self._keys.meta(number), "epoch", 1))
        offset = int(self._client.hget(self._keys.meta(number), "offset") or 0)
        states = PartitionStates(self._plan)
        stored: Any = self._client.hgetall(self._keys.partials(number))
        states.load_partials(stored)
        return Partition(number, epoch, offset, states)


def write_snapshot(client: "redis.Redis", keys: Keys, whole: snapshot.Snapshot) -> None:
    """Publish a snapshot together with the small key that readers poll; an older one never replaces a newer one."""
    client.eval(_PUBLISH, 2, keys.snapshot(), keys.snapshot_version(), snapshot.encode(whole), whole.s)


def by_partition(entries: Sequence[Entry]) -> dict[int, list[Entry]]:
    """Entries by partition, in log order within each."""
    grouped: dict[int, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(entry.partition, []).append(entry)
    return grouped


def _lua(name: str) -> str:
    return files("scoring").joinpath(name).read_text(encoding="utf-8")

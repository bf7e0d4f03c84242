"""From the log to the states: read a stretch, fold it in, commit states, deltas and offset together.

    log ──▶ partition states ──▶ commit (user states + deltas + offset, one script per partition)
                             └─▶ close: nothing before s can come any more (idle partitions, one script)

A commit carries the epoch under which this process took the partition over: whoever was superseded is refused by the
script, and lets the partition go. Killed at any instant, the next one continues from the stored offset and gives the
same bits. Snapshots are made from the deltas by the publisher (`publishing`).
"""

import gc
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from behavior.event import Admitted, admit, decode
from behavior.plan import Plan
from behavior.served import EVENT_ENTRY
from deployment.clock import Clock
from deployment.generations import Plans
from deployment.keys import Keys
from scoring.log import Entry, Log, share_of_each, waited_s
from scoring.partition_states import PartitionStates, fields_touched
from scoring.scripts import Run, Script, lua

_log = logging.getLogger("opportune.fold")


class Grant(NamedTuple):
    """What this process may write: the states of a generation, under an epoch."""

    generation: int
    epoch: int


@dataclass(slots=True)
class Partition:
    """One partition owned by this process: its place in the log, up to where it is closed, what it holds in memory."""

    number: int
    grant: Grant
    offset: int
    closed: int
    states: PartitionStates

    @property
    def plan(self) -> Plan:
        """The plan that its states are folded under."""
        return self.states.plan


class Fold:
    """Folds the partitions that it owns; `own` says which these are."""

    def __init__(self, client: Any, keys: Keys, log: Log, clock: Clock, plans: Plans) -> None:
        self._client = client
        self._keys = keys
        self._log = log
        self._clock = clock
        self._plans = plans
        self._commit, self._close = Script(client, lua("commit.lua")), Script(client, lua("close.lua"))
        self.partitions: dict[int, Partition] = {}
        # Whether a partition was let go since this was last set to False: what is known of leases is out of date.
        self.is_fenced = False
        # How long the oldest entry that was read last had waited in the log.
        self.waited_s = 0.0

    def own(self, grants: Mapping[int, Grant]) -> None:
        """Take over the partitions that are new or granted anew, and let go of those that are granted no more."""
        for number in [number for number, mine in self.partitions.items() if grants.get(number) != mine.grant]:
            del self.partitions[number]
        new = [number for number in grants if number not in self.partitions]
        if not new:
            return
        with self._client.pipeline(transaction=False) as together:
            for number in new:
                together.hmget(self._keys.place(number, grants[number].generation), "offset", "s")
                together.hgetall(self._keys.deltas(number, grants[number].generation))
            answers = together.execute()
        for number, (offset, s), deltas in zip(new, answers[::2], answers[1::2], strict=True):
            states = PartitionStates(self._plans.of(self._client, grants[number].generation))
            closed = int(s or 0)
            states.load_deltas({name: data for name, data in deltas.items() if int(name.partition(b"|")[0]) > closed})
            self.partitions[number] = Partition(number, grants[number], int(offset or 0), closed, states)

    def step(self, wait_ms: int = 0) -> int:
        """Fold what the log holds beyond the stored offsets, close what time has passed; the number of entries."""
        # Read before the log: what is not in the log afterwards is admitted later than this.
        now = self._clock.now()
        offsets = {number: partition.offset for number, partition in self.partitions.items()}
        entries = self._log.read(offsets, wait_ms, share_of_each(self._keys.partitions))
        self.waited_s = waited_s(now, entries)
        if entries:
            with no_cycles():
                self._fold(by_partition(entries))
        self._close_passed(now)
        return len(entries)

    def _fold(self, entries: Mapping[int, Sequence[Entry]]) -> None:
        """Load, fold and commit the stretches of all partitions, each step in one round trip."""
        events = {
            number: [admit(decode(entry.payload), entry.k) for entry in mine if entry.type == EVENT_ENTRY]
            for number, mine in entries.items()
        }
        self._load(events)
        for number, mine in events.items():
            add = self.partitions[number].states.add
            for event in mine:
                add(event)
        upto = {number: mine[-1].k for number, mine in entries.items()}
        runs = [self._committing(self.partitions[number], offset) for number, offset in upto.items()]
        for (number, offset), committed in zip(upto.items(), self._commit.run(runs), strict=True):
            if committed:
                self._committed(self.partitions[number], offset)
            else:
                self._let_go(number)

    def _load(self, events: Mapping[int, Sequence[Admitted]]) -> None:
        """Fetch the states that the events will change."""
        wanted = {number: fields_touched(self.partitions[number].plan, mine) for number, mine in events.items()}
        with self._client.pipeline(transaction=False) as together:
            for number, users in wanted.items():
                generation = self.partitions[number].grant.generation
                for user, fields in users.items():
                    together.hmget(self._keys.user(number, generation, user), fields)
            answers = iter(together.execute())
        for number, users in wanted.items():
            self.partitions[number].states.load_users({
                user: {name: data for name, data in zip(fields, next(answers), strict=True) if data is not None}
                for user, fields in users.items()
            })  # fmt: skip

    def _committing(self, partition: Partition, offset: int) -> Run:
        number, generation = partition.number, partition.grant.generation
        hashes = {self._keys.deltas(number, generation): partition.states.encoded_deltas()}
        for user, fields in partition.states.encoded_users().items():
            hashes[self._keys.user(number, generation, user)] = fields
        s = _closed_by(partition, offset)
        args: list[bytes | str | int] = [partition.grant.epoch, partition.offset, offset, s or ""]
        for place, encoded in enumerate(hashes.values()):
            # A user's hash outlives its states' retention: event times never exceed the admission that is committed.
            args += (0 if place == 0 else partition.plan.retention_us // 1000, len(encoded))
            args += chain.from_iterable(encoded.items())
        return Run([self._keys.place(number, generation), *hashes], args)

    def _committed(self, partition: Partition, offset: int) -> None:
        partition.closed = _closed_by(partition, offset) or partition.closed
        partition.offset = offset
        partition.states.committed(partition.closed)

    def _close_passed(self, now: int) -> None:
        """Close the interval that has passed in the partitions that have not folded beyond it."""
        due = []
        for partition in self.partitions.values():
            s = now - now % partition.plan.interval_us
            if s > partition.closed:
                due.append((partition, s))
        answers = self._close.run([self._closing(partition, s) for partition, s in due])
        for (partition, s), closed in zip(due, answers, strict=True):
            if closed < 0:
                self._let_go(partition.number)
            elif closed:
                partition.closed = s
                partition.states.committed(s)

    def _closing(self, partition: Partition, s: int) -> Run:
        number, keys = partition.number, self._keys
        names = [keys.meta(number), keys.stream(number), keys.place(number, partition.grant.generation)]
        return Run(names, [partition.grant.epoch, partition.offset, s, s - 1])

    def _let_go(self, number: int) -> None:
        _log.warning("partition %d was taken over by another fold; this one lets it go", number)
        del self.partitions[number]
        self.is_fenced = True


@contextmanager
def no_cycles() -> Iterator[None]:
    """Do not look for cycles: folding and learning make none, and 10^5 objects; looking takes a quarter of the time."""
    was_looking = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_looking:
            gc.enable()


def _closed_by(partition: Partition, offset: int) -> int | None:
    """Up to where intervals are closed once everything up to the offset is folded; None if that is nothing new."""
    s = offset - offset % partition.plan.interval_us
    return s if s > partition.closed else None


def by_partition(entries: Sequence[Entry]) -> dict[int, list[Entry]]:
    """Entries by partition, in log order within each."""
    grouped: dict[int, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(entry.partition, []).append(entry)
    return grouped

"""A learner process: of the shards that it has leased, it joins what was shown with what came of it, and learns.

    leases of the shards ──▶ own: restore what was committed
    log ──▶ each shard's joins ──▶ examples ──▶ Shard.learn ──▶ commit: one script for each shard

Any number of these processes share the shards; each reads the whole log and keeps what was shown to the personas of its
own shards. A commit carries the epoch under which the shard was taken over: whoever was superseded is refused by the
script, and lets the shard go. Killed at any instant, the next one continues from what was committed, bit for bit.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from behavior import event as events
from behavior import served as served_entries
from behavior.errors import BadInput
from behavior.event import Admitted, admit
from behavior.partition import partition_of
from behavior.served import EVENT_ENTRY, Served
from deployment.clock import Clock
from deployment.generations import FROZEN, GENERATION, SHARDS
from deployment.keys import Keys, ShardKeys
from scoring.example import Example
from scoring.fold import by_partition, no_cycles
from scoring.joiner import PartitionJoin
from scoring.learn_state import LearnState, Step, Stretch, Taken
from scoring.leases import Leases
from scoring.log import GAP_ENTRY, Entry, Log, share_of_each, waited_s
from scoring.pending import Place
from scoring.residuals import is_followed
from scoring.shard import Shard

if TYPE_CHECKING:
    import redis

_log = logging.getLogger("opportune.learn")
ROLE = "learn"
WAIT_MS = 200
# Negatives come with time, where nothing else comes in; they may be a little late.
LOOK_S = 0.1

# What makes the join of a partition for a shard: the partition's place, and which personas are the shard's.
Joining = Callable[[Place | None, Callable[[str], bool]], PartitionJoin]


@dataclass(frozen=True, slots=True)
class Read:
    """A stretch of the log as it was read, decoded once for all shards.

    entries   by partition: k and what it is, None at the end of a stretch that was trimmed away
    now       nothing that was not in the log when it was read is admitted before this; None if nobody has looked
    """

    entries: Mapping[int, Sequence[tuple[int, Admitted | Served | None]]]
    now: int | None


class OwnShard:
    """One shard owned by this process: its joins, what it has learned, and how often that was committed."""

    def __init__(
        self, number: int, epoch: int, state: LearnState, joining: Joining, learned: Shard, keys: Keys, shards: int
    ) -> None:
        known = state.committed(number)
        self.number, self.epoch = number, epoch
        self.commits, self.version = known.commits, known.version
        self.learned = learned
        self.learned.restore(known.numbers)
        mine = partial(is_of, number, shards)
        self.joins = [joining(known.places.get(partition), mine) for partition in range(keys.partitions)]
        for partition, pending in known.pending:
            self.joins[partition].restore(pending)

    def take(self, read: Read) -> tuple[list[Example], list[Stretch]]:
        """The examples that a stretch of the log and time bring, and what was taken for them; in this order."""
        examples: list[Example] = []
        taken: list[Stretch] = []
        for partition, entries in read.entries.items():
            join = self.joins[partition]
            after = join.place.offset
            new = [each for each in entries if each[0] > after]  # another shard of this process may lag behind
            for k, entry in new:
                examples += take(join, k, entry)
            if new:
                taken.append(Stretch(partition, after, join.place.offset, len(new)))
        if read.now is not None:
            for partition, join in enumerate(self.joins):
                if partition not in read.entries and join.is_due(read.now):
                    examples += join.wait(read.now)
                    taken.append(Stretch(partition, join.place.offset, join.place.offset, 0, read.now))
        return examples, taken

    def step(self, examples: Sequence[Example], taken: Sequence[Stretch], *, is_frozen: bool) -> Step:
        """Learn the examples, or only look at them; what is to be committed of it."""
        self.learned.is_frozen = is_frozen
        self.learned.learn(examples)
        changed = self.learned.changed()
        record = Taken(self.version + any(map(is_followed, changed)), tuple(taken), is_frozen)
        joins = {stretch.partition: self.joins[stretch.partition] for stretch in taken}
        return Step(self.number, self.epoch, self.commits, record, changed, joins)


class Learning:
    """Shares the shards with the other learner processes, and learns what its own are to learn.

    look_s   how often time is asked for what it has settled (seconds)
    """

    def __init__(
        self, client: "redis.Redis", keys: Keys, log: Log, clock: Clock, joining: Joining, learner: Callable[[], Shard],
        *, shards: int, holder: str, ttl_ms: int, look_s: float = LOOK_S,
    ) -> None:  # fmt: skip
        self._client = client
        self._keys = keys
        self._log = log
        self._clock = clock
        self._joining = joining
        self._learner = learner
        self._shard_keys = ShardKeys(keys.prefix, shards)
        self._leases = Leases(client, self._shard_keys, ROLE, holder, ttl_ms, self._shard_keys.meta)
        self._state = LearnState(client, self._shard_keys)
        self._look_s = look_s
        self._next_look = 0.0
        # Whether Redis held the deployment when this was last asked, and when to ask again.
        self._is_agreed = False
        self._next_agreement = 0.0
        self._is_fenced = False
        # Whether the operator wants nothing learned; asked for as often as leases are renewed.
        self.is_frozen = False
        # How long the oldest entry had waited in the log when this last looked at the clock.
        self.waited_s = 0.0
        self.own: dict[int, OwnShard] = {}

    def run(
        self,
        stopping: threading.Event,
        learned: Callable[[list[Example], "Learning"], None] = lambda examples, learning: None,
    ) -> None:
        """Learn until told to stop; `learned(examples, self)` is called after each round. Leaves all leases.

        Raises BadInput if the deployment has another number of shards meanwhile.
        """
        while not stopping.is_set():
            learned(self.step(min(WAIT_MS, self._leases.pause_ms)), self)
        self.release()

    def step(self, wait_ms: int = 0) -> list[Example]:
        """Keep the leases, learn what the log holds and what time has settled, and commit it; the examples."""
        if not self._has_deployment():
            self.own.clear()
            time.sleep(wait_ms / 1000)
            return []
        at_once, self._is_fenced = self._is_fenced, False
        self._adopt(self._leases.refresh(at_once=at_once))
        now, entries = self._read(wait_ms)
        with no_cycles():
            return self._learn(Read(_decoded(entries), now))

    def release(self) -> None:
        """Give up everything, so that others take over at once."""
        self._leases.release()
        self.own.clear()

    def _learn(self, read: Read) -> list[Example]:
        """Learn what was read, shard by shard, and commit it; the examples."""
        steps, examples = [], []
        for own in self.own.values():
            its, taken = own.take(read)
            if taken:
                steps.append(own.step(its, taken, is_frozen=self.is_frozen))
                examples += its
        self._commit(steps)
        return examples

    def _read(self, wait_ms: int) -> tuple[int | None, list[Entry]]:
        """What the log holds beyond the offsets, and until when that is all, if it is time to ask."""
        now = None
        if time.monotonic() >= self._next_look:
            # Read before the log: what is not in the log afterwards is admitted later than this.
            now, self._next_look = self._clock.now(), time.monotonic() + self._look_s
        entries = self._log.read(self._offsets(), wait_ms, share_of_each(self._keys.partitions))
        if now is not None:
            self.waited_s = waited_s(now, entries)
        return now, entries

    def _offsets(self) -> dict[int, int]:
        """How far all of the own shards have come."""
        if not self.own:
            return {}
        return {
            partition: min(own.joins[partition].place.offset for own in self.own.values())
            for partition in range(self._keys.partitions)
        }

    def _commit(self, steps: Sequence[Step]) -> None:
        for step, is_committed in zip(steps, self._state.commit(steps), strict=True):
            if is_committed:
                own = self.own[step.shard]
                own.commits, own.version = step.commits + 1, step.taken.version
            else:
                _log.warning("shard %d was taken over by another learner; this one lets it go", step.shard)
                del self.own[step.shard]
                self._is_fenced = True

    def _adopt(self, owned: Mapping[int, int]) -> None:
        """Begin with the shards that are new or granted anew, and let go of those that are gone."""
        for number in [number for number, own in self.own.items() if owned.get(number) != own.epoch]:
            del self.own[number]
        for number, epoch in owned.items():
            if number not in self.own:
                own = OwnShard(
                    number, epoch, self._state, self._joining, self._learner(), self._keys, self._shard_keys.shards
                )
                self.own[number] = own
                _log.info("learning shard %d of %d from version %d", number, self._shard_keys.shards, own.version)

    def _has_deployment(self) -> bool:
        """Whether Redis holds the deployment; a fresh one is left alone until `opportune rebuild` has filled it.

        Raises BadInput if it has another number of shards.
        """
        if time.monotonic() < self._next_agreement:
            return self._is_agreed
        self._next_agreement = time.monotonic() + self._leases.pause_ms / 1000
        name, shards = self._keys.deployment(), self._shard_keys.shards
        generation, said, frozen = self._client.hmget(name, [GENERATION, SHARDS, FROZEN])
        self.is_frozen = frozen is not None
        self._is_agreed = generation is not None
        if self._is_agreed and said is None:
            self._client.hsetnx(name, SHARDS, shards)
        if said is not None and int(said) != shards:
            raise BadInput(f"the learner has {int(said)} shards now; set `learner_shards` to that and start anew")
        return self._is_agreed


def begin(client: "redis.Redis", keys: Keys, shards: int) -> None:
    """Let the deployment have so many shards; what another number of them had learned is forgotten."""
    said: Any = client.hget(keys.deployment(), SHARDS)
    client.hset(keys.deployment(), SHARDS, shards)
    if said is not None and int(said) != shards:
        _log.warning("%d shards had learned, %d begin anew", int(said), shards)
        former = ShardKeys(keys.prefix, int(said))
        for number in range(former.shards):
            client.unlink(*former.all_of(number))


def take(join: PartitionJoin, k: int, entry: Admitted | Served | None) -> list[Example]:
    """The examples that an entry of the log brings, by its kind."""
    if entry is None:
        return join.take_gap(k)
    if isinstance(entry, Served):
        return join.take_served(entry, k)
    return join.take_event(entry)


def decoded_of(entry: Entry) -> Admitted | Served | None:
    """What an entry of the log is; None for a gap."""
    if entry.type == EVENT_ENTRY:
        return admit(events.decode(entry.payload), entry.k)
    return None if entry.type == GAP_ENTRY else served_entries.decode(entry.payload)


def _decoded(entries: Sequence[Entry]) -> dict[int, list[tuple[int, Admitted | Served | None]]]:
    return {number: [(entry.k, decoded_of(entry)) for entry in mine] for number, mine in by_partition(entries).items()}


def is_of(shard: int, shards: int, persona: str) -> bool:
    """Whether what was shown to a persona is learned by a shard."""
    return partition_of(persona, shards) == shard

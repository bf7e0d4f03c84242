"""A shard's state in Redis: plain numbers, committed in one script that checks who may write.

    meta      epoch, commits, version            order     what each commit has taken, in the order of learning
    numbers   all that was learned               deltas    what each version has changed, for scorers
    places    how far each partition was read
    recent    what came in before what led to it, perhaps
    pending   served entries that wait for outcomes

Whoever restores these continues bit for bit. And whoever follows the order over the log, or over its archive, learns
the same numbers again without asking Redis for any of them: that is how a test proves that nothing was lost or doubled.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from deployment.keys import ShardKeys
from scoring.joiner import PartitionJoin
from scoring.packed_numbers import encode_delta, packed, unpacked
from scoring.pending import Pending, Place, Reaction
from scoring.residuals import is_followed
from scoring.scripts import Run, Script, lua

if TYPE_CHECKING:
    import redis

# Records of the order, about 40 bytes each, and deltas that a shard keeps in Redis. A scorer that missed more deltas
# than these, ten seconds of a busy shard, reads all numbers anew.
ORDER_KEPT = 1_000_000
DELTAS_KEPT = 10_000


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """What a commit has taken of one partition.

    after, upto   offsets: entries with after < k <= upto
    entries       how many these were; fewer than the archive has if the log had been trimmed before they were read,
                  and only events were left of it
    until         0; where nothing was read, the instant before which nothing more could come
    """

    partition: int
    after: int
    upto: int
    entries: int
    until: int = 0


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """A record of the order: what a commit has taken, in this order, and the version that it made of the numbers.

    is_frozen   whether the operator wanted nothing learned of it
    """

    version: int
    stretches: tuple[Stretch, ...]
    is_frozen: bool = False


_encoder = msgspec.msgpack.Encoder()
_place = msgspec.msgpack.Decoder(Place)
_recent = msgspec.msgpack.Decoder(Reaction)
_pending = msgspec.msgpack.Decoder(Pending)
_taken = msgspec.msgpack.Decoder(Taken)


@dataclass(frozen=True, slots=True)
class Committed:
    """A shard as it was last committed.

    commits   how many there were
    version   how many of these have changed the numbers
    pending   by partition
    """

    commits: int
    version: int
    numbers: Mapping[str, tuple[float, ...]]
    places: Mapping[int, Place]
    pending: Sequence[tuple[int, Pending]]


@dataclass(frozen=True, slots=True)
class Step:
    """What a shard is to commit: by whom and after how many commits, and what has changed."""

    shard: int
    epoch: int
    commits: int
    taken: Taken
    changed: Mapping[str, tuple[float, ...] | None]
    joins: Mapping[int, PartitionJoin]


class LearnState:
    """Reads and commits the states of shards."""

    def __init__(self, client: "redis.Redis", keys: ShardKeys) -> None:
        self._client = client
        self._keys = keys
        self._commit = Script(client, lua("learn.lua"))
        # By shard and partition: what is stored of what came in a moment ago, by k. It has a field for each, since all
        # of it, with every commit, would be most of what is written.
        self._recent: dict[tuple[int, int], dict[int, bytes]] = {}

    def committed(self, shard: int) -> Committed:
        """The shard as last committed; to be asked by who owns it, so that nobody commits meanwhile."""
        keys = self._keys
        with self._client.pipeline(transaction=False) as together:
            together.hmget(keys.meta(shard), "commits", "version")
            for key in (keys.numbers(shard), keys.places(shard), keys.recent(shard), keys.pending(shard)):
                together.hgetall(key)
            (commits, version), numbers, places, recent, pending = together.execute()
        found = {int(partition): _place.decode(data) for partition, data in places.items()}
        self._restore(shard, found, recent)
        return Committed(
            int(commits or 0), int(version or 0),
            {key.decode(): unpacked(data) for key, data in numbers.items()}, found,
            [(int(name.partition(b"|")[0]), _pending.decode(data)) for name, data in pending.items()],
        )  # fmt: skip

    def commit(self, steps: Sequence[Step]) -> list[bool]:
        """Commit a step of each of some shards; False where another process has taken the shard over.

        Raises redis.RedisError: then nothing is known of what was committed.
        """
        answers = self._commit.run([self._run(step) for step in steps])
        for step, answer in zip(steps, answers, strict=True):
            if answer:
                for partition, join in step.joins.items():
                    join.changed.clear()
                    self._recent[step.shard, partition] = _encoded(join)
        return [bool(answer) for answer in answers]

    def _run(self, step: Step) -> Run:
        changed = {key: None if values is None else packed(values) for key, values in step.changed.items()}
        followed = {key: data for key, data in changed.items() if is_followed(key)}
        args: list[bytes | str | int] = [
            step.epoch, step.commits, step.taken.version, _encoder.encode(step.taken), ORDER_KEPT,
            encode_delta(followed) if followed else b"", DELTAS_KEPT,
            *_fields(changed), *_fields(_places(step.joins)), *_fields(self._news(step)),
            *_fields(_entries(step.joins)),
        ]  # fmt: skip
        return Run(self._keys.all_of(step.shard), args)

    def _news(self, step: Step) -> dict[str, bytes | None]:
        """What differs in what came in a moment ago from what is stored of it; None for what is not kept any more."""
        news: dict[str, bytes | None] = {}
        for partition, join in step.joins.items():
            stored, now = self._recent.get((step.shard, partition), {}), _encoded(join)
            news |= {f"{partition}|{k}": data for k, data in now.items() if stored.get(k) != data}
            news |= {f"{partition}|{k}": None for k in stored if k not in now}
        return news

    def _restore(self, shard: int, places: Mapping[int, Place], recent: Mapping[bytes, bytes]) -> None:
        """Give the places what came in a moment ago, in its order."""
        by_partition: dict[int, dict[int, bytes]] = {partition: {} for partition in places}
        for name, data in recent.items():
            partition_of_it, _, k = name.partition(b"|")
            by_partition[int(partition_of_it)][int(k)] = data
        for partition, stored in by_partition.items():
            places[partition].recent = [_recent.decode(data) for _, data in sorted(stored.items())]
            self._recent[shard, partition] = stored


def order_of(client: Any, keys: ShardKeys, shard: int) -> list[Taken]:
    """The records of a shard's order that Redis still has, the oldest first. Raises redis.RedisError."""
    return [_taken.decode(fields[b"r"]) for _, fields in client.xrange(keys.order(shard))]


def _fields(fields: Mapping[str, bytes | None]) -> list[bytes | str | int]:
    """The arguments of a hash: what to set, and what to delete."""
    kept = [(name, data) for name, data in fields.items() if data is not None]
    gone = [name for name, data in fields.items() if data is None]
    pairs: Iterator[bytes | str] = chain.from_iterable(kept)
    return [len(kept), *pairs, len(gone), *gone]


def _places(joins: Mapping[int, PartitionJoin]) -> dict[str, bytes | None]:
    bare = {partition: msgspec.structs.replace(join.place, recent=[]) for partition, join in joins.items()}
    return {str(partition): _encoder.encode(place) for partition, place in bare.items()}


def _encoded(join: PartitionJoin) -> dict[int, bytes]:
    return {each.k: _encoder.encode(each) for each in join.place.recent}


def _entries(joins: Mapping[int, PartitionJoin]) -> dict[str, bytes | None]:
    entries: dict[str, bytes | None] = {}
    for partition, join in joins.items():
        for request_id in join.changed:
            pending = join.pending.get(request_id)
            entries[f"{partition}|{request_id}"] = None if pending is None else _encoder.encode(pending)
    return entries

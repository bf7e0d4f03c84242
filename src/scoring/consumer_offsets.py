"""How far the consumers of the log have come: what the log is not trimmed beyond as long as there is room."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import msgspec

from deployment.generations import SHARDS
from deployment.keys import Keys, ShardKeys
from scoring.pending import Place

if TYPE_CHECKING:
    import redis

# Every generation has a fold of its own while a rebuild fills the next one.
_GENERATIONS = 2


def slowest(client: "redis.Redis", keys: Keys, partitions: Collection[int]) -> dict[int, int]:
    """The least offset of any fold and of any shard of the learner, for each of the partitions; 0 where none has begun.

    Consumers that never ran do not count: neither a generation nor a learner that left nothing in Redis.
    """
    reached = _folds(client, keys, partitions)
    for places in _places(client, keys):
        for partition in partitions:
            place = places.get(str(partition).encode())
            offset = 0 if place is None else msgspec.msgpack.decode(place, type=Place).offset
            reached[partition] = min(reached[partition], offset)
    return reached


def _places(client: "redis.Redis", keys: Keys) -> list[dict[bytes, bytes]]:
    """Of each shard of the learner its places, by partition."""
    said: Any = client.hget(keys.deployment(), SHARDS)
    shards = ShardKeys(keys.prefix, int(said or 0))
    with client.pipeline(transaction=False) as together:
        for shard in range(shards.shards):
            together.hgetall(shards.places(shard))
        return list(together.execute())


def _folds(client: "redis.Redis", keys: Keys, partitions: Collection[int]) -> dict[int, int]:
    with client.pipeline(transaction=False) as together:
        for partition in partitions:
            together.hget(keys.meta(partition), "generation")
        generations = [int(found or 1) for found in together.execute()]
        for partition, generation in zip(partitions, generations, strict=True):
            for each in range(generation, generation + _GENERATIONS):
                together.hmget(keys.place(partition, each), "epoch", "offset")
        places = iter(together.execute())
    reached = {}
    for partition in partitions:
        current, following = (next(places) for _ in range(_GENERATIONS))
        # The states that are read may not have begun; the next ones exist once somebody has taken them over.
        offsets = [int(current[1] or 0), *([int(following[1] or 0)] if any(following) else [])]
        reached[partition] = min(offsets)
    return reached

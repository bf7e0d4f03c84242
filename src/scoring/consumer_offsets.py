"""How far the consumers of the log have come: what the log is not trimmed beyond as long as there is room."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import msgspec

from deployment.keys import Keys
from scoring.pending import Place

if TYPE_CHECKING:
    import redis

# Every generation has a fold of its own while a rebuild fills the next one.
_GENERATIONS = 2


def slowest(client: "redis.Redis", keys: Keys, partitions: Collection[int]) -> dict[int, int]:
    """The least offset of any fold and of the learner, for each of the partitions; 0 if one has not begun there.

    Consumers that never ran do not count: neither a generation nor a learner that left nothing in Redis.
    """
    reached = _folds(client, keys, partitions)
    learned: Any = client.hgetall(keys.learner("offsets"))
    if learned:
        for partition in partitions:
            place = learned.get(str(partition).encode())
            offset = 0 if place is None else msgspec.msgpack.decode(place, type=Place).offset
            reached[partition] = min(reached[partition], offset)
    return reached


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

"""What a learner has left in Redis, for tests that need none to run, and for those that look at what one did."""

from collections.abc import Mapping
from typing import Any

import msgspec

from deployment.generations import SHARDS
from deployment.keys import Keys, ShardKeys
from scoring.cross_keys import CATEGORY_CROSS
from scoring.learners import CROSSES, canonical_hash, key_of
from scoring.packed_numbers import packed, unpacked
from scoring.pending import Place


def learned(client: Any, keys: Keys, version: int, weights: Mapping[str, float], persona: str = "") -> None:
    """Let the only shard have read everything, and learned these weights by category, of one persona."""
    shards = ShardKeys(keys.prefix, 1)
    client.hset(keys.deployment(), SHARDS, 1)
    client.hset(shards.meta(0), mapping={"epoch": 1, "commits": version, "version": version})
    everything = msgspec.msgpack.encode(Place(offset=2**62))
    client.hset(shards.places(0), mapping=dict.fromkeys(range(keys.partitions), everything))
    for tick, (category, weight) in enumerate(weights.items(), 1):
        cross = key_of(CROSSES, CATEGORY_CROSS, "", persona, category)
        client.hset(shards.numbers(0), cross, packed((weight, 1.0, float(tick))))


def numbers_of(client: Any, keys: ShardKeys, shard: int) -> dict[str, tuple[float, ...]]:
    """All that a shard has learned."""
    return {key.decode(): unpacked(data) for key, data in client.hgetall(keys.numbers(shard)).items()}


def hash_of(client: Any, keys: ShardKeys, shard: int) -> str:
    """The canonical hash of all that a shard has learned."""
    return canonical_hash(numbers_of(client, keys, shard))

"""What a learner has left in Redis, for tests that need none to run, and for those that look at what one did."""

from collections.abc import Mapping
from typing import Any

import msgspec

from behavior.served import CATEGORY
from deployment.generations import SHARDS
from deployment.keys import Keys, ShardKeys
from deployment.settings import Settings
from scoring.cross_keys import CATEGORY_CROSS, Context
from scoring.learners import CROSSES, canonical_hash, key_of
from scoring.packed_numbers import packed, unpacked
from scoring.pending import Place
from scoring.residuals import Residuals
from tests.scoring.shown import PERSONAS
from tests.scoring.small import CATEGORIES, START

# The bound of corrections that deployments have by default, in logits.
BOUND = float(Settings.model_fields["residual_bound"].default)


def learned(client: Any, keys: Keys, version: int, weights: Mapping[str, float], persona: str = "") -> None:
    """Let the only shard have read everything, and learned these weights by category, of one persona."""
    shards = ShardKeys(keys.prefix, 1)
    client.hset(keys.deployment(), SHARDS, 1)
    client.hset(shards.meta(0), mapping={"epoch": 1, "commits": version, "version": version})
    everything = msgspec.msgpack.encode(Place(offset=2**62))
    client.hset(shards.places(0), mapping=dict.fromkeys(range(keys.partitions), everything))
    for tick, (category, weight) in enumerate(weights.items(), 1):
        client.hset(shards.numbers(0), of_category(persona, category), packed((weight, 1.0, float(tick))))


def of_category(persona: str, category: str) -> str:
    """The key of a category's own cross."""
    return key_of(CROSSES, CATEGORY_CROSS, "", persona, category)


def numbers_of(client: Any, keys: ShardKeys, shard: int) -> dict[str, tuple[float, ...]]:
    """All that a shard has learned."""
    return {key.decode(): unpacked(data) for key, data in client.hgetall(keys.numbers(shard)).items()}


def hash_of(client: Any, keys: ShardKeys, shard: int) -> str:
    """The canonical hash of all that a shard has learned."""
    return canonical_hash(numbers_of(client, keys, shard))


def looked_up(residuals: Residuals) -> list[object]:
    """All that a scorer would be answered about what the scenes of `tests.scoring.shown` teach."""
    found: list[object] = [residuals.version]
    for persona in PERSONAS:
        found.append(residuals.is_resting(persona))
        found.append(residuals.lookup(persona, Context(), CATEGORY, CATEGORIES, CATEGORIES).tolist())
        found += [each.tolist() for each in residuals.rates(persona, CATEGORIES, START)]
    return found

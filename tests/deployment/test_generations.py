"""Generations on a real Redis: who begins the first one, whose plan counts, and what processes must agree on."""

import asyncio
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio

from behavior.errors import BadInput, Unavailable
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from behavior.words import count, ever
from deployment.generations import FIRST, Plans, agree, generation_of, serving
from deployment.keys import Keys

PLANS = [
    Plan([ViewDefinition("v", "user", ("purchase",), (FeatureDefinition("f", spec),))])
    for spec in (count("purchase"), ever("purchase"))
]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as made:
        yield made


@pytest.fixture
def keys(prefix: str) -> Keys:
    return Keys(prefix, 4)


def refuse() -> Plan:
    raise AssertionError("nobody asks for the plan of the file")


def test_the_first_process_begins_the_first_generation(client: redis.Redis, keys: Keys) -> None:
    """Under its plan; who comes later follows the plan of the states, whatever its own file says meanwhile."""
    assert serving(client, keys) is None
    assert agree(client, keys, lambda: PLANS[0]) == FIRST
    assert serving(client, keys) == FIRST
    assert agree(client, keys, refuse) == FIRST
    assert Plans(keys).of(client, FIRST).fingerprints == PLANS[0].fingerprints


def test_of_two_that_begin_at_once_one_plan_is_kept(client: redis.Redis, keys: Keys) -> None:
    """The one that wrote first; the other agrees to it."""
    assert agree(client, keys, lambda: (agree(client, keys, lambda: PLANS[0]), PLANS[1])[1]) == FIRST
    assert Plans(keys).of(client, FIRST).fingerprints == PLANS[0].fingerprints


def test_another_number_of_partitions_is_refused(client: redis.Redis, keys: Keys) -> None:
    """Before anything is read or written under the wrong names."""
    agree(client, keys, lambda: PLANS[0])
    with pytest.raises(BadInput, match="4 partitions, the settings say 8; set `partitions` to 4"):
        agree(client, Keys(keys.prefix, 8), refuse)


def test_half_of_a_first_rebuild_is_not_served(client: redis.Redis, keys: Keys) -> None:
    """A rebuild into an empty Redis that was cut off leaves no generation, and nobody begins one beside it."""
    client.hset(keys.deployment(), mapping={"partitions": "4", "rebuilding": "1"})
    with pytest.raises(BadInput, match="was cut off"):
        agree(client, keys, refuse)
    client.hset(keys.deployment(), "generation", 1)
    assert agree(client, keys, refuse) == 1


def test_a_rebuild_beside_a_serving_generation_disturbs_nobody(client: redis.Redis, keys: Keys) -> None:
    """The generation that serves is the one to agree to until it is swapped."""
    agree(client, keys, lambda: PLANS[0])
    client.hset(keys.deployment(), "rebuilding", 2)
    assert agree(client, keys, refuse) == FIRST
    client.hset(keys.deployment(), "generation", 2)
    assert (agree(client, keys, refuse), serving(client, keys)) == (2, 2)


def test_plans_are_read_once(client: redis.Redis, keys: Keys) -> None:
    """A generation's plan never changes; until all are forgotten, since Redis was lost."""
    client.set(keys.plan(1), PLANS[0].encode())
    plans = Plans(keys)
    first = plans.of(client, 1)
    client.set(keys.plan(1), PLANS[1].encode())
    assert plans.of(client, 1) is first
    plans.forget()
    assert plans.of(client, 1).fingerprints == PLANS[1].fingerprints


def test_plans_are_read_within_an_event_loop(client: redis.Redis, keys: Keys, redis_url: str) -> None:
    """The same plans, by an asyncio client; and a generation without one is told."""
    client.set(keys.plan(3), PLANS[0].encode())

    async def read(plans: Plans, generation: int) -> Plan:
        async with redis.asyncio.Redis.from_url(redis_url) as inside:
            return await plans.of_async(inside, generation)

    plans = Plans(keys)
    found = asyncio.run(read(plans, 3))
    assert found.fingerprints == PLANS[0].fingerprints
    assert plans.of(client, 3) is found
    with pytest.raises(Unavailable, match="no plan of generation 4"):
        asyncio.run(read(plans, 4))
    with pytest.raises(Unavailable, match="no plan of generation 4"):
        plans.of(client, 4)


def test_each_partition_says_which_generation_it_serves(client: redis.Redis, keys: Keys) -> None:
    """The first one until a rebuild has swapped it, each on its own."""
    assert generation_of(client, keys, 2) == FIRST
    client.hset(keys.meta(2), "generation", 5)
    assert [generation_of(client, keys, number) for number in range(4)] == [1, 1, 5, 1]

"""The names of everything in Redis: apart from each other, together by partition, and gone together."""

import fnmatch
import re

import pytest

from deployment.keys import Keys, ShardKeys

KEYS = Keys("shop.a", 64)
SHARDS = ShardKeys("shop.a", 2)


def of_partition(keys: Keys, number: int, generation: int = 1) -> list[bytes]:
    """All keys of one partition."""
    return [
        keys.stream(number), keys.meta(number), keys.counts(number), keys.dedupe(number, "m1"), keys.dead(number),
        keys.lease(number, "fold"), keys.lease(number, "archive"), *of_generation_in(keys, number, generation),
    ]  # fmt: skip


def of_generation_in(keys: Keys, number: int, generation: int) -> list[bytes]:
    return [keys.place(number, generation), keys.user(number, generation, "k1-a"), keys.deltas(number, generation)]


def of_generation(keys: Keys, generation: int) -> list[bytes]:
    """All shared keys of one generation."""
    return [
        keys.plan(generation), keys.snapshot(generation), keys.whole(generation, "v"), keys.rows(generation, "v"),
        keys.changes(generation),
    ]  # fmt: skip


def shared(keys: Keys) -> list[bytes]:
    return [keys.clock(), keys.deployment(), keys.publisher(), keys.rebuilder(), keys.members("fold")]


def of_shard(keys: ShardKeys, number: int) -> list[bytes]:
    """All keys of one shard of the learner."""
    return [*keys.all_of(number), keys.lease(number, "learn")]


def tag(key: bytes) -> bytes:
    """What Redis Cluster hashes of a key: what stands between the first braces."""
    found = re.search(rb"\{([^}]+)\}", key)
    assert found
    return found[1]


def matches(pattern: str, key: bytes) -> bool:
    """As Redis's SCAN matches: like a shell, but a backslash takes the next character as it is."""
    shell = re.sub(r"\\(.)", r"[\1]", pattern)
    return fnmatch.fnmatchcase(key.decode(), shell)


def test_no_two_things_share_a_name() -> None:
    """Of partitions, generations, the deployment, and of another number of partitions."""
    names = [
        name
        for keys in (KEYS, Keys("shop.a", 6), Keys("shop", 64))
        for name in [
            *(name for number in (0, 1, 6) for name in of_partition(keys, number)),
            *of_generation_in(keys, 0, 2), *of_generation_in(keys, 0, 11),
        ]
    ]  # fmt: skip
    everywhere = [*of_generation(KEYS, 1), *of_generation(KEYS, 11), *shared(KEYS), *of_shard(SHARDS, 0)]
    assert len({*names, *everywhere}) == len(names) + len(everywhere)
    assert all(name.startswith(b"shop.a:") for name in everywhere)


def test_a_partition_has_one_hash_tag() -> None:
    """So that one script can commit its keys together, on a cluster too; whatever a message id or a user looks like."""
    assert {tag(name) for name in of_partition(KEYS, 7)} == {b"7/64"}
    assert tag(KEYS.dedupe(7, "{0/64}")) == tag(KEYS.user(7, 1, "{x}")) == b"7/64"
    assert {tag(name) for name in (*of_generation(KEYS, 3), *shared(KEYS))} == {b"shared"}
    assert {tag(name) for name in of_shard(SHARDS, 1)} == {b"learner/1/2"}


def test_a_user_is_at_home_in_its_partition() -> None:
    """The partition is that of the pseudonym among so many."""
    homes = {KEYS.partition_of(f"k1-{number}") for number in range(2000)}
    assert homes == set(range(64))
    assert Keys("x", 1).partition_of("k1-a") == 0


PREFIXES = pytest.mark.parametrize("prefix", ["shop", "shop.a", "sh[o]p*?", "sh\\op"])
# What a client may call a message or a user; the keys' own words among it.
SLY = ("}:g1:user:", "{3/64}:g1:place", "}{shared}:g1:plan", "g1:", "*")


@PREFIXES
def test_a_generation_is_found_whole_and_alone(prefix: str) -> None:
    """What states are deleted by: the pattern finds all of them, and each key says which generation it belongs to."""
    keys, others = Keys(prefix, 64), [Keys("shopping", 64), Keys("other", 64)]
    for generation in (1, 2, 11):
        mine = [*of_generation(keys, generation), *of_generation_in(keys, 3, generation)]
        mine += [keys.user(3, generation, sly) for sly in SLY]
        assert all(matches(keys.states_pattern(), name) for name in mine)
        assert {keys.generation_of(name) for name in mine} == {generation}
    theirs = [
        *shared(keys), *(set(of_partition(keys, 3)) - set(of_generation_in(keys, 3, 1))),
        *of_shard(ShardKeys(prefix, 64), 3),
        *(keys.dedupe(3, sly) for sly in SLY), keys.plain("g1", b":g1:x"),
        *(name for other in others for name in (*of_generation(other, 1), *of_generation_in(other, 3, 1))),
    ]  # fmt: skip
    assert {keys.generation_of(name) for name in theirs} == {None}
    assert not [name for name in (*shared(keys), keys.stream(3)) if matches(keys.states_pattern(), name)]


@PREFIXES
def test_partitions_of_one_number_are_found_whole_and_alone(prefix: str) -> None:
    """After a move the old partitions go, and the new ones, what is shared and other deployments stay."""
    keys = Keys(prefix, 64)
    mine = [name for number in (0, 63) for name in of_partition(keys, number)]
    mine += [keys.dedupe(3, sly) for sly in SLY] + [keys.user(3, 1, sly) for sly in SLY]
    assert all(matches(keys.partitions_pattern(), name) and keys.is_of_partition(name) for name in mine)
    theirs = [
        *of_partition(Keys(prefix, 4), 0), *of_partition(Keys(prefix, 164), 0), *of_partition(Keys("shop.b", 64), 0),
        *(Keys(prefix, 4).dedupe(0, sly) for sly in ("}{3/64}:x", "{3/64}:")), *of_generation(keys, 1), *shared(keys),
        *of_shard(ShardKeys(prefix, 64), 3), keys.plain("v", b"{3/64}:"),
    ]  # fmt: skip
    assert not [name for name in theirs if keys.is_of_partition(name)]

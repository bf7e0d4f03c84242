"""The fold on a real Redis: states, deltas and the snapshot are what the events say, whoever is killed or overtaken."""

import random
from collections.abc import Iterator

import pytest

from behavior.event import DAY_US, HOUR_US
from deployment.clock import Clock
from tests.scoring.deployments import (
    INTERVAL,
    PARTITIONS,
    START,
    USERS,
    Deployment,
    assert_snapshot_is_the_oracles,
    assert_users_are_the_oracles,
    drain,
    events_of,
)


@pytest.fixture
def deployment(redis_url: str, prefix: str) -> Iterator[Deployment]:
    """A fresh deployment."""
    made = Deployment(redis_url, prefix)
    yield made
    made.client.close()


def test_states_are_what_the_oracle_says_after_late_and_tied_events(deployment: Deployment) -> None:
    """Served values equal the naive oracle's for every user, category and feature, at several instants."""
    folding = deployment.folding()
    for hour, seed in ((0, 1), (3, 2), (24 * 35, 3)):
        now = START + hour * HOUR_US
        deployment.advance(now)
        deployment.append(events_of(60, seed, now))
        drain(folding)
        last = max(each.k for each in deployment.admitted)
        assert_users_are_the_oracles(deployment, (last + 1, last + 26 * HOUR_US))


def test_the_snapshot_is_what_the_oracle_says_at_every_interval(deployment: Deployment) -> None:
    """Item, category and `all` values are those of the last whole interval, also after days and after retention."""
    folding = deployment.folding()
    draw = random.Random(4)
    now = START
    for seed in range(12):
        now += draw.choice((INTERVAL // 3, INTERVAL, 3 * INTERVAL, HOUR_US, 8 * DAY_US, 41 * DAY_US))
        deployment.advance(now)
        deployment.append(events_of(draw.choice((0, 5, 20)), seed, now))
        drain(folding)
        found = deployment.snapshot()
        assert found.s == now - now % INTERVAL
        assert_snapshot_is_the_oracles(found, deployment.admitted)
    assert len(deployment.admitted) > 50


def test_events_of_an_interval_wait_for_its_end(deployment: Deployment) -> None:
    """What was admitted within the interval that is still open is in no published value, and in its deltas."""
    folding = deployment.folding()
    deployment.append(events_of(40, seed=3))
    drain(folding)
    found = deployment.snapshot()
    assert found.s == START
    assert [found.ids(view.name) for view in deployment.plan.snapshot_views] == [[], [], []]
    open_deltas = deployment.stored()[":{0/4}:deltas"]
    assert {int(field.split(b"|")[0]) for field in open_deltas} == {START + INTERVAL}


@pytest.mark.parametrize("seed", range(3))
def test_a_restarted_fold_gives_the_same_bytes(redis_url: str, prefix: str, seed: int) -> None:
    """A fold that is thrown away at any moment, also within an interval, leaves the bytes of one that ran through."""
    draw = random.Random(seed)
    through, thrown_away = Deployment(redis_url, prefix), Deployment(redis_url, f"{prefix}-other")
    folding, now = through.folding(), START
    for number in range(8):
        now += draw.choice((0, 1, INTERVAL // 2, 2 * INTERVAL, 30 * HOUR_US))
        events = events_of(15, 100 * seed + number, now)
        for each in (through, thrown_away):
            each.advance(now)
            each.append(events)
        drain(folding)
        for attempt in range(draw.choice((0, 1, 2))):
            thrown_away.expire_leases()
            thrown_away.folding(f"{number}.{attempt}").step()
    thrown_away.expire_leases()
    drain(thrown_away.folding("last"))
    assert thrown_away.stored() == through.stored()
    assert len(through.stored()) > 10


def test_a_fold_that_was_taken_over_lets_go_and_changes_nothing(deployment: Deployment) -> None:
    """The commit of a superseded process is refused whole, it gives the partition up, and its successor goes on."""
    old = deployment.folding("old")
    deployment.append(events_of(20, seed=5))
    drain(old)
    deployment.append(events_of(20, seed=6))
    deployment.expire_leases()
    new = deployment.folding("new")
    assert new.fold.partitions == {}
    new.fold.own(new._grants())
    before = deployment.stored()
    assert old.fold.step() > 0
    assert deployment.stored() == before
    assert old.fold.partitions.keys() == {2}  # where nothing came in, nobody has noticed
    deployment.advance(START + INTERVAL)
    old.fold.step()
    assert old.fold.partitions == {}
    assert deployment.stored() == before
    drain(new)
    assert deployment.stored() != before
    assert_users_are_the_oracles(deployment, [START + HOUR_US])
    assert_snapshot_is_the_oracles(deployment.snapshot(), deployment.admitted)


def test_two_folds_share_the_partitions_and_leave_the_same_bytes(redis_url: str, prefix: str) -> None:
    """Each owns its half, one of the two publishes, and together they leave what one alone would have left."""
    alone, shared = Deployment(redis_url, prefix), Deployment(redis_url, f"{prefix}-shared")
    one = alone.folding()
    both = [shared.folding("a", ttl_ms=300), shared.folding("b", ttl_ms=300)]
    for minute in range(0, 60, 3):
        now = START + minute * 60_000_000
        for each in (alone, shared):
            each.advance(now)
            each.append(events_of(6, minute, now))
        drain(one)
        for folding in both:
            folding.step(wait_ms=10)
    while max(folding.seat.s for folding in both) < now - now % INTERVAL:
        for folding in both:
            folding.step()
    owned = [set(folding.fold.partitions) for folding in both]
    assert sorted(map(len, owned)) == [2, 2]
    assert owned[0] | owned[1] == set(range(PARTITIONS))
    assert sorted(folding.seat.s > 0 for folding in both) == [False, True]
    assert shared.stored() == alone.stored()


def test_an_idle_partition_is_closed_and_nothing_comes_before(deployment: Deployment) -> None:
    """Nobody writes to a partition: it closes with the clock, and what comes to it then is admitted after that."""
    drain(deployment.folding())
    deployment.advance(START + INTERVAL)
    folding = deployment.folding("b")
    deployment.expire_leases()
    drain(folding)
    assert deployment.snapshot().s == START + INTERVAL
    deployment.clock = Clock(deployment.client, b"behind")  # of another server
    deployment.client.set(b"behind", START)
    deployment.append(events_of(30, seed=7))
    assert {each.k // INTERVAL * INTERVAL for each in deployment.admitted} == {START + INTERVAL}


def test_the_memory_of_a_fold_is_bounded_by_the_open_interval(deployment: Deployment) -> None:
    """What is committed and closed is forgotten, however long the history."""
    folding = deployment.folding()
    for hour in range(0, 48, 8):
        now = START + hour * HOUR_US
        deployment.advance(now)
        deployment.append(events_of(30, hour, now))
        drain(folding)
    for partition in folding.fold.partitions.values():
        assert partition.states.users == {}
        assert {end for end, _ in partition.states.deltas} <= {now + INTERVAL}
        assert partition.states.uncommitted == set()
    assert len(deployment.read(USERS[0])[0].state.fields) > 1

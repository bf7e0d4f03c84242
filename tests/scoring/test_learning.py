"""The learner's process, on a real Redis: what it learns reaches scorers, and no crash changes a bit of it."""

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from behavior.errors import BadInput
from behavior.event import DAY_US
from behavior.partition import partition_of
from deployment.connections import converse
from deployment.generations import SHARDS
from deployment.keys import ShardKeys
from deployment.settings import Settings
from scoring import learn_state, learning
from scoring.feed import Feed
from scoring.learn import joining_of
from scoring.learners import canonical_hash
from scoring.learning import Learning, begin
from scoring.log import Log
from scoring.log_writer import offer_served
from scoring.residuals import Residuals
from scoring.shard import Shard
from tests.chaos.following import entries_of, followed
from tests.redis_cluster import Cluster
from tests.scoring.deployments import Deployment
from tests.scoring.learned import hash_of, looked_up, numbers_of, of_category
from tests.scoring.online import Online
from tests.scoring.shown import USERS, scenes, served
from tests.scoring.small import PARTITIONS, START, purchase, settings_in

WINDOW_US = 7 * DAY_US


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, prefix: str) -> Settings:
    return settings_in(tmp_path, redis_url, prefix, learner_shards=2)


@pytest.fixture
def online(settings: Settings) -> Online:
    return Online(settings)


@pytest.fixture(autouse=True)
def small_bites(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few entries at once, so that there are many commits."""
    monkeypatch.setattr(learning, "share_of_each", lambda partitions: 2)


def process(online: Online, holder: str = "a", *, ttl_ms: int = 60_000, shards: int = 2) -> Learning:
    """A learner process in this one, which asks for the time at every step."""
    return Learning(
        online.client, online.keys, online.log, online.clock, joining_of(online.settings), partial(Shard, 1.0),
        shards=shards, holder=holder, ttl_ms=ttl_ms, look_s=0.0,
    )  # fmt: skip


def lived_through(online: Online, seed: int, number: int = 24) -> None:
    """Fill the log with scenes, and let the window of the last one pass."""
    for scene in islice(scenes(seed), number):
        online.advance(online.clock.now() + scene.after)
        online.offer(scene.user, scene.offers)
    online.advance(online.clock.now() + WINDOW_US)


def finish(*processes: Learning) -> None:
    """Step until nothing is read and nothing is due."""

    def reached() -> list[Any]:
        return [(own.commits, own.number) for each in processes for own in each.own.values()]

    before: Any = None
    while before != reached():
        before = reached()
        for each in processes:
            each.step()


def keys_of(online: Online) -> ShardKeys:
    return ShardKeys(online.keys.prefix, 2)


def hashes(online: Online) -> list[str]:
    """The canonical hash of each shard's numbers as they stand in Redis."""
    return [hash_of(online.client, keys_of(online), shard) for shard in range(2)]


def follow(online: Online) -> list[str]:
    """The same of an independent run along the order."""
    known = [entries_of(online.settings, online.client, partition) for partition in range(PARTITIONS)]
    orders = [learn_state.order_of(online.client, keys_of(online), shard) for shard in range(2)]
    return [canonical_hash(followed(online.settings, shard, order, known)) for shard, order in enumerate(orders)]


def stored(online: Online) -> list[Any]:
    """Everything that continues: numbers, places and pending entries, byte for byte."""
    keys = keys_of(online)
    return [
        online.client.hgetall(name(shard))
        for shard in range(2)
        for name in (keys.numbers, keys.places, keys.recent, keys.pending)
    ]


def test_outcomes_of_what_was_shown_become_numbers(online: Online) -> None:
    """A bought category rises at once; one that was not bought falls when its window ends; in its persona's shard."""
    user, shard = USERS[0], partition_of("loyal", 2)
    its = process(online)
    online.offer(user, [offer_served(served("r", user, START, {"TEA": -1.0, "RICE": -1.0}, "loyal"))])
    online.append([purchase(user, "TEA", START, "m1")])
    assert [(each.category, each.label, each.persona) for each in its.step()] == [("TEA", True, "loyal")]
    numbers = numbers_of(online.client, keys_of(online), shard)
    assert numbers[of_category("loyal", "TEA")][0] > 0
    assert of_category("loyal", "RICE") not in numbers
    online.advance(START + WINDOW_US)
    assert [(each.category, each.label) for each in its.step()] == [("RICE", False)]
    assert numbers_of(online.client, keys_of(online), shard)[of_category("loyal", "RICE")][0] < 0
    assert its.step() == []
    assert numbers_of(online.client, keys_of(online), 1 - shard) == {}


def test_a_quiet_partition_passes_time_by_the_clock(online: Online) -> None:
    """Nothing more comes in where the entry stands, and a busy partition elsewhere does not stand in for it."""
    its, quiet = process(online), USERS[0]
    busy = next(user for user in USERS if partition_of(user, PARTITIONS) != partition_of(quiet, PARTITIONS))
    online.offer(quiet, [offer_served(served("r", quiet, START, {"TEA": -1.0}))])
    finish(its)
    online.advance(START + WINDOW_US)
    online.append([purchase(busy, "RICE", START + WINDOW_US, "m1")])
    assert [(each.category, each.label) for each in its.step()] == [("TEA", False)]


@pytest.mark.parametrize("seed", range(2))
def test_restarts_at_random_points_change_nothing(tmp_path: Path, redis_url: str, prefix: str, seed: int) -> None:
    """A process that is thrown away after any step, committed or not, ends with the bits of an uninterrupted one."""
    whole, broken = (
        Online(settings_in(tmp_path, redis_url, f"{prefix}-{name}", learner_shards=2)) for name in ("whole", "broken")
    )
    for each in (whole, broken):
        lived_through(each, seed)
    finish(process(whole))
    draw, its, crashes = random.Random(seed), process(broken), 0
    for _ in range(40):
        its.step()
        if draw.random() < 0.3:
            its._state.commit = lambda steps: 1 / 0  # type: ignore[assignment, method-assign, return-value]
            try:
                its.step()
            except ZeroDivisionError:
                crashes += 1
            its.release()
            its = process(broken)
    finish(its)
    assert crashes > 3
    assert stored(broken) == stored(whole)
    assert hashes(broken) == follow(broken)


def test_processes_share_the_shards_and_take_over(online: Online) -> None:
    """Two processes own one shard each; when one is gone the other goes on where it was."""
    first, second = process(online, "a", ttl_ms=1500), process(online, "b", ttl_ms=1500)
    lived_through(online, 5)
    deadline = time.monotonic() + 20
    while (len(first.own), len(second.own)) != (1, 1):
        first.step(), second.step()
        assert time.monotonic() < deadline
    first.step()
    while len(second.own) != 2:
        second.step(10)
        assert time.monotonic() < deadline
    finish(second)
    assert hashes(online) == follow(online)
    assert all(numbers_of(online.client, keys_of(online), shard) for shard in range(2))


def test_who_slept_through_its_lease_commits_nothing(online: Online) -> None:
    """The commit itself refuses who was superseded, and nothing of it is left."""
    its = process(online)
    its.step()
    other = process(online, "b")
    online.client.delete(keys_of(online).members("learn"))
    online.client.delete(*(keys_of(online).lease(shard, "learn") for shard in range(2)))
    other.step()
    assert set(other.own) == {0, 1}
    lived_through(online, 6, 5)
    before = stored(online)
    its._next_agreement = its._leases._next = time.monotonic() + 60
    its.step()
    assert its.own == {}
    assert stored(online) == before
    finish(other)
    assert hashes(online) == follow(online)


def test_a_commit_that_redis_has_lost_is_not_built_on(online: Online) -> None:
    """A Redis that came back without the last commit is continued from what it has."""
    its = process(online)
    lived_through(online, 7, 10)
    its.step()
    keys = keys_of(online)
    kept = {name(shard): online.client.dump(name(shard)) for shard in range(2) for name in _names(keys)}
    its.step()
    for name, data in kept.items():
        online.client.delete(name)
        if data is not None:
            online.client.restore(name, 0, data)
    finish(its)
    finish(its)
    assert hashes(online) == follow(online)


def _names(keys: ShardKeys) -> tuple[Callable[[int], bytes], ...]:
    return keys.meta, keys.numbers, keys.places, keys.recent, keys.pending, keys.order, keys.deltas


def test_another_number_of_shards_begins_anew(online: Online) -> None:
    """Who starts with another number forgets the former; who still works with the former one ends with a reason."""
    its = process(online)
    lived_through(online, 8, 10)
    finish(its)
    begin(online.client, online.keys, 3)
    assert stored(online) == [{}] * 8
    its._next_agreement = 0.0
    with pytest.raises(BadInput, match="3 shards"):
        its.step()
    finish(process(online, "b", shards=3))
    assert int(online.client.hget(online.keys.deployment(), SHARDS)) == 3
    assert numbers_of(online.client, ShardKeys(online.keys.prefix, 3), partition_of("", 3))


def test_a_redis_without_deployment_is_left_alone(online: Online) -> None:
    """Nothing is written before a rebuild has filled it."""
    its = process(online)
    online.client.delete(online.keys.deployment())
    assert its.step() == []
    assert list(online.client.scan_iter(f"{online.keys.prefix}:{{learner*")) == []


# ------------------------------------------------------------------------------------------------ the scorer's side


@pytest.fixture
def feeds(online: Online) -> Callable[[Callable[[Feed], Any]], Any]:
    """Runs something with a feed of its own connections."""

    def with_feed(work: Callable[[Feed], Any]) -> Any:
        async def run() -> Any:
            asking, following = converse(online.settings), converse(online.settings)
            async with asking, following:
                return await work(Feed(asking, online.keys, 1.0, following))

        return asyncio.run(run())

    return with_feed


def expected(online: Online) -> Residuals:
    """What a scorer holds that reads everything anew."""
    made, keys = Residuals(1.0), keys_of(online)
    version = sum(int(online.client.hget(keys.meta(shard), "version") or 0) for shard in range(2))
    made.reload(version, numbers_of(online.client, keys, 0) | numbers_of(online.client, keys, 1))
    return made


def assert_holds(feed: Feed, online: Online) -> None:
    """The feed holds what the learner has committed, bit for bit."""
    wanted = expected(online)
    assert looked_up(feed.residuals) == looked_up(wanted)


def test_a_scorer_follows_the_deltas(online: Online, feeds: Any) -> None:
    """What is committed is applied as it comes, without anything being read anew."""
    lived_through(online, 9)
    its = process(online)
    its.step()

    async def followed_along(feed: Feed) -> None:
        await feed.refresh()
        held, following = feed.residuals, asyncio.create_task(feed.run())
        while its.step():
            await asyncio.sleep(0)
        finish(its)
        deadline = time.monotonic() + 10
        while feed.residuals.version < expected(online).version:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        following.cancel()
        assert feed.residuals is held, "applied in place"
        assert feed.age_s < 10
        assert_holds(feed, online)

    feeds(followed_along)
    assert expected(online).version > 10


def test_a_poll_catches_up_without_following(online: Online, feeds: Any) -> None:
    """Polling alone gives the same, delta by delta, also for more than are taken at once."""
    lived_through(online, 10)
    its = process(online)

    async def polled(feed: Feed) -> None:
        await feed.refresh()
        while its.step():
            await feed.refresh()
            assert_holds(feed, online)
        finish(its)
        await feed.refresh()
        assert_holds(feed, online)

    feeds(polled)


def test_a_gap_is_noticed_and_everything_read_anew(online: Online, feeds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deltas that were trimmed away before they were read leave no hole in what is held."""
    lived_through(online, 11)
    its = process(online)
    its.step()

    async def missed(feed: Feed) -> None:
        await feed.refresh()
        held = feed.residuals
        finish(its)
        for shard in range(2):
            online.client.xtrim(keys_of(online).deltas(shard), maxlen=1, approximate=False)
        await feed.refresh()
        assert feed.residuals is not held
        assert_holds(feed, online)

    feeds(missed)


def test_another_history_is_read_anew(online: Online, feeds: Any) -> None:
    """Another epoch, a version that went back, another number of shards: what is held is not built on."""
    lived_through(online, 12)
    finish(process(online))
    keys = keys_of(online)

    async def changed(feed: Feed) -> None:
        await feed.refresh()
        assert_holds(feed, online)
        held = feed.residuals
        online.client.hincrby(keys.meta(0), "epoch", 1)
        await feed.refresh()
        assert feed.residuals is not held
        for shard in range(2):
            online.client.delete(*keys.all_of(shard))
        await feed.refresh()
        assert feed.residuals.version == 0
        assert_holds(feed, online)
        begin(online.client, online.keys, 3)
        finish(process(online, "b", shards=3))
        await feed.refresh()
        assert feed.residuals.version > 0
        assert len(feed._held) == 3

    feeds(changed)


def test_without_a_learner_nothing_is_held(online: Online, feeds: Any) -> None:
    """A deployment that has never learned has residuals of 0, and version 0."""

    async def empty(feed: Feed) -> None:
        await feed.refresh()
        assert looked_up(feed.residuals) == looked_up(Residuals(1.0))

    feeds(empty)


def test_shards_and_their_feed_live_on_a_cluster(redis_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """What is committed on several nodes reaches a scorer that follows all of them."""
    deployment = Deployment(redis_cluster.url, prefix, cluster=True)
    settings = deployment.settings(tmp_path, learner_shards=2)
    deployment.folding()  # agrees on the plan
    keys, shards = deployment.keys, ShardKeys(prefix, 2)
    for number, scene in enumerate(islice(scenes(13), 12)):
        for place, offer in enumerate(scene.offers):
            fields = {"t": offer.what, "b": offer.body}
            deployment.client.xadd(
                keys.stream(keys.partition_of(scene.user)), fields, id=f"{START + 10 * number + place}-0"
            )
    its = Learning(
        deployment.client, keys, Log(deployment.client, keys), deployment.clock, joining_of(settings),
        partial(Shard, 1.0), shards=2, holder="a", ttl_ms=60_000, look_s=0.0,
    )  # fmt: skip

    async def followed_along() -> tuple[list[int], list[object]]:
        async with converse(settings) as asking, converse(settings) as following:
            feed = Feed(asking, keys, 1.0, following)
            its.step()
            await feed.refresh()
            held, running = feed.residuals, asyncio.create_task(feed.run())
            deployment.advance(START + 20 * DAY_US)
            finish(its)
            versions = [int(deployment.client.hget(shards.meta(shard), "version") or 0) for shard in range(2)]
            deadline = time.monotonic() + 10
            while feed.residuals.version < sum(versions):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            running.cancel()
            assert feed.residuals is held, "applied in place"
            return versions, looked_up(held)

    versions, held = asyncio.run(followed_along())
    assert min(versions) > 0
    whole = Residuals(1.0)
    numbers = [numbers_of(deployment.client, shards, shard) for shard in range(2)]
    whole.reload(sum(versions), numbers[0] | numbers[1])
    assert held == looked_up(whole)

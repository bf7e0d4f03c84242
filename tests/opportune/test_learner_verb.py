"""The verb `learner`: how the learner stands, and the switch that stops it, on a real Redis with a real log."""

import json
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from deployment.keys import ShardKeys
from opportune.command import run
from scoring.learn import joining_of
from scoring.learn_state import order_of
from scoring.learners import canonical_hash
from scoring.learning import Learning
from scoring.shard import Shard
from tests.chaos.following import entries_of, followed
from tests.scoring.learned import hash_of
from tests.scoring.online import Online
from tests.scoring.shown import scenes
from tests.scoring.small import PARTITIONS, settings_in


@pytest.fixture
def online(tmp_path: Path, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Online:
    settings = settings_in(tmp_path, redis_url, prefix, impressions="assumed")
    for name, value in settings.child_environment().items():
        monkeypatch.setenv(name, value)
    return Online(settings)


def process(online: Online) -> Learning:
    return Learning(
        online.client, online.keys, online.log, online.clock, joining_of(online.settings),
        partial(Shard, online.settings.residual_bound), shards=1, holder="a", ttl_ms=1, look_s=0.0,
    )  # fmt: skip


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert run(["learner", "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def live(online: Online, its: Learning, seed: int) -> None:
    """Some scenes come in and are taken."""
    for scene in islice(scenes(seed, online.clock.now(), name=f"s{seed}-"), 12):
        online.advance(online.clock.now() + scene.after)
        online.offer(scene.user, scene.offers)
        its.step()
    while its.step():
        pass


def test_a_frozen_learner_learns_nothing_until_it_is_let(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """Frozen, what it knows of crosses and rates stays as it is; thawed, it learns on; an independent run agrees."""
    its, keys = process(online), ShardKeys(online.keys.prefix, 1)
    live(online, its, 1)
    before = learned(online)
    assert before
    assert run(["learner", "freeze"]) == 0
    capsys.readouterr()
    assert told(capsys)["is_frozen"] is True
    live(online, its, 2)
    assert learned(online) == before
    assert run(["learner", "thaw"]) == 0
    capsys.readouterr()
    live(online, its, 3)
    assert learned(online) != before
    known = [entries_of(online.settings, online.client, partition) for partition in range(PARTITIONS)]
    order = order_of(online.client, keys, 0)
    assert {record.is_frozen for record in order} == {False, True}
    assert canonical_hash(followed(online.settings, 0, order, known)) == hash_of(online.client, keys, 0)


def test_it_says_how_the_learner_stands(online: Online, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything was learned, and after; people get a table."""
    found = told(capsys)
    assert found["shards"] == [{"shard": 0, "version": 0, "numbers": 0, "pending": 0, "harms": 0, "resting": []}]
    live(online, process(online), 1)
    (shard,) = told(capsys)["shards"]  # type: ignore[misc]
    assert shard["version"] > 0
    assert shard["numbers"] > 0
    assert run(["learner", "show"]) == 0
    assert "resting personas" in capsys.readouterr().out


def learned(online: Online) -> dict[bytes, bytes]:
    """What scorers take of the numbers."""
    found = online.client.hgetall(ShardKeys(online.keys.prefix, 1).numbers(0))
    return {key: data for key, data in found.items() if key.startswith((b"crosses", b"rates"))}

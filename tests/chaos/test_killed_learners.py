"""kill -9 and SIGSTOP of learner processes, and of Redis: what was learned is what an independent run learns.

The processes are the real commands on a real Redis; answers and purchases come into the log while everything is killed.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Self

import pytest

from behavior.errors import Unavailable
from behavior.event import DAY_US, HOUR_US
from deployment.clock import Clock, advance
from deployment.connections import PASSING, open_async, open_blocking
from deployment.keys import Keys, ShardKeys
from deployment.settings import Settings
from scoring.log_writer import LogWriter
from tests.chaos.fire import Fleet, OneRedis, one_redis
from tests.scoring.learned import hash_of, numbers_of
from tests.scoring.online import Online
from tests.scoring.shown import scenes
from tests.scoring.small import START, settings_in

NAMES = ("learn-1", "learn-2", "learn-3")
SHARDS = 2
LEASE_S = 0.3


def settings_of(home: Path, url: str, prefix: str, **changes: Any) -> Settings:
    """Two shards, short leases, and outcomes that are waited for a day."""
    return settings_in(
        home, url, prefix, learner_shards=SHARDS, attribution_window_h=24, lateness_horizon_h=24,
        **{"lease_s": LEASE_S} | changes,
    )  # fmt: skip


class Stage:
    """Plays scenes into the log from a thread of its own, while Redis comes and goes.

    played   how many scenes were appended; one that may have been is played on, not again
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = Keys(settings.redis_prefix, settings.partitions)
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, daemon=True)
        self.played = 0

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop after the scene that is being played."""
        self._stopping.set()
        self._thread.join(60)
        if self._failure is not None:
            raise self._failure

    def _guarded(self) -> None:
        try:
            asyncio.run(self._play())
        except BaseException as error:
            self._failure = error

    async def _play(self) -> None:
        client = open_async(str(self._settings.redis_url), cluster=False)
        writer, now = LogWriter(client, self._keys, self._settings.lateness_horizon_h), START
        for scene in scenes(3):
            if self._stopping.is_set():
                break
            now += scene.after
            try:
                await client.set(self._keys.clock(), now)
                await writer.append(self._keys.partition_of(scene.user), scene.offers, now)
                self.played += 1
            except (*PASSING, Unavailable):
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.002)
        await client.aclose()


@pytest.mark.parametrize("kills", [15, pytest.param(110, marks=pytest.mark.prove)])
def test_whatever_is_killed_the_numbers_are_those_of_the_order(kills: int, prefix: str, tmp_path: Path) -> None:
    """Learners are killed, zombies wake up, and Redis is killed twice: all numbers are what the order gives."""
    draw, done = random.Random(kills), Counter[str]()
    with one_redis(tmp_path / "redis") as redis:
        settings = settings_of(tmp_path, redis.url, prefix)
        online = Online(settings)
        with Fleet(settings, NAMES) as fleet:
            with Stage(settings) as stage:
                while done["learner killed"] < kills:
                    time.sleep(draw.uniform(0.05, 0.5))
                    is_time = done["learner killed"] > (done["Redis killed"] + 1) * kills // 3
                    done[hurt(draw, fleet, redis, redis_too=is_time)] += 1
                assert stage.played > 10 * kills
            pass_time(settings)
            wait_until(fleet, lambda: has_learned_all(settings))
        assert done["Redis killed"] == 2
        assert done["learner asleep"] >= kills // 15
        assert found(settings) == followed_by_itself(settings)
        assert len(numbers_of(online.client, ShardKeys(prefix, SHARDS), 0)) > 3


def hurt(draw: random.Random, fleet: Fleet, redis: OneRedis, *, redis_too: bool) -> str:
    """Kill Redis, or a learner that is at work, or put one to sleep for longer than its lease; what was done."""
    while not (victims := fleet.victims()):
        time.sleep(0.02)
    victim = draw.choice(victims)
    if redis_too:
        redis.kill()
        return "Redis killed"
    if draw.random() < 0.2:
        fleet.sleep(victim, draw.uniform(1.2, 3) * LEASE_S)
        return "learner asleep"
    fleet.kill(victim)
    return "learner killed"


def pass_time(settings: Settings) -> None:
    """Let the window of everything that was shown end."""
    with open_blocking(str(settings.redis_url), cluster=False) as client:
        keys = Keys(settings.redis_prefix, settings.partitions)
        advance(client, keys, Clock(client, keys.clock()).now() + 2 * DAY_US + HOUR_US)


def has_learned_all(settings: Settings) -> bool:
    """Whether every shard has read the log to its end, and waits for nothing any more."""
    with open_blocking(str(settings.redis_url), cluster=False) as client:
        shards = ShardKeys(settings.redis_prefix, SHARDS)
        return not any(client.exists(shards.pending(shard)) for shard in range(SHARDS)) and all(
            client.exists(shards.places(shard)) for shard in range(SHARDS)
        )


def wait_until(fleet: Fleet, reached: Callable[[], bool], within_s: float = 90) -> None:
    """Wait until something has come about, by what the processes do."""
    deadline = time.monotonic() + within_s
    while not reached():
        fleet.check()
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {fleet.told()}"
        time.sleep(0.05)


def found(settings: Settings) -> list[str]:
    """The canonical hash of each shard's numbers, as they stand in Redis."""
    with open_blocking(str(settings.redis_url), cluster=False) as client:
        shards = ShardKeys(settings.redis_prefix, SHARDS)
        return [hash_of(client, shards, shard) for shard in range(SHARDS)]


def followed_by_itself(settings: Settings) -> list[str]:
    """The same of an independent run, in a process of its own."""
    said = subprocess.run(
        [sys.executable, "-m", "tests.chaos.following"], env=environment(settings), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return said.stdout.split()


def environment(settings: Settings) -> dict[str, str]:
    return settings.child_environment() | {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.parametrize("torn", [False, True], ids=["in-one-script", "torn"])
def test_a_commit_that_is_not_one_step_would_be_seen(torn: bool, redis_url: str, prefix: str, tmp_path: Path) -> None:
    """A learner that commits its places first and its numbers in a second call, killed in between, loses numbers.

    The same kill at the same place changes nothing where both are one script: so the test above can fail.
    """
    settings = settings_of(tmp_path, redis_url, prefix, lease_s=60)  # a slow start must not cost it its leases
    online = Online(settings)
    played = scenes(4)
    for _ in range(3):
        for scene in islice(played, 12):
            online.advance(online.clock.now() + scene.after)
            online.offer(scene.user, scene.offers)
        release(online)
        killed = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.torn_learn", "torn" if torn else "whole"], env=environment(settings)
        )
        assert killed.wait(60) == -signal.SIGKILL
    assert (found(settings) == followed_by_itself(settings)) is not torn


def release(online: Online) -> None:
    """As if the time of every lease were over."""
    shards = ShardKeys(online.keys.prefix, SHARDS)
    online.client.delete(shards.members("learn"))
    online.client.delete(shards.lease(0, "learn"))
    online.client.delete(shards.lease(1, "learn"))

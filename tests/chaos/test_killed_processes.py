"""kill -9 and SIGSTOP at random instants: states, snapshot and archive are those of a run in which nothing happened.

The processes are the real commands on a real Redis; events are reported over gRPC while everything is killed.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from behavior.event import Admitted, encode
from deployment.archive import Archive
from deployment.ports import ReservedPort
from deployment.pseudonym import make_key
from deployment.sealing import make_sealing_key
from deployment.settings import Settings
from scoring.accounting import accounts
from tests.chaos.fire import Fleet, OneRedis, Tracker, one_redis
from tests.redis_cluster import Cluster, slot_of
from tests.scoring.deployments import INTERVAL, Deployment, drain, events_of, states_of

NAMES = ("serve", "fold-1", "fold-2", "archive-1", "archive-2")
LEASE_S = 0.3


def settings_of(deployment: Deployment, home: Path, port: int) -> Settings:
    """Short leases, and a log that is soon too long, so that slow readers find events in the archive only."""
    settings = deployment.settings(
        home, port=port, lease_s=LEASE_S, log_max_entries=60,
        properties={"stars": {"scale": 0}, "colour": {"kind": "text"}},
    )  # fmt: skip
    make_key(settings.key_file)
    make_sealing_key(settings.sealing_key_file)
    return settings


@pytest.mark.parametrize("kills", [15, pytest.param(120, marks=pytest.mark.prove)])
def test_whatever_is_killed_nothing_is_lost_nor_counted_twice(kills: int, prefix: str, tmp_path: Path) -> None:
    """Serve, fold, archive and Redis are killed, and zombies wake up: every bit is as if nothing had happened."""
    draw = random.Random(kills)
    with one_redis(tmp_path / "redis") as redis, ReservedPort("127.0.0.1") as reserved:
        deployment = Deployment(redis.url, prefix)
        settings = settings_of(deployment, tmp_path, reserved.port)
        with Fleet(settings, NAMES) as fleet:
            with Tracker(settings) as tracker:
                wait_until(fleet, lambda: len(tracker.acknowledged) > 20)
                for _ in range(kills):
                    time.sleep(draw.uniform(0.05, 0.5))
                    hurt(draw, fleet, redis)
                wait_until(fleet, lambda: len(fleet.victims()) == len(NAMES))
            wait_until(fleet, lambda: is_folded(deployment))
        assert_as_if_nothing_had_happened(deployment, settings, tracker)


@pytest.mark.parametrize("kills", [6, pytest.param(40, marks=pytest.mark.prove)])
def test_the_same_holds_on_a_cluster(kills: int, redis_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Nodes are killed too, and while events flow the slot of a partition, and the one that all share, move."""
    draw = random.Random(kills)
    with ReservedPort("127.0.0.1") as reserved:
        deployment = Deployment(redis_cluster.url, prefix, partitions=8, cluster=True)
        keys = deployment.keys
        owners = {redis_cluster.owner(slot_of(keys.stream(number))).port for number in range(8)}
        assert len(owners) == len(redis_cluster.nodes)
        settings = settings_of(deployment, tmp_path, reserved.port)
        moves = {kills // 3: keys.stream(0), 2 * kills // 3: keys.deployment()}
        with Fleet(settings, NAMES) as fleet:
            with Tracker(settings) as tracker:
                wait_until(fleet, lambda: len(tracker.acknowledged) > 20)
                for number in range(kills):
                    time.sleep(draw.uniform(0.05, 0.5))
                    hurt(draw, fleet, OneOfMany(redis_cluster, draw), certainly=number == 1)
                    if number in moves:
                        move(redis_cluster, slot_of(moves[number]))
                wait_until(fleet, lambda: len(fleet.victims()) == len(NAMES))
            wait_until(fleet, lambda: is_folded(deployment))
        assert_as_if_nothing_had_happened(deployment, settings, tracker)


class OneOfMany:
    """A cluster of which any node is killed."""

    def __init__(self, cluster: Cluster, draw: random.Random) -> None:
        self._cluster, self._draw = cluster, draw

    def kill(self) -> None:
        """kill -9 a node, and start it again from its files."""
        node = self._draw.choice(self._cluster.nodes)
        self._cluster.kill(node)
        self._cluster.restart(node)


def move(cluster: Cluster, slot: int) -> None:
    """Move a slot to another node, and wait until all nodes know."""
    cluster.migrate_slot(slot, cluster.other(cluster.owner(slot)))
    cluster.wait_until_whole()


@pytest.mark.parametrize("torn", [False, True], ids=["in-one-script", "torn"])
def test_a_commit_that_is_not_one_step_would_be_seen(torn: bool, redis_url: str, prefix: str, tmp_path: Path) -> None:
    """A fold that commits its offset first and its states in a second call, killed in between, loses what it folded.

    The same kill at the same place changes nothing where both are one script: so the test above can fail.
    """
    deployment = Deployment(redis_url, prefix)
    settings = deployment.settings(tmp_path, lease_s=60)  # a slow start must not cost it its leases
    drain(deployment.folding("first"))
    for seed in range(3):
        deployment.expire_leases()
        deployment.append(events_of(20, seed))
        killed = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.torn_fold", "torn" if torn else "whole"],
            env=settings.child_environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert killed.wait(60) == -signal.SIGKILL
        deployment.advance(deployment.clock.now() + INTERVAL)
    deployment.expire_leases()
    drain(deployment.folding("last"))
    assert (states_of(deployment) == states_of(quiet_run(deployment, deployment.admitted))) is not torn


def hurt(draw: random.Random, fleet: Fleet, redis: OneRedis | OneOfMany, *, certainly: bool = False) -> None:
    """Kill something that is at work, Redis `certainly`, or put it to sleep for longer than its lease."""
    while not (victims := fleet.victims()):
        time.sleep(0.02)
    victim = "redis" if certainly else draw.choice([*victims, "redis"])
    if victim == "redis":
        redis.kill()
    elif draw.random() < 0.3:
        fleet.sleep(victim, draw.uniform(1.2, 3) * LEASE_S)
    else:
        fleet.kill(victim)


def wait_until(fleet: Fleet, reached: Callable[[], bool], within_s: float = 60) -> None:
    """Wait until something has come about, by what the processes do."""
    deadline = time.monotonic() + within_s
    while not reached():
        fleet.check()
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {fleet.told()}"
        time.sleep(0.05)


def is_folded(deployment: Deployment, generation: int = 1) -> bool:
    """Whether the last entry of each partition is folded, and the due snapshot is out."""
    client, keys = deployment.client, deployment.keys
    for number in range(keys.partitions):
        stream = keys.stream(number)
        last = client.xinfo_stream(stream)["last-generated-id"] if client.exists(stream) else b"0"
        if int(client.hget(keys.place(number, generation), "offset") or 0) < int(last.partition(b"-")[0]):
            return False
    now = deployment.clock.now()
    return int(client.hget(keys.snapshot(generation), "s") or 0) == now - now % INTERVAL


def assert_as_if_nothing_had_happened(deployment: Deployment, settings: Settings, tracker: Tracker) -> None:
    """Every acknowledged event is archived once, the accounts add up, and the states are those of a quiet run."""
    archive = deployment.archive(settings.home, log_max_entries=60)
    events = archived(archive)
    assert {each.event.message_id: each.k for each in events} == tracker.acknowledged
    assert len(events) == len(tracker.acknowledged)
    counts = [deployment.client.hgetall(deployment.keys.counts(number)) for number in range(deployment.keys.partitions)]
    assert accounts(counts).gap == 0
    assert accounts(counts).fates["accepted", ""] == len(events)
    quiet = quiet_run(deployment, events)
    assert states_of(deployment) == states_of(quiet)


def archived(archive: Archive) -> list[Admitted]:
    """All events of the log in the archive."""
    return [each for number in range(archive.partitions) for each in archive.read_log(number, 0, 2**62)]


def quiet_run(deployment: Deployment, events: Sequence[Admitted]) -> Deployment:
    """A deployment that was given the very same entries, in which nothing is killed."""
    quiet = Deployment(
        deployment.url, f"{deployment.keys.prefix}-quiet", partitions=deployment.keys.partitions,
        cluster=deployment.cluster,
    )  # fmt: skip
    folding = quiet.folding()
    for each in sorted(events, key=lambda each: each.k):
        stream = quiet.keys.stream(quiet.keys.partition_of(each.event.user_id))
        quiet.client.xadd(stream, {"t": b"e", "b": encode(each.event)}, id=f"{each.k}-0")
    quiet.advance(deployment.clock.now())
    drain(folding)
    return quiet

"""The rebuild on a real Redis: the same bytes as the fold's, while events flow, and whenever it is cut off."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from behavior.errors import BadInput, Fenced, Unavailable
from behavior.event import DAY_US, HOUR_US, Admitted
from behavior.plan import Plan, ViewDefinition
from deployment.archive import Archive, to_table
from deployment.redis_server import redis_server
from deployment.settings import Settings
from scoring import rebuild
from tests.scoring.deployments import (
    INTERVAL,
    PARTITIONS,
    PLAN,
    START,
    USERS,
    Cut,
    Deployment,
    assert_snapshot_is_the_oracles,
    assert_users_are_the_oracles,
    cut_off,
    drain,
    events_of,
    quiet_run,
    states_of,
)
from tests.scoring.flow import Flow

# The plan before somebody added features to two views, and a view.
SMALLER = Plan(
    ViewDefinition(view.name, view.entity, view.definition.selects, view.definition.features[:20],
                   retention_us=view.retention_us, interval_us=view.definition.interval_us)
    for view in PLAN.views if view.entity != "category"
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers of these tests notice a swap at once."""
    monkeypatch.setattr(rebuild, "_NOTICE_S", 0.0)


@pytest.fixture
def deployment(redis_url: str, prefix: str) -> Iterator[Deployment]:
    """A fresh deployment."""
    made = Deployment(redis_url, prefix)
    yield made
    made.client.close()


def lived(deployment: Deployment, seed: int = 0, steps: int = 5) -> int:
    """Let a deployment live through some weeks, with a fold; it ends within an interval. Gives the clock's now."""
    draw = random.Random(seed)
    folding, now = deployment.folding(), deployment.clock.now()
    for step in range(steps):
        deployment.append(events_of(15, 1000 * seed + step, now))
        drain(folding)
        now += draw.choice((INTERVAL // 2, 2 * INTERVAL, 5 * HOUR_US, 4 * DAY_US, 41 * DAY_US))
        deployment.advance(now)
    deployment.append(events_of(10, 1000 * seed + steps, now))
    drain(folding)
    folding.release()
    return now


def test_into_an_empty_redis_it_is_what_the_fold_had_made(deployment: Deployment, prefix: str, tmp_path: Path) -> None:
    """Users, whole states, rows, open deltas, all bit for bit; and both go on alike."""
    now = lived(deployment, seed=1)
    archive = deployment.archive(tmp_path)
    fresh = Deployment(deployment.url, f"{prefix}-fresh")
    fresh.advance(now)
    made = fresh.rebuild(archive)
    assert (made.generation, made.events, made.unarchived) == (1, len(deployment.admitted), None)
    assert states_of(fresh) == states_of(deployment)
    assert any(name.endswith(":deltas") for name in states_of(fresh))
    foldings = [each.folding() for each in (deployment, fresh)]
    for step in range(3):
        for each, folding in zip((deployment, fresh), foldings, strict=True):
            each.append(events_of(10, 50 + step, now))
            each.advance(now + (step + 1) * INTERVAL)
            drain(folding)
    assert states_of(fresh) == states_of(deployment)
    assert_snapshot_is_the_oracles(fresh.snapshot(), deployment.admitted)


def test_beside_what_serves_it_is_what_the_log_says(deployment: Deployment, tmp_path: Path) -> None:
    """Half of the log is archived, some of it is folded, and some of it is not: the next generation has it all."""
    lived(deployment, seed=2)
    archive = deployment.archive(tmp_path)
    lived(deployment, seed=3, steps=1)
    deployment.append(events_of(10, 77, deployment.clock.now()))
    made = deployment.rebuild(archive)
    assert (made.generation, made.unarchived) == (2, 35)
    assert states_of(deployment, 2) == states_of(quiet_run(deployment))
    assert deployment.stored(1) == {"s": b"0"}
    assert_snapshot_is_the_oracles(deployment.snapshot(2), deployment.admitted)
    assert_users_are_the_oracles(deployment, [deployment.clock.now() + HOUR_US])


def test_while_events_flow_nothing_is_lost_and_readers_never_fail(redis_url: str, prefix: str, tmp_path: Path) -> None:
    """A feature and a view are added and rebuilt: the states are those of a run that had them from the start."""
    deployment = Deployment(redis_url, prefix, plan=SMALLER)
    flow = Flow(deployment, tmp_path)
    with flow.running():
        flow.wait_for(lambda: len(deployment.admitted) > 60 and flow.archive.covered_until(0) > 0)
        own = deployment.again()
        own.plan = PLAN
        made = own.rebuild(flow.archive)
        before = len(deployment.admitted)
        flow.wait_for(lambda: len(deployment.admitted) > before + 60)
    deployment.plan = PLAN
    expire_and_drain(deployment)
    quiet = quiet_run(deployment)
    assert made.generation == 2
    assert flow.seen == {len(SMALLER.views), len(PLAN.views)}
    assert states_of(deployment, 2) == states_of(quiet)
    assert_snapshot_is_the_oracles(deployment.snapshot(2), deployment.admitted)
    archived = [row for p in range(PARTITIONS) for row in flow.archive.read(p).to_pylist()]
    assert sorted((row["k"], row["message_id"]) for row in archived) == sorted(
        (each.k, each.event.message_id) for each in deployment.admitted
    )


def expire_and_drain(deployment: Deployment) -> None:
    """Fold what is left."""
    deployment.expire_leases()
    drain(deployment.folding("last"))


@pytest.mark.parametrize("cuts", [6, pytest.param(1000, marks=pytest.mark.prove)])
def test_cut_off_at_any_command_the_next_one_makes_it_whole(
    deployment: Deployment, prefix: str, tmp_path: Path, cuts: int
) -> None:
    """Whatever had been sent, what served goes on serving, and the next rebuild ends as one that was never cut off."""
    now = lived(deployment, seed=4, steps=2)
    archive = deployment.archive(tmp_path)
    deployment.append(events_of(8, 78, now))
    expected = states_of(quiet_run(deployment))
    draw, uncut = random.Random(cuts), deployment.again()
    sent = cut_off(uncut.client, 10_000)
    uncut.rebuild(archive)
    generation = 2
    reads = deployment.read(*USERS)
    for commands in sorted(draw.sample(range(3, sent()), min(cuts, sent() - 3))):
        cut = deployment.again()
        cut_off(cut.client, commands)
        with suppress(Cut):  # what was half swapped takes fewer commands
            generation = cut.rebuild(archive).generation
        cut.client.close()
        if draw.random() < 0.5:
            drain(deployment.folding("between"))
        deployment.expire_leases()
        for before, after in zip(reads, reads := deployment.read(*USERS), strict=True):
            assert after.offset >= before.offset
        if draw.random() < 0.5:
            made = deployment.rebuild(archive)
            assert made.generation > generation
            generation = made.generation
            assert states_of(deployment, generation) == expected
    made = deployment.rebuild(archive)
    assert states_of(deployment, made.generation) == expected
    left = {deployment.keys.generation_of(key) for key in deployment.client.scan_iter(f"{prefix}:*", count=1000)}
    assert left == {None, made.generation}


@pytest.mark.prove
@pytest.mark.parametrize("kills", [25])
def test_the_command_is_killed_with_9_and_run_again(redis_url: str, prefix: str, tmp_path: Path, kills: int) -> None:
    """At random instants, while events flow and are folded; the last run ends as one that was never killed."""
    deployment = Deployment(redis_url, prefix, plan=SMALLER)
    lived(deployment, seed=5, steps=2)
    flow, draw = Flow(deployment, tmp_path), random.Random(kills)
    with flow.running():
        flow.wait_for(lambda: flow.archive.covered_until(0) > 0)
        deployment.plan = PLAN
        settings, took_s = deployment.settings(tmp_path), 3.0
        for _ in range(kills):
            killed = _rebuilding(settings)
            time.sleep(took_s * draw.uniform(0.3, 1))
            killed.kill()
            killed.communicate()
            deployment.client.delete(deployment.keys.rebuilder())
        began = time.monotonic()
        last = _rebuilding(settings)
        out, err = last.communicate(timeout=60)
        took_s = time.monotonic() - began
        assert last.returncode == 0, err
    generation = json.loads(out)["generation"]
    expire_and_drain(deployment)
    assert states_of(deployment, generation) == states_of(quiet_run(deployment))
    assert_snapshot_is_the_oracles(deployment.snapshot(generation), deployment.admitted)


def _rebuilding(settings: Settings) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "opportune", "rebuild", "--json"], env=settings.child_environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("alive", [False, True], ids=["processes-stopped", "processes-alive"])
def test_after_the_total_loss_of_redis(tmp_path: Path, prefix: str, alive: bool) -> None:
    """Everything archived is there, what was sent before is a duplicate, and the log goes on behind the archive.

    Processes that are still alive may have begun anew before the rebuild; what they took is kept.
    """
    with redis_server(tmp_path / "redis") as lost:
        before = Deployment(lost.url, prefix)
        now = lived(before, seed=6, steps=2)
        recent = [event for event in events_of(10, 6002, now) if event.client_time > now - 40 * HOUR_US]
        archive = before.archive(tmp_path)
        expected = states_of(before)
        lost.process.kill()
        lost.process.wait()
    shutil.rmtree(tmp_path / "redis")
    with redis_server(tmp_path / "redis") as found:
        now += 1_000_000  # Redis was away for a while
        deployment = Deployment(found.url, prefix, start=now)
        meanwhile = events_of(10, 80, now)
        if alive:
            folding = deployment.folding("alive")
            deployment.append(meanwhile)
            folding.step()
        made = deployment.rebuild(archive)
        assert (made.generation, made.unarchived) == ((2, 10) if alive else (1, None))
        if not alive:
            assert states_of(deployment) == expected
        assert {fate.status for fate in deployment.offer(recent)} == {"duplicate"}
        if not alive:
            deployment.append(meanwhile)
        deployment.append(events_of(5, 81, now))
        deployment.admitted = before.admitted + deployment.admitted
        assert_log_goes_on(deployment)
        deployment.advance(now + INTERVAL)
        if alive:
            deployment.expire_leases()
        drain(folding if alive else deployment.folding())
        assert_snapshot_is_the_oracles(deployment.snapshot(made.generation), deployment.admitted)
        assert_users_are_the_oracles(deployment, [now + HOUR_US])


def assert_log_goes_on(deployment: Deployment) -> None:
    """No two events of a partition have the same instant, and each comes after those before."""
    for number in range(deployment.keys.partitions):
        ks = [each.k for each in deployment.admitted if deployment.keys.partition_of(each.event.user_id) == number]
        assert ks == sorted(set(ks))


def test_a_running_fold_waits_while_redis_holds_nothing(deployment: Deployment, tmp_path: Path) -> None:
    """After a loss it folds nothing into nowhere, and goes on once a rebuild has restored everything."""
    now = lived(deployment, seed=7, steps=1)
    archive = deployment.archive(tmp_path)
    folding = deployment.folding("alive", ttl_ms=30)
    drain(folding)
    keep = deployment.keys.clock()
    for key in deployment.client.scan_iter(f"{deployment.keys.prefix}:*", count=1000):
        if key != keep:
            deployment.client.delete(key)
    time.sleep(0.02)
    folding.step()
    assert folding.fold.partitions == {}
    assert deployment.stored() == {"s": b"0"}
    deployment.rebuild(archive)
    deployment.append(events_of(10, 90, now))
    deployment.advance(now + INTERVAL)
    deployment.expire_leases()
    folding._ttl_ms = 60_000
    drain(folding)
    assert_snapshot_is_the_oracles(deployment.snapshot(), deployment.admitted)


def test_until_restores_nothing_later(deployment: Deployment, prefix: str, tmp_path: Path) -> None:
    """The states, the snapshot and the message ids of an instant in the past, and only into an empty Redis."""
    now = lived(deployment, seed=8)
    archive = deployment.archive(tmp_path)
    until = sorted(each.k for each in deployment.admitted)[len(deployment.admitted) // 2] + 1
    past = [each for each in deployment.admitted if each.k < until]
    fresh = Deployment(deployment.url, f"{prefix}-fresh", start=until)
    made = fresh.rebuild(archive, until=until)
    assert made.events == len(past)
    assert made.s == until - until % INTERVAL
    fresh.admitted = past
    assert_snapshot_is_the_oracles(fresh.snapshot(), past)
    assert_users_are_the_oracles(fresh, [until])
    later = [each.event for each in deployment.admitted if each.k >= until]
    known = sum(fate.status == "duplicate" for fate in fresh.offer(later))
    assert known == 0
    with pytest.raises(BadInput, match="empty Redis"):
        deployment.rebuild(archive, until=now)
    assert deployment.rebuild(archive).generation == 2  # the refused one left nobody waiting


def test_of_two_rebuilds_at_once_the_second_is_refused(deployment: Deployment, tmp_path: Path) -> None:
    """It says so, and the first one is not disturbed."""
    lived(deployment, seed=9, steps=1)
    archive = deployment.archive(tmp_path)
    refused = []

    def meanwhile(step: str, done: int, all_: int) -> None:
        with pytest.raises(Unavailable, match="another rebuild runs"):
            deployment.again().rebuild(archive)
        refused.append(step)

    assert deployment.rebuild(archive, progress=meanwhile).generation == 2
    assert len(refused) >= PARTITIONS
    assert states_of(deployment, 2) == states_of(quiet_run(deployment))


def test_one_that_slept_is_fenced_and_has_written_where_nobody_reads(deployment: Deployment, tmp_path: Path) -> None:
    """A rebuild that sleeps for longer than its lease finds that another one has taken over."""
    lived(deployment, seed=10, steps=1)
    archive = deployment.archive(tmp_path)
    slept: list[int] = []

    def sleeping(step: str, done: int, all_: int) -> None:
        if not slept and done == all_ // 2:
            deployment.expire_leases()
            slept.append(deployment.again().rebuild(archive).generation)

    with pytest.raises(Fenced):
        deployment.rebuild(archive, progress=sleeping)
    assert slept == [3]
    assert states_of(deployment, 3) == states_of(quiet_run(deployment))
    assert deployment.rebuild(archive).generation == 4


def test_what_a_replay_has_in_store_is_not_restored(deployment: Deployment, tmp_path: Path) -> None:
    """The archive that a replay starts from goes on beyond its now: the future is in no state."""
    archive = Archive(deployment.settings(tmp_path).archive, PARTITIONS)
    ks = [START - DAY_US + step * HOUR_US + 1_800_000_000 for step in range(48)]
    history = [Admitted(event, k, k) for event, k in zip(events_of(48, 11), ks, strict=True)]
    with archive.staged_import("history") as folder:
        for number in range(PARTITIONS):
            mine = [each for each in history if deployment.keys.partition_of(each.event.user_id) == number]
            if mine:
                pq.write_table(to_table(mine), folder / f"p={number:03d}.parquet")
    deployment.rebuild(archive, until=START)
    deployment.admitted = [each for each in history if each.k < START]
    deployment.append(events_of(10, 12))
    drain(deployment.folding())
    assert deployment.rebuild(archive).generation == 2
    assert_users_are_the_oracles(deployment, [START + 1000])
    assert_snapshot_is_the_oracles(deployment.snapshot(2), deployment.admitted)

"""Fold, snapshot, reading and rebuild on a Redis Cluster: the same contract as on one Redis."""

from pathlib import Path

import pytest

from behavior.event import HOUR_US
from scoring import rebuild
from tests.redis_cluster import Cluster, slot_of
from tests.scoring.deployments import (
    INTERVAL,
    START,
    Deployment,
    assert_snapshot_is_the_oracles,
    assert_users_are_the_oracles,
    drain,
    events_of,
)

PARTITIONS = 8


def test_states_snapshot_and_rebuild_on_three_nodes(
    redis_cluster: Cluster, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folded, published, rebuilt beside what serves and into nothing: every value is what the oracle says."""
    monkeypatch.setattr(rebuild, "_NOTICE_S", 0.0)
    deployment = Deployment(redis_cluster.url, prefix, partitions=PARTITIONS, cluster=True)
    owners = {redis_cluster.owner(slot_of(deployment.keys.stream(number))).port for number in range(PARTITIONS)}
    assert len(owners) == len(redis_cluster.nodes)
    folding = deployment.folding()
    for step in range(3):
        now = START + step * HOUR_US
        deployment.advance(now)
        deployment.append(events_of(25, step, now))
        drain(folding)
    folding.release()
    archive = deployment.archive(tmp_path)
    deployment.append(events_of(10, 3, now))
    assert deployment.rebuild(archive).generation == 2
    deployment.advance(now + INTERVAL)
    drain(deployment.folding("after"))
    assert_users_are_the_oracles(deployment, [now + HOUR_US])
    assert_snapshot_is_the_oracles(deployment.snapshot(2), deployment.admitted)
    archive = deployment.archive(tmp_path)
    fresh = Deployment(redis_cluster.url, f"{prefix}-fresh", partitions=PARTITIONS, cluster=True, start=now + INTERVAL)
    fresh.rebuild(archive)
    fresh.admitted = deployment.admitted
    assert_users_are_the_oracles(fresh, [now + HOUR_US])
    assert_snapshot_is_the_oracles(fresh.snapshot(), fresh.admitted)
    left = {deployment.keys.generation_of(key) for key in deployment.client.scan_iter(f"{prefix}:*", count=1000)}
    assert left == {None, 2}

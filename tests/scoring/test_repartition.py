"""Another number of partitions, on a real Redis: log, archive and states are moved, and nothing is lost on the way."""

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from behavior.errors import BadInput, Unavailable
from behavior.event import HOUR_US
from deployment.archive import Archive
from deployment.generations import agree
from deployment.settings import Settings
from opportune import repartition as moving
from opportune.repartition import repartition
from scoring import rebuild
from scoring.rebuild import Rebuilt
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
)

NEW = 7


@pytest.fixture(autouse=True)
def _no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers of these tests notice a swap at once."""
    monkeypatch.setattr(rebuild, "_NOTICE_S", 0.0)


@pytest.fixture
def _in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rebuild starts no process for half of its work, which would take a second."""

    def alone(*args: Any, **options: Any) -> rebuild.Rebuild:
        return rebuild.Rebuild(*args, **options | {"settings": None})

    monkeypatch.setattr(moving, "Rebuild", alone)


@pytest.fixture
def deployment(redis_url: str, prefix: str, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment with a few hours behind it: half of its log is archived, and not all of it is folded."""
    made = Deployment(redis_url, prefix)
    folding = made.folding()
    for step in range(3):
        now = START + step * HOUR_US
        made.advance(now)
        made.append(events_of(15, step, now))
        drain(folding)
    folding.release()
    made.archive(tmp_path)
    made.append(events_of(10, 3, now))
    yield made
    made.client.close()


def settings_of(deployment: Deployment, home: Path) -> Settings:
    return deployment.settings(home, lease_s=0.1)


def move(settings: Settings, partitions: int = NEW) -> Rebuilt | None:
    return repartition(settings, partitions, lambda step, done, all_: None)


def assert_moved(old: Deployment, home: Path) -> None:
    """Everything is under the new number: states, log, archive; what is old is sealed and gone."""
    recent = [each.event for each in old.admitted[-10:] if each.event.client_time > old.clock.now() - 40 * HOUR_US]
    with pytest.raises(Unavailable, match="being moved"):
        old.offer(recent)
    with pytest.raises(BadInput, match=f"a deployment of {NEW} partitions"):
        agree(old.client, old.keys, lambda: PLAN)
    left = list(old.client.scan_iter(f"{old.keys.prefix}:*/{PARTITIONS}*", count=1000))
    assert sorted(left) == sorted(old.keys.meta(number) for number in range(PARTITIONS))

    new = Deployment(old.url, old.keys.prefix, partitions=NEW, start=None)
    assert {fate.status for fate in new.offer(recent)} == {"duplicate"}
    last_k = max(each.k for each in old.admitted)
    now = old.clock.now()
    new.append(events_of(10, 9_000, now))
    assert min(each.k for each in new.admitted) > last_k
    new.admitted = old.admitted + new.admitted
    new.advance(now + INTERVAL)
    drain(new.folding())
    generation = int(new.client.hget(new.keys.deployment(), "generation"))
    assert_users_are_the_oracles(new, [now + HOUR_US])
    assert_snapshot_is_the_oracles(new.snapshot(generation), new.admitted)
    archive = new.archive(home)
    assert archive.partitions == NEW
    archived = [row for number in range(NEW) for row in archive.read(number).to_pylist()]
    assert sorted((row["k"], row["message_id"]) for row in archived) == sorted(
        (each.k, each.event.message_id) for each in new.admitted
    )


def test_the_log_the_archive_and_the_states_are_moved(deployment: Deployment, tmp_path: Path) -> None:
    """And the states are those of the very same events, bit for bit where they were whole before."""
    before = {user: deployment.client.hgetall(deployment.keys.user(deployment.keys.partition_of(user), 1, user))
              for user in USERS}  # fmt: skip
    made = move(settings_of(deployment, tmp_path))
    assert made is not None
    assert (made.generation, made.events) == (2, len(deployment.admitted))
    new = Deployment(deployment.url, deployment.keys.prefix, partitions=NEW, start=None)
    touched = {each.event.user_id for each in deployment.admitted[45:]}
    for user in USERS:
        stored = new.client.hgetall(new.keys.user(new.keys.partition_of(user), 2, user))
        assert stored.keys() >= before[user].keys()
        assert user in touched or stored == before[user]
    assert_moved(deployment, tmp_path)
    assert Archive(tmp_path / "archive.before-4", PARTITIONS).read(0).num_rows > 0


@pytest.mark.usefixtures("_in_one_process")
@pytest.mark.parametrize("cuts", [3, pytest.param(40, marks=pytest.mark.prove)])
def test_cut_off_at_any_command_it_goes_on(
    redis_url: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: int
) -> None:
    """Until then no event is taken, and none is lost; whoever runs it again finds it moved in the end."""
    connect, draw, total = moving.connect, random.Random(cuts), 140
    for commands in sorted(draw.sample(range(2, total), min(cuts, total - 2))):
        made = Deployment(redis_url, f"{prefix}-{commands}")
        home = tmp_path / f"{commands}"
        drain(made.folding())
        made.append(events_of(12, commands))
        made.archive(home)
        made.append(events_of(4, 1000 + commands))
        settings = settings_of(made, home)

        def cutting(settings: Settings, commands: int = commands) -> Any:
            client = connect(settings)
            cut_off(client, commands)
            return client

        with monkeypatch.context() as patched, suppress(Cut):
            patched.setattr(moving, "connect", cutting)
            move(settings)
        made.expire_leases()
        move(settings)
        assert_moved(made, home)


def test_a_number_that_it_has_or_that_is_taken_is_refused(deployment: Deployment, tmp_path: Path) -> None:
    """Before anything is sealed."""
    settings = settings_of(deployment, tmp_path)
    with pytest.raises(BadInput, match="there are 4 partitions now"):
        move(settings, PARTITIONS)
    (tmp_path / "archive.before-4").mkdir()
    with pytest.raises(BadInput, match="before-4 is there already"):
        move(settings)
    deployment.append(events_of(1, 91, deployment.clock.now()))


@pytest.mark.usefixtures("_in_one_process")
def test_two_moves_at_once_and_back_again(deployment: Deployment, tmp_path: Path) -> None:
    """The second one waits for its turn; moved back, the old number's seals are gone."""
    settings = settings_of(deployment, tmp_path)
    refused = []

    def meanwhile(step: str, done: int, all_: int) -> None:
        with pytest.raises(Unavailable, match="being moved already"):
            move(settings, 5)
        refused.append(step)

    repartition(settings, NEW, meanwhile)
    assert refused
    new = Deployment(deployment.url, deployment.keys.prefix, partitions=NEW, start=None)
    new.append(events_of(5, 92, new.clock.now()))
    move(settings_of(new, tmp_path), PARTITIONS)
    deployment.admitted += new.admitted
    deployment.append(events_of(5, 93, deployment.clock.now()))
    deployment.advance(deployment.clock.now() + INTERVAL)
    drain(deployment.folding())
    assert_users_are_the_oracles(deployment, [deployment.clock.now() + HOUR_US])
    assert_snapshot_is_the_oracles(deployment.snapshot(3), deployment.admitted)

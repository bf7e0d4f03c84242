"""The publisher on a real Redis: what is published is right at its instant, published once, and read alike by all."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from behavior import state
from behavior.errors import Fenced
from behavior.event import DAY_US, HOUR_US, MINUTE_US, PERSONALIZATION, Event
from behavior.snapshot_rows import unpack_rows
from deployment.bundles import bundles_at
from deployment.connections import open_async
from deployment.generations import Plans
from deployment.snapshot import Snapshot
from scoring import memory, publishing
from scoring.feed import Feed
from scoring.folding import Folding
from scoring.memory import Memory
from scoring.publishing import Publisher
from tests.oracle import final_values, floor
from tests.scoring.deployments import (
    INTERVAL,
    PLAN,
    START,
    USERS,
    Deployment,
    assert_snapshot_is_the_oracles,
    drain,
    events_of,
    plain,
)


@pytest.fixture
def deployment(redis_url: str, prefix: str) -> Iterator[Deployment]:
    """A fresh deployment."""
    made = Deployment(redis_url, prefix)
    yield made
    made.client.close()


@pytest.fixture
def folding(deployment: Deployment) -> Folding:
    """A fold of it that publishes nothing by itself."""
    made = deployment.folding()
    made.seat.step = lambda: False  # type: ignore[method-assign]
    return made


def publisher(deployment: Deployment) -> Publisher:
    """Takes publishing over."""
    return Publisher(deployment.client, deployment.keys, PLAN, 1)


def closed_at(deployment: Deployment, folding: Folding, to: int, events: int, seed: int) -> None:
    """Let some events come in at an instant, then close the interval after it."""
    deployment.advance(to)
    deployment.append(events_of(events, seed, to))
    drain(folding)
    deployment.advance(to - to % INTERVAL + INTERVAL)
    drain(folding)


def waiting(deployment: Deployment) -> int:
    """How many deltas wait in all partitions."""
    return sum(deployment.client.hlen(deployment.keys.deltas(p, 1)) for p in range(deployment.keys.partitions))


class _Interrupted(Exception):
    pass


class _Dying:
    """A client whose process dies instead of deleting anything."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def hdel(self, *_: Any) -> None:
        raise _Interrupted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_killed_between_commit_and_deletion_nothing_is_counted_twice(deployment: Deployment, folding: Folding) -> None:
    """Deltas that are published and still there are known by their interval; the next snapshot deletes them."""
    closed_at(deployment, folding, START, 40, seed=1)
    killed = Publisher(_Dying(deployment.client), deployment.keys, PLAN, 1)
    with pytest.raises(_Interrupted):
        killed.step()
    assert waiting(deployment) > 0
    assert_snapshot_is_the_oracles(deployment.snapshot(), deployment.admitted)
    after = publisher(deployment)
    assert not after.step()
    closed_at(deployment, folding, START + 2 * INTERVAL, 40, seed=2)
    assert after.step()
    assert waiting(deployment) == 0
    assert_snapshot_is_the_oracles(deployment.snapshot(), deployment.admitted)


def test_of_two_publishers_the_older_one_is_fenced(deployment: Deployment, folding: Folding) -> None:
    """Also in the middle of its work: it changes nothing, and deletes nothing that was not published."""
    older = publisher(deployment)
    closed_at(deployment, folding, START, 40, seed=3)
    assert not older.step(budget_s=0)
    assert older.is_busy
    newer = publisher(deployment)
    before = deployment.stored()
    with pytest.raises(Fenced, match="another process publishes"):
        older.step()
    assert deployment.stored() == before
    assert newer.step()
    assert_snapshot_is_the_oracles(deployment.snapshot(), deployment.admitted)


def test_one_that_slept_through_a_snapshot_is_fenced(deployment: Deployment, folding: Folding) -> None:
    """What another has published meanwhile is not published again on an older base."""
    older = publisher(deployment)
    closed_at(deployment, folding, START, 20, seed=4)
    older.step(budget_s=0)
    newer = publisher(deployment)
    closed_at(deployment, folding, START + INTERVAL, 20, seed=5)
    assert newer.step()
    before = deployment.stored()
    with pytest.raises(Fenced):
        older.step()
    assert deployment.stored() == before
    assert_snapshot_is_the_oracles(deployment.snapshot(), deployment.admitted)


def test_publishing_in_pieces_gives_what_publishing_at_once_gives(
    deployment: Deployment, folding: Folding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the work is laid down, and though the fold goes on in between; what came then waits."""
    monkeypatch.setattr(publishing, "_PIECE", 2)
    in_pieces = publisher(deployment)
    closed_at(deployment, folding, START, 40, seed=6)
    known = list(deployment.admitted)
    pauses = 0
    while not in_pieces.step(budget_s=0):
        pauses += 1
        deployment.append(events_of(1, seed=100 + pauses, now=START + INTERVAL))
        folding.step()
    assert pauses > 5
    found = deployment.snapshot()
    assert found.s == START + INTERVAL
    assert_snapshot_is_the_oracles(found, known)
    deployment.advance(START + 2 * INTERVAL)
    drain(folding)
    assert in_pieces.step()
    assert_snapshot_is_the_oracles(deployment.snapshot(), deployment.admitted)


def test_windows_that_empty_by_time_alone_move_rows_at_their_interval(deployment: Deployment, folding: Folding) -> None:
    """Nothing comes in any more: at every interval the values are right, and rows change only where a value does."""
    view = PLAN.view("item_view")
    late = START - 7 * MINUTE_US
    deployment.append(
        [Event("m1", "item_view", USERS[0], late, item="i-1", category="dairy", purposes=PERSONALIZATION)]
    )
    drain(folding)
    its = publisher(deployment)
    ends = [START + step * INTERVAL for step in range(1, 16)]
    ends += [START + each + shift for each in (DAY_US, 7 * DAY_US, 30 * DAY_US, 40 * DAY_US) for shift in (0, HOUR_US)]
    ends = [floor(end, INTERVAL) for end in ends]
    moved: list[int] = []
    values: list[object] = [None]
    for s in ends:
        deployment.advance(s)
        drain(folding)
        assert its.step()
        found = deployment.snapshot()
        assert found.s == s
        assert_snapshot_is_the_oracles(found, deployment.admitted)
        raw = {name: column for name, column in found.views["item_view"].raw.items() if "age" not in name}
        values.append(plain(raw))
        changes = memory_changes(deployment, s)
        if b"i-1" in changes.get("item_view", {}):
            moved.append(s)
    changed = [s for s, before, after in zip(ends, values[:-1], values[1:], strict=True) if before != after]
    assert moved == changed
    assert START + 11 * INTERVAL in moved  # 03:53 leaves the window of one hour at 04:53, seen at 04:55
    assert len(moved) > 4
    gone = final_values(view.definition, deployment.admitted, ("i-1",), ends[-1])
    assert set(gone.values()) == {None}


def memory_changes(deployment: Deployment, s: int) -> dict[str, dict[bytes, bytes]]:
    """The rows by view that the list of changes has at an instant."""
    ((_, fields),) = deployment.client.xrange(deployment.keys.changes(1), f"{s}-0", f"{s}-0")
    return msgspec.msgpack.decode(fields[b"b"], type=dict[str, dict[bytes, bytes]])


def test_rows_are_the_raw_values_of_the_whole_states(deployment: Deployment, folding: Folding) -> None:
    """Every row, at every snapshot: after events, after pauses of days, after another publisher has taken over."""
    draw = random.Random(7)
    its, now = publisher(deployment), START
    for seed in range(10):
        now += draw.choice((INTERVAL, 2 * HOUR_US, 3 * DAY_US, 31 * DAY_US))
        closed_at(deployment, folding, now, draw.choice((0, 3, 15)), seed)
        if draw.random() < 0.3:
            its = publisher(deployment)
        assert its.step()
        assert_rows_are_of_wholes(deployment)
    assert_snapshot_is_the_oracles(deployment.snapshot(), deployment.admitted)


def assert_rows_are_of_wholes(deployment: Deployment) -> None:
    """For each entity of each view."""
    s = int(deployment.client.hget(deployment.keys.snapshot(1), "s"))
    for view in PLAN.snapshot_views:
        wholes = deployment.client.hgetall(deployment.keys.whole(1, view.name))
        rows = deployment.client.hgetall(deployment.keys.rows(1, view.name))
        assert rows.keys() == wholes.keys()
        for entity, data in wholes.items():
            known = state.decode(view, data)
            raw, seen_e = unpack_rows(view, [rows[entity]])
            assert list(plain(raw).values()) == state.raw_at(view, known, s)
            assert seen_e.values[0] == known.seen_e


class Scorer:
    """What a scorer holds of the snapshot, and how often it has read it whole."""

    def __init__(self, deployment: Deployment, bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._deployment = deployment
        self._bundles = bundles
        self._parts = self._memory(None)._parts
        self.whole_reads = 0

        def counted(*args: Any) -> None:
            self.whole_reads += 1
            original(*args)

        original = memory.ask_whole
        monkeypatch.setattr(memory, "ask_whole", counted)

    def _memory(self, client: Any) -> Memory:
        keys = self._deployment.keys
        return Memory(client, keys, Plans(keys), bundles_at(self._bundles), Feed(client, keys, 1.0))

    def refreshed(self) -> Snapshot:
        """The snapshot that it holds after a poll."""

        async def polled() -> Snapshot:
            client = open_async(self._deployment.url, cluster=False)
            its = self._memory(client)
            its._parts = self._parts
            await its.refresh()
            self._parts = its._parts
            await client.aclose()
            assert its._parts.snapshot is not None
            return its._parts.snapshot

        return asyncio.run(polled())


def assert_alike(left: Snapshot, right: Snapshot) -> None:
    """The same instant, and the same values of every entity."""
    assert left.s == right.s
    for view in PLAN.snapshot_views:
        ids = sorted(left.ids(view.name))
        assert ids == sorted(right.ids(view.name))
        pairs = zip(left.lookup(view.name, ids).values(), right.lookup(view.name, ids).values(), strict=True)
        for one, other in pairs:
            assert np.array_equal(one.valid, other.valid)
            assert np.array_equal(one.values[one.valid], other.values[other.valid])


def test_brought_up_by_changes_a_scorer_holds_what_is_read_whole(
    deployment: Deployment, folding: Folding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads everything once, then only what has changed, however many snapshots lie between two polls."""
    its, now = publisher(deployment), START
    closed_at(deployment, folding, now, 10, seed=0)
    assert its.step()
    scorer = Scorer(deployment, tmp_path, monkeypatch)
    assert_alike(scorer.refreshed(), deployment.snapshot())
    draw = random.Random(8)
    for seed in range(1, 12):
        now += draw.choice((INTERVAL, HOUR_US, 8 * DAY_US))
        closed_at(deployment, folding, now, draw.choice((0, 5, 10)), seed)
        assert its.step()
        if draw.random() < 0.6:
            assert_alike(scorer.refreshed(), deployment.snapshot())
    assert_alike(scorer.refreshed(), deployment.snapshot())
    assert scorer.whole_reads == 1
    assert_snapshot_is_the_oracles(scorer.refreshed(), deployment.admitted)


@pytest.mark.parametrize("why", ["too many", "too large"])
def test_changes_that_do_not_connect_are_read_whole(
    deployment: Deployment, folding: Folding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """A scorer that was away for longer than the list reaches, or for which too much changed, reads everything."""
    its, now = publisher(deployment), START
    closed_at(deployment, folding, now, 10, seed=0)
    assert its.step()
    scorer = Scorer(deployment, tmp_path, monkeypatch)
    scorer.refreshed()
    monkeypatch.setattr(publishing, *(("KEPT_CHANGES", 2) if why == "too many" else ("_LARGEST_CHANGE", 100)))
    for seed in range(1, 5):
        now += INTERVAL
        closed_at(deployment, folding, now, 6, seed)
        assert its.step()
    assert_alike(scorer.refreshed(), deployment.snapshot())
    assert scorer.whole_reads == 2

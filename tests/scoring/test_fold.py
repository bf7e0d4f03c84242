"""The fold and the rebuild, on a real Redis: states, offsets and snapshots are what the events say."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis
import redis.asyncio

from behavior.errors import BadInput, Fenced
from behavior.event import HOUR_US, MINUTE_US, PERSONALIZATION, Admitted, Event, admit
from behavior.kinds import age, count, ever, last, total
from behavior.partition import partition_of
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from deployment import snapshot
from deployment.archive import Archive
from deployment.clock import Clock, advance
from deployment.keys import Keys
from deployment.user_state import columns
from scoring.agreement import agree
from scoring.archiver import Archiver
from scoring.fold import Fold, write_snapshot
from scoring.log import Log, LogWriter, offer_event
from scoring.rebuild import rebuild
from scoring.states import States
from tests.oracle import final_values

PARTITIONS = 4
START = 1_508_040_000_000_000  # 2017-10-15T04:00:00Z, a whole minute
_SPECS = (
    count("purchase", over="1h"), count("purchase", over="7d"), total("purchase.value", over="30d"),
    ever("purchase"), age("purchase"), last("purchase.category"), count("purchase"),
)  # fmt: skip
_FEATURES = tuple(FeatureDefinition(spec.name, spec) for spec in _SPECS)
PLAN = Plan(
    ViewDefinition(f"by_{entity}", entity, ("purchase", "item_view"), _FEATURES)
    for entity in ("user", "user_category", "category", "all")
)


class Deployment:
    """One deployment on a real Redis with a replay clock, and all that was ever admitted to it."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.client = redis.Redis.from_url(url)
        self.keys = Keys(prefix)
        self.log = Log(self.client, self.keys)
        self.clock = Clock(self.client, self.keys.clock())
        self.admitted: list[Admitted] = []
        advance(self.client, self.keys, START)

    def fold(self) -> Fold:
        """A fold that takes all partitions over."""
        return Fold(self.client, self.keys, self.log, self.clock, PLAN, PARTITIONS)

    def append(self, events: Sequence[Event]) -> None:
        """Send events through the log and remember how they were admitted."""

        async def send() -> None:
            client = redis.asyncio.Redis.from_url(self.url)
            writer = LogWriter(client, self.keys, 48)
            for event in events:
                (fate,) = await writer.append(
                    partition_of(event.user_id, PARTITIONS), [offer_event(event)], self.clock.now()
                )
                assert fate.status == "accepted", fate
                self.admitted.append(admit(event, fate.k))
            await client.aclose()

        asyncio.run(send())

    def drain(self, fold: Fold) -> None:
        """Publish what is due and fold all there is."""
        s = fold.due()
        if s is not None:
            fold.publish(s)
        while fold.step():
            pass

    def user_values(self, user: str, category: str, t: int) -> dict[str, object]:
        """What the store says of a user and one of its categories at instant t."""

        async def read() -> dict[str, object]:
            client = redis.asyncio.Redis.from_url(self.url)
            found = await States(client, self.keys, PARTITIONS, PLAN).read(user)
            await client.aclose()
            of_user = columns(PLAN.view("by_user"), [found.state.user.get("by_user")], t)
            pair = found.state.pairs["by_user_category"].get(category)
            return _plain(of_user) | _plain(columns(PLAN.view("by_user_category"), [pair], t))

        return asyncio.run(read())

    def snapshot_values(self, category: str) -> tuple[int, dict[str, object]]:
        """The published snapshot's instant, and what it says of a category and of all."""
        found = snapshot.decode(self.client.get(self.keys.snapshot()))  # type: ignore[arg-type]
        values = _plain(found.lookup(PLAN, "by_category", [category])) | _plain(found.lookup(PLAN, "by_all", ["all"]))
        return found.s, values

    def stored(self) -> dict[bytes, object]:
        """Every state, partial and snapshot in Redis, byte for byte."""
        found: dict[bytes, object] = {}
        for key in self.client.scan_iter(f"{self.keys.prefix}:*"):
            if b":user:" in key or key.endswith(b":partials"):
                found[key] = self.client.hgetall(key)
        found[b"snapshot"] = self.client.get(self.keys.snapshot())
        return found


@pytest.fixture
def deployment(redis_url: str, prefix: str) -> Iterator[Deployment]:
    """A fresh deployment."""
    made = Deployment(redis_url, prefix)
    yield made
    made.client.close()


def test_states_are_what_the_oracle_says_after_late_and_tied_events(deployment: Deployment) -> None:
    """Served values equal the naive oracle's for every user, category and feature, at several instants."""
    fold = deployment.fold()
    deployment.append(events_of(120, seed=1))
    deployment.drain(fold)
    advance(deployment.client, deployment.keys, START + 3 * HOUR_US)
    deployment.append(events_of(60, seed=2))
    deployment.drain(fold)
    now = max(each.k for each in deployment.admitted)
    for t in (now + 1, now + HOUR_US, now + 26 * HOUR_US):
        for user in ("k1-a", "k1-b", "k1-c", "k1-nobody"):
            for category in ("BREAD", "BEER", "never"):
                assert deployment.user_values(user, category, t) == _expected(deployment.admitted, user, category, t)


def test_the_snapshot_holds_its_whole_interval_and_nothing_later(deployment: Deployment) -> None:
    """Category and `all` values are those of the last whole interval; events after it wait for the next one."""
    fold = deployment.fold()
    deployment.append(events_of(40, seed=3))
    deployment.drain(fold)
    s, values = deployment.snapshot_values("BREAD")
    assert s == START
    assert all(value is None for value in values.values())  # everything was admitted at or after START
    advance(deployment.client, deployment.keys, START + MINUTE_US)
    deployment.append(events_of(40, seed=4))  # admitted in the interval that has just begun
    deployment.drain(fold)
    s, values = deployment.snapshot_values("BREAD")
    assert s == START + MINUTE_US
    assert values == _expected_snapshot(deployment.admitted, "BREAD", s)
    assert values["by_all:purchase_count"] > 0


def test_a_restarted_fold_gives_the_same_bytes(deployment: Deployment, redis_url: str, prefix: str) -> None:
    """A fold that is thrown away and begun anew after every batch leaves the very bytes of one that ran through."""
    events = events_of(150, seed=5)
    deployment.append(events[:100])
    other = Deployment(redis_url, f"{prefix}-other")
    other.append(events[:100])
    through, instants = deployment.fold(), (START, START + MINUTE_US, START + HOUR_US)
    for number, instant in enumerate(instants):
        for each in (deployment, other):
            advance(each.client, each.keys, instant)
            if number:
                each.append(events[100 + 25 * (number - 1) : 100 + 25 * number])
        deployment.drain(through)
        restarted = other.fold()
        s = restarted.due()
        if s is not None:
            restarted.publish(s)
        while other.fold().step():
            pass
    assert {key.replace(b"-other", b""): value for key, value in other.stored().items()} == deployment.stored()


def test_a_fold_that_was_taken_over_stops_and_changes_nothing(deployment: Deployment) -> None:
    """The commit of a superseded process is refused whole, and it says so."""
    old = deployment.fold()
    deployment.drain(old)
    deployment.append(events_of(20, seed=6))
    new = deployment.fold()
    before = deployment.stored()
    with pytest.raises(Fenced, match="taken over"):
        old.step()
    with pytest.raises(Fenced, match="taken over"):
        old.publish(START + MINUTE_US)
    assert deployment.stored() == before
    deployment.drain(new)
    assert deployment.stored() != before


def test_rebuild_restores_what_the_fold_had_made(
    deployment: Deployment, redis_url: str, prefix: str, tmp_path: Path
) -> None:
    """Archive the log, rebuild elsewhere: the same bytes for users, partials and snapshot, and the log goes on."""
    fold = deployment.fold()
    deployment.append(events_of(80, seed=8))
    deployment.drain(fold)
    until = START + 90 * MINUTE_US + 30_000_000
    advance(deployment.client, deployment.keys, until - 20_000_000)
    deployment.append(events_of(40, seed=9))  # inside the interval that `until` cuts
    advance(deployment.client, deployment.keys, until)
    deployment.drain(fold)
    archiver = Archiver(deployment.log, Archive(tmp_path / "archive", PARTITIONS))
    while archiver.step():
        pass
    assert archiver.flush() == 120
    fresh = Deployment(redis_url, f"{prefix}-fresh")
    restored = rebuild(fresh.client, fresh.keys, Archive(tmp_path / "archive", PARTITIONS), PLAN, until=until)
    assert (restored.events, restored.users) == (120, 3)
    assert {key.replace(b"-fresh", b""): value for key, value in fresh.stored().items()} == deployment.stored()
    advance(fresh.client, fresh.keys, until)
    for each in (deployment, fresh):
        each.append(events_of(10, seed=10))
        advance(each.client, each.keys, until + HOUR_US)
    deployment.drain(fold)
    fresh.drain(fresh.fold())
    assert {key.replace(b"-fresh", b""): value for key, value in fresh.stored().items()} == deployment.stored()


def test_rebuild_refuses_a_redis_that_already_holds_a_deployment(deployment: Deployment, tmp_path: Path) -> None:
    """Nothing acknowledged is overwritten: rebuild wants a fresh Redis and says so."""
    deployment.append(events_of(1, seed=11))
    with pytest.raises(BadInput, match="empty Redis"):
        rebuild(deployment.client, deployment.keys, Archive(tmp_path / "a", PARTITIONS), PLAN, until=START)


def test_a_rebuild_that_was_cut_off_is_not_served_and_begins_anew(
    deployment: Deployment, redis_url: str, prefix: str, tmp_path: Path
) -> None:
    """Half of the states are never taken for all: nobody agrees to them, and rebuilding again restores everything."""
    deployment.append(events_of(80, seed=14))
    archive = Archive(tmp_path / "archive", PARTITIONS)
    archiver = Archiver(deployment.log, archive)
    while archiver.step():
        pass
    archiver.flush()
    fresh = Deployment(redis_url, f"{prefix}-fresh")
    until = START + HOUR_US

    def cut_off(done: int, all_: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(fresh.client, fresh.keys, archive, PLAN, until=until, progress=cut_off)
    with pytest.raises(BadInput, match="cut off"):
        agree(fresh.client, fresh.keys, PARTITIONS, PLAN)
    assert rebuild(fresh.client, fresh.keys, archive, PLAN, until=until).events == 80
    agree(fresh.client, fresh.keys, PARTITIONS, PLAN)
    again = Deployment(redis_url, f"{prefix}-again")
    rebuild(again.client, again.keys, archive, PLAN, until=until)
    assert {key.replace(b"-fresh", b""): value for key, value in fresh.stored().items()} == {
        key.replace(b"-again", b""): value for key, value in again.stored().items()
    }


def test_an_older_snapshot_never_replaces_a_newer_one(deployment: Deployment) -> None:
    """A fold that was superseded while it published does not set the clock of category values back."""
    write_snapshot(deployment.client, deployment.keys, snapshot.Snapshot(START + MINUTE_US, {}))
    write_snapshot(deployment.client, deployment.keys, snapshot.Snapshot(START, {}))
    assert deployment.snapshot_values("BREAD")[0] == START + MINUTE_US


def test_a_fold_forgets_what_no_window_can_reach(deployment: Deployment) -> None:
    """The memory of a running fold is bounded by its windows, not by how long it runs."""
    fold = deployment.fold()
    for hour in range(0, 48, 4):
        advance(deployment.client, deployment.keys, START + hour * HOUR_US)
        t = deployment.clock.now()
        deployment.append(
            [
                Event(f"m{hour}-{n}", "purchase", "k1-a", t, category="TEA", value=1, purposes=PERSONALIZATION)
                for n in range(3)
            ]
        )
        deployment.drain(fold)
    (partition,) = (each for each in fold.partitions if each.states.partials)
    minutes = partition.states.partials[b"by_category|TEA"][0].state.values[0]
    assert len(minutes) == 1


def test_a_second_archiver_goes_on_where_the_files_end(deployment: Deployment, tmp_path: Path) -> None:
    """The files are the offset: a new archiver neither repeats nor skips an event."""
    archive = Archive(tmp_path / "archive", PARTITIONS)
    for seed in (12, 13):
        deployment.append(events_of(30, seed=seed))
        archiver = Archiver(deployment.log, archive)
        while archiver.step():
            pass
        assert archiver.flush() == 30
    found = [row for p in range(PARTITIONS) for row in archive.read(p, columns=["message_id", "k"]).to_pylist()]
    assert sorted((row["k"], row["message_id"]) for row in found) == sorted(
        (each.k, each.event.message_id) for each in deployment.admitted
    )


def events_of(number: int, seed: int) -> list[Event]:
    """Purchases and views of three users in three categories, some of them hours late, some without consent."""
    draw = random.Random(seed)
    return [
        Event(
            f"m{seed}-{place}", draw.choice(("purchase", "purchase", "item_view", "scroll")),
            draw.choice(("k1-a", "k1-b", "k1-c")), START - draw.choice((-HOUR_US, 0, 1, HOUR_US, 40 * HOUR_US)),
            category=draw.choice(("BREAD", "BEER", "TEA", None)), value=draw.choice((0, 139, -50, None)),
            purposes=draw.choice((PERSONALIZATION, PERSONALIZATION, PERSONALIZATION, 2)),
        )
        for place in range(number)
    ]  # fmt: skip


def _plain(found: object) -> dict[str, object]:
    """Column of one row each, as Python values with None for what is missing."""
    return {
        ref: (column.values[0] if column.valid[0] else None)
        for ref, column in found.items()  # type: ignore[attr-defined]
    }


def _expected(log: Sequence[Admitted], user: str, category: str, t: int) -> dict[str, object]:
    return _of_oracle("by_user", log, (user,), t) | _of_oracle("by_user_category", log, (user, category), t)


def _expected_snapshot(log: Sequence[Admitted], category: str, s: int) -> dict[str, object]:
    return _of_oracle("by_category", log, (category,), s) | _of_oracle("by_all", log, ("all",), s)


def _of_oracle(view: str, log: Sequence[Admitted], key: tuple[str, ...], t: int) -> dict[str, object]:
    return {f"{view}:{name}": value for name, value in final_values(PLAN.view(view).definition, log, key, t).items()}

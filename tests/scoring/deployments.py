"""Whole deployments for tests: their log, folds and snapshot, and all that was ever admitted to them.

The plan has a view of every entity with every kind of feature. Time stands still unless it is moved, so that two
deployments that get the same events at the same instants admit them alike.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from behavior.column import Column
from behavior.event import HOUR_US, PERSONALIZATION, Admitted, Event, admit
from behavior.plan import ALL_ID, Plan
from deployment.archive import Archive
from deployment.clock import Clock, advance
from deployment.connections import open_async, open_blocking
from deployment.generations import Plans, agree
from deployment.keys import Keys
from deployment.settings import Settings, load
from deployment.snapshot import Snapshot
from deployment.snapshot_reading import ask_whole, whole
from scoring.archiver import archiver_of
from scoring.folding import Folding
from scoring.log import Log
from scoring.log_writer import Fate, LogWriter, offer_event
from scoring.rebuild import Rebuild, Rebuilt
from scoring.states import ReadState, States
from tests.oracle import MINUTE, final_values
from tests.properties.strategies import CATEGORIES, DEVICES, ENTITIES, ITEMS, PROPERTIES, view_definition

PARTITIONS = 4
START = 1_508_040_000_000_000  # 2017-10-15T04:00:00Z, a whole hour
USERS = ("k1-ada", "k1-bob", "k1-eve", "k1-may")  # in the partitions 0, 0, 3 and 1; nobody in 2
PLAN = Plan(map(view_definition, ENTITIES))
INTERVAL = PLAN.interval_us


class Deployment:
    """One deployment on a real Redis with a replay clock, and how it admitted what it was given."""

    def __init__(
        self,
        url: str,
        prefix: str,
        *,
        plan: Plan = PLAN,
        partitions: int = PARTITIONS,
        cluster: bool = False,
        start: int | None = START,
    ) -> None:
        self.url = url
        self.plan = plan
        self.cluster = cluster
        self.client: Any = open_blocking(url, cluster=cluster)
        self.keys = Keys(prefix, partitions)
        self.clock = Clock(self.client, self.keys.clock())
        self.admitted: list[Admitted] = []
        if start is not None:
            self.advance(start)

    def again(self) -> "Deployment":
        """The same deployment by a connection of its own, for another thread."""
        keys = self.keys
        return Deployment(
            self.url, keys.prefix, plan=self.plan, partitions=keys.partitions, cluster=self.cluster, start=None
        )

    def folding(self, holder: str = "a", *, ttl_ms: int = 60_000, archive: Archive | None = None) -> Folding:
        """A fold process, in this one."""
        agree(self.client, self.keys, lambda: self.plan)
        return Folding(self.client, self.keys, Log(self.client, self.keys, archive), self.clock, holder, ttl_ms)

    def settings(self, home: Path, **changes: Any) -> Settings:
        """The settings of its processes, whose files are under `home`, with its plan written.

        Nothing of the log is trimmed, so that a test can look at all of it.
        """
        found = load(
            home=home, redis_url=self.url, redis_prefix=self.keys.prefix, partitions=self.keys.partitions,
            redis_cluster=self.cluster, **{"replay": True, "log_keep_s": 1e9, "impressions": "assumed"} | changes,
        )  # fmt: skip
        home.mkdir(parents=True, exist_ok=True)
        found.plan.write_bytes(self.plan.encode())
        return found

    def archive(self, home: Path, **changes: Any) -> Archive:
        """Its archive, with all that the log holds."""
        settings = self.settings(home, **changes)
        archive = Archive(settings.archive, self.keys.partitions)
        archiver = archiver_of(settings, self.client, archive, "archiver")
        self.expire_leases()
        while archiver.step():
            pass
        archiver.flush()
        self.expire_leases()
        return archive

    def rebuild(self, archive: Archive, **options: Any) -> Rebuilt:
        """Rebuild it under its plan, in this process."""
        return Rebuild(self.client, self.keys, archive, self.plan, self.clock, **options).run()

    def copy_log(self, other: "Deployment") -> None:
        """Write the very entries of another's log, of all its partitions, and move the clock as far."""
        for number in range(other.keys.partitions):
            for entry_id, fields in other.client.xrange(other.keys.stream(number)):
                self.client.xadd(self.keys.stream(number), fields, id=entry_id)
        self.advance(other.clock.now())

    def advance(self, to: int) -> None:
        """Move the clock."""
        advance(self.client, self.keys, to)

    def expire_leases(self) -> None:
        """As if the time of every lease were over."""
        for what in ("lease", "members"):
            for key in self.client.scan_iter(f"{self.keys.prefix}:*{what}:*", count=1000):
                self.client.delete(key)

    def append(self, events: Sequence[Event]) -> None:
        """Send events through the log one by one; all must be taken."""
        for event, fate in zip(events, self.offer(events), strict=True):
            assert fate.status == "accepted", fate
            self.admitted.append(admit(event, fate.k))

    def offer(self, events: Sequence[Event]) -> list[Fate]:
        """What becomes of events that are offered to the log one by one."""

        async def sent() -> list[Fate]:
            client = open_async(self.url, cluster=self.cluster)
            writer, fates = LogWriter(client, self.keys, 48), []
            for event in events:
                partition = self.keys.partition_of(event.user_id)
                fates += await writer.append(partition, [offer_event(event)], self.clock.now())
            await client.aclose()
            return fates

        return asyncio.run(sent())

    def read(self, *users: str) -> list[ReadState]:
        """What a scorer reads of users."""

        async def found() -> list[ReadState]:
            client = open_async(self.url, cluster=self.cluster)
            states = States(client, self.keys, Plans(self.keys))
            read = [await states.read(user) for user in users]
            await client.aclose()
            return read

        return asyncio.run(found())

    def snapshot(self, generation: int = 1) -> Snapshot:
        """The published snapshot, read whole."""
        with self.client.pipeline(transaction=False) as together:
            ask_whole(together, self.keys, generation, self.plan)
            found = whole(self.plan, together.execute())
        assert found is not None
        return found

    def stored(self, generation: int = 1) -> dict[str, Any]:
        """Every state, delta and row of a generation, byte for byte, by key without prefix and generation.

        Deltas that are published and wait for their deletion are left out, and so are names of owners.
        """
        of_generation = f":g{generation}:"
        s = self.client.hget(self.keys.snapshot(generation), "s") or b"0"
        found: dict[str, Any] = {"s": s}
        for key in self.client.scan_iter(self.keys.states_pattern(), count=1000):
            if self.keys.generation_of(key) != generation:
                continue
            name = key.decode().removeprefix(self.keys.prefix).replace(of_generation, ":")
            if name.endswith(":deltas"):
                deltas = self.client.hgetall(key)
                found[name] = {field: data for field, data in deltas.items() if int(field.split(b"|")[0]) > int(s)}
            elif name.endswith(":place"):
                found[name] = self.client.hmget(key, "offset", "s")
            elif not name.endswith((":plan", ":snapshot", ":changes")):
                found[name] = self.client.hgetall(key)
        return {name: content for name, content in found.items() if content}


def states_of(deployment: Deployment, generation: int = 1) -> dict[str, Any]:
    """What is stored, without offsets, which say less of an idle partition than the instant that it is closed at."""
    stored = deployment.stored(generation)
    return {name: content[1] if name.endswith(":place") else content for name, content in stored.items()}


def quiet_run(deployment: Deployment) -> Deployment:
    """A deployment of the very same log in which nothing ever happened to a process."""
    quiet = Deployment(deployment.url, f"{deployment.keys.prefix}-quiet", plan=deployment.plan)
    quiet.copy_log(deployment)
    drain(quiet.folding())
    return quiet


class Cut(BaseException):
    """What ends a process whose client was cut off: nothing that it does afterwards reaches Redis."""


def cut_off(client: Any, commands: int) -> Callable[[], int]:
    """Let a client send so many commands and no more, as if its process had been killed; gives how many it sent."""
    sent = 0

    def counted(send: Callable[..., Any]) -> Callable[..., Any]:
        def sending(*args: Any, **options: Any) -> Any:
            nonlocal sent
            if sent >= commands:
                raise Cut
            sent += 1
            return send(*args, **options)

        return sending

    def pipeline(**options: Any) -> Any:
        made = original(**options)
        made.execute = counted(made.execute)
        return made

    original, client.pipeline = client.pipeline, pipeline
    client.execute_command = counted(client.execute_command)
    return lambda: sent


def drain(folding: Folding) -> None:
    """Fold all there is, close what has passed, publish what is closed."""
    # Done only if a whole step found nothing to do: what was due when a snapshot was begun may not be all.
    done = False
    while not done:
        before = folding.seat.is_busy, folding.seat.s
        done = not folding.step() and before == (False, folding.seat.s) and not folding.seat.is_busy


def user_finals(read: ReadState, view: str, category: str, t: int) -> dict[str, object]:
    """What a scorer would say of a user at instant t, `{feature: value}`."""
    columns = read.state.columns(read.state.plan.view(view), [category], t)
    return {ref.partition(":")[2]: value for ref, value in plain(columns).items()}


def plain(columns: Mapping[str, Column], row: int = 0) -> dict[str, object]:
    """One row of columns as Python values, None for what is missing."""
    found: dict[str, object] = {}
    for ref, column in columns.items():
        value = column.values[row] if column.valid[row] else None
        found[ref] = value.item() if isinstance(value, np.generic) else value
    return found


def assert_users_are_the_oracles(deployment: Deployment, instants: Sequence[int]) -> None:
    """Every feature of every user and (user, category) is what the oracle says; instants after all admissions."""
    views = {view.entity: view for view in deployment.plan.user_views}
    users = (*USERS, "k1-nobody")
    for user, read in zip(users, deployment.read(*users), strict=True):
        for t in instants:
            expected = final_values(views["user"].definition, deployment.admitted, (user,), t)
            assert_equal(user_finals(read, views["user"].name, "", t), expected)
            for category in CATEGORIES:
                key = (user, category)
                expected = final_values(views["user_category"].definition, deployment.admitted, key, t)
                assert_equal(user_finals(read, views["user_category"].name, category, t), expected)


def assert_snapshot_is_the_oracles(snapshot: Snapshot, log: Sequence[Admitted]) -> None:
    """Every feature of every item, category and `all` is what the oracle says at the snapshot's instant."""
    entities = {"item": ITEMS, "category": CATEGORIES, "all": (ALL_ID,)}
    for view in snapshot.plan.snapshot_views:
        ids = entities[view.entity]
        columns = snapshot.lookup(view.name, ids)
        for row, entity in enumerate(ids):
            found = {ref.partition(":")[2]: value for ref, value in plain(columns, row).items()}
            assert_equal(found, final_values(view.definition, log, (entity,), snapshot.s))


def assert_equal(found: Mapping[Any, object], expected: Mapping[Any, object]) -> None:
    """The same content; says only what differs."""
    names = found.keys() | expected.keys()
    other = {name: (found.get(name), expected.get(name)) for name in names if found.get(name) != expected.get(name)}
    assert not other, other


def events_of(number: int, seed: int, now: int = START) -> list[Event]:
    """Events of a few users about a few things: late ones, tied ones, some without consent, some that nobody selects.

    They happened up to 47 hours before `now`, or will happen an hour later.
    """
    draw = random.Random(seed)
    return [
        Event(
            f"m{seed}-{place}", draw.choice(("purchase", "purchase", "item_view", "refund", "scroll")),
            draw.choice(USERS), now - draw.choice((-HOUR_US, 0, 0, 1, MINUTE, HOUR_US, 47 * HOUR_US)),
            item=draw.choice((*ITEMS[:-1], None)), category=draw.choice((*CATEGORIES[:-1], None)),
            value=draw.choice((0, 199, -250, None)), quantity=draw.choice((None, 0, 1, 3)),
            order_id=draw.choice((None, "o-1", "o-2")), device=draw.choice((None, *DEVICES)),
            page=draw.choice((None, "", "/")), properties=draw.choice(PROPERTIES),
            utc_offset_s=draw.choice((None, 0, -18_000)),
            purposes=draw.choice((PERSONALIZATION, PERSONALIZATION, 3, 2)),
        )
        for place in range(number)
    ]  # fmt: skip

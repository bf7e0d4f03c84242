"""A world through a real deployment: its log, folds that end in the middle, snapshots, rebuilds, and what was read.

The replay's clock moves from instant to instant. At each one the log is folded, intervals are closed and the snapshot
is published; then users, pairs, items, categories and everybody are read as bytes from Redis and finalised as a
request or the Feast plug-in would. Which events were admitted, and when, is foretold here by the sentences of the
design and held against what the log said.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from behavior.column import Column
from behavior.event import Admitted, Event
from behavior.plan import ALL_ID, Plan, View
from deployment.archive import Archive
from deployment.clock import Clock, advance
from deployment.cold_reading import ask_rows, ask_user, rows_read, user_read
from deployment.connections import connect, connect_serving
from deployment.generations import serving
from deployment.keys import Keys
from deployment.settings import Settings
from deployment.user_state import UserState
from scoring.archiver import archiver_of
from scoring.folding import Folding
from scoring.log import Log
from scoring.log_writer import LogWriter, offer_event
from scoring.rebuild import Rebuild
from tests.benchmarks.worlds import HORIZON, Stage, World

# Stages after which the log goes to the archive.
ARCHIVED_EVERY = 8
Key = tuple[str, ...]


@dataclass(slots=True)
class Observed:
    """What was read of one view: per row the entity, the instant, the stage, and final values.

    columns   {feature: column pieces}, which together have one value per row
    """

    keys: list[Key] = field(default_factory=list)
    t: list[int] = field(default_factory=list)
    stage: list[int] = field(default_factory=list)
    columns: dict[str, list[Column]] = field(default_factory=dict)

    def add(self, keys: Sequence[Key], t: int, stage: int, finals: dict[str, Column]) -> None:
        """Rows of one instant."""
        self.keys += keys
        self.t += [t] * len(keys)
        self.stage += [stage] * len(keys)
        for reference, column in finals.items():
            self.columns.setdefault(reference, []).append(column)

    def column(self, reference: str) -> Column:
        """All values of a feature."""
        pieces = self.columns[reference]
        return Column(np.concatenate([each.values for each in pieces]), np.concatenate([each.valid for each in pieces]))


@dataclass(slots=True)
class Replayed:
    """What came out of a replay.

    observed     by view
    began        the instant of each stage
    admitted     every event that was admitted, history included, as the design says
    admissions   how many offers were answered, and how many of them otherwise than foretold
    restarted    the stages in which a fold ended and another took over
    """

    observed: dict[str, Observed]
    began: list[int]
    admitted: list[Admitted]
    admissions: int = 0
    wrong_admissions: int = 0
    restarted: set[int] = field(default_factory=set)


class Killed(Exception):
    """A fold ended here."""


class Replay:
    """One world on the Redis of the settings, which must be empty, with an archive that holds the world's history."""

    def __init__(self, world: World, plan: Plan, settings: Settings, seed: int = 3) -> None:
        self._world = world
        self._plan = plan
        self._settings = settings
        self._keys = Keys(settings.redis_prefix, settings.partitions)
        self._archive = Archive(settings.archive, settings.partitions)
        self._draw = np.random.default_rng(seed)
        self._holders = 0
        self._foretold = _Foretold(self._keys)
        began = [stage.at for stage in world.stages]
        self.replayed = Replayed({view.name: Observed() for view in plan.views}, began, list(world.imported))

    def run(self) -> Iterator[int]:
        """Replay the world: yields the number of a stage that is over whenever all so far has been archived."""
        runner = asyncio.Runner()
        with connect(self._settings) as self._client:
            self._clock = Clock(self._client, self._keys.clock())
            self._writing = runner.run(_opened(self._settings))
            advance(self._client, self._keys, self._world.began)
            self._rebuild()
            self._folding = self._new_folding()
            try:
                for number, stage in enumerate(self._world.stages):
                    advance(self._client, self._keys, stage.at)
                    self._drain()
                    runner.run(self._offer(stage))
                    if stage.ending:
                        self.replayed.restarted.add(number)
                        self._end(stage)
                    self._ask(number, stage)
                    if number % ARCHIVED_EVERY == 0 or number + 1 == len(self._world.stages):
                        self._archive_all()
                        yield number
            finally:
                runner.run(self._writing.aclose())
                runner.close()

    # ------------------------------------------------------------------------------------------------- what happens

    async def _offer(self, stage: Stage) -> None:
        writer = LogWriter(self._writing, self._keys, HORIZON // 3_600_000_000)
        start = 0
        while start < len(stage.offers):
            together = stage.offers[start : start + int(self._draw.integers(1, 6))]
            start += len(together)
            by_partition: dict[int, list[Event]] = {}
            for event in together:
                by_partition.setdefault(self._keys.partition_of(event.user_id), []).append(event)
            for number, events in by_partition.items():
                fates = await writer.append(number, [offer_event(event) for event in events], stage.at)
                for event, fate in zip(events, fates, strict=True):
                    status, admitted = self._foretold.offer(number, event, stage.at)
                    self.replayed.admissions += 1
                    said = admitted.k if admitted is not None else 0
                    self.replayed.wrong_admissions += fate.status != status or (status != "rejected" and fate.k != said)
                    if status == "accepted":
                        assert admitted is not None
                        self.replayed.admitted.append(admitted)

    def _end(self, stage: Stage) -> None:
        """The fold ends while it works; when its leases are over another one goes on from what is stored."""
        ending = stage.ending
        if ending == "between commits":
            committing = self._folding.fold._commit.run  # the scripts of some partitions run, then nothing more

            def killed(runs: Sequence[Any]) -> list[Any]:
                committing(runs[: len(runs) // 2])
                raise Killed

            self._folding.fold._commit.run = killed  # type: ignore[method-assign]
            with suppress(Killed):
                self._folding.step()
        elif ending == "while publishing":
            advance(self._client, self._keys, stage.asked[len(stage.asked) // 2])
            self._folding.fold.step()
            for _ in range(int(self._draw.integers(1, 12))):
                self._folding.seat.step()
        elif ending == "rebuilt":
            self._archive_all()
            self._rebuild()
        sleeper = self._folding
        for what in ("lease", "members"):
            for key in self._client.scan_iter(f"{self._keys.prefix}:*{what}:*", count=1000):
                self._client.delete(key)
        self._folding = self._new_folding()
        if ending == "asleep":
            self._folding.step()
            sleeper.step()  # finds that others have its partitions, and must change nothing

    def _new_folding(self) -> Folding:
        self._holders += 1
        log = Log(self._client, self._keys, self._archive)
        return Folding(self._client, self._keys, log, self._clock, f"fold-{self._holders}", 600_000)

    def _rebuild(self) -> None:
        Rebuild(self._client, self._keys, self._archive, self._plan, self._clock).run()

    def _archive_all(self) -> None:
        archiver = archiver_of(self._settings, self._client, self._archive, "archiver")
        while archiver.step():
            pass
        archiver.flush()

    def _drain(self) -> None:
        while self._folding.step() or self._folding.seat.is_busy:
            pass

    # ------------------------------------------------------------------------------------------------- what is asked

    def _ask(self, number: int, stage: Stage) -> None:
        users = self._sampled(stage)
        for instant in stage.asked:
            if instant < self._clock.now():
                continue  # the clock had to go further, so that something could be published
            advance(self._client, self._keys, instant)
            self._drain()
            self._generation = int(serving(self._client, self._keys) or 1)
            for user in users:
                self._ask_user(number, user, instant)
            for view in self._plan.snapshot_views:
                self._ask_rows(number, view, instant)

    def _sampled(self, stage: Stage) -> list[str]:
        """Some of those who did something just now, some of all others, and somebody whom nobody knows."""
        users = sorted({each.event.user_id for each in self.replayed.admitted})
        active = sorted({each.user_id for each in stage.offers})
        half = self._world.users // 2
        return [*self._some(active, half), *self._some(users, self._world.users - half - 1), "k1-nobody"]

    def _some(self, names: Sequence[str], number: int) -> list[str]:
        chosen = self._draw.choice(len(names), min(number, len(names)), replace=False)
        return [names[place] for place in chosen.tolist()]

    def _ask_user(self, number: int, user: str, instant: int) -> None:
        read = user_read(ask_user(self._client, self._keys, self._generation, user), self._generation)
        state = UserState(self._plan, dict(zip(read.fields[::2], read.fields[1::2], strict=True)))
        as_of = max(instant, read.offset + 1)
        categories = [*self._some(state.categories(), self._world.pairs - 1), "never bought"]
        for view in self._plan.user_views:
            keys = [(user,)] if view.entity == "user" else [(user, category) for category in categories]
            self.replayed.observed[view.name].add(keys, as_of, number, state.columns(view, categories, as_of))

    def _ask_rows(self, number: int, view: View, instant: int) -> None:
        ids = [ALL_ID] if view.entity == "all" else self._others(view)
        found = rows_read(view, ask_rows(self._client, self._keys, self._generation, view, ids), self._generation)
        assert found is not None
        # Several events of one instant are admitted a microsecond apart: the log, and what is published, may be ahead
        # of the clock by so much.
        as_of = max(instant, found.s)
        self.replayed.observed[view.name].add([(each,) for each in ids], as_of, number, found.finals)

    def _others(self, view: View) -> list[str]:
        known = self._client.hkeys(self._keys.rows(self._generation, view.name))
        return [*self._some(sorted(each.decode() for each in known), self._world.others - 1), "never seen"]


async def _opened(settings: Settings) -> Any:
    return connect_serving(settings)


class _Foretold:
    """What becomes of offers, by design 4.1 and 5: k = max(now, the partition's last k + 1), each message id once."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._last: dict[int, int] = {}
        self._seen: dict[str, Admitted] = {}

    def offer(self, partition: int, event: Event, now: int) -> tuple[str, Admitted | None]:
        """`accepted` or `duplicate` with the admitted event, or `rejected`."""
        known = self._seen.get(event.message_id)
        if known is not None:
            return "duplicate", known
        k = max(now, self._last.get(partition, 0) + 1)
        if abs(k - event.client_time) > HORIZON:
            return "rejected", None
        self._last[partition] = k
        admitted = self._seen[event.message_id] = Admitted(event, min(event.client_time, k), k)
        return "accepted", admitted

"""Offline, online and a naive oracle say the same, bit for bit: some millions of comparisons, and planted defects.

    world ──▶ history in the archive ──▶ log, folds that are killed, snapshots, rebuilds ──▶ bytes in Redis, finalised
                     └──────▶ archive ──▶ backfill, thrice, each going on from the one before ──▶ Feast's join
                                                        every event, looked at anew ──▶ naive oracle

The worlds are households of Complete Journey under the shipped features, and generated users under every kind of
feature on every entity (`worlds`). Then a smaller world is replayed with one defect at a time in the code under test:
a comparison that nothing could fail would prove nothing.
"""

import logging
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
from feast import FeatureStore
from rich.table import Table

from behavior.plan import Plan
from deployment.archive import Archive, to_table
from deployment.redis_server import redis_server
from deployment.settings import Settings, load
from tests.benchmarks.comparing import Tally, compared, naive_finals, offline_finals, online_finals
from tests.benchmarks.defects import DEFECTS, OFFLINE, ONLINE, Defect
from tests.benchmarks.replaying import Replay, Replayed
from tests.benchmarks.worlds import World, bought, generated, smaller
from tests.benchmarks.year import prepared
from tests.feast_plugin.repository import write_repo

SUMMARY = "offline, online and a naive oracle, compared bit for bit; and planted defects that must be caught"
BEGAN = 1_508_040_000_000_000  # 2017-10-15T04:00:00Z: the log of the households begins here
STAGES = 156
# What is counted of `comparing.CIRCUMSTANCES`, by its name in the figures.
_CIRCUMSTANCES = {
    "compared_after_late_events": "late", "compared_after_ties": "ties",
    "compared_within_1_us_of_hop_edges": "hop_edges", "compared_within_1_us_of_day_edges": "day_edges",
    "compared_idle_for_7_days": "idle", "compared_gone_missing": "gone_missing", "compared_after_restarts": "restarts",
}  # fmt: skip
_SHIPPED = Path(__file__).parents[2] / "feature_repo"
_PROPERTIES = {"stars": {"scale": 0}, "colour": {"kind": "text"}}
_VIEWS = """
from tests.benchmarks.worlds import generated_features
from tests.properties.strategies import SELECTED
entities = {
    "user": user, "user_category": (user, category), "item": item, "category": category, "all": all_users,
}
views = [
    behavior_view(
        f"{name}_view", entity=entity, owner="o", selects=SELECTED, features=generated_features(name), retention="40d",
        interval="5m",
    )
    for name, entity in entities.items()
]
user_view, user_category_view, item_view, category_view, all_view = views
"""


@dataclass(frozen=True, slots=True)
class ParityBench:
    """What was compared: a comparison is one entity, instant and feature in all three derivations."""

    seed: int
    compared: int
    mismatches: int
    compared_present_and_not_zero_share: float
    features: int
    least_compared_per_feature: int
    compared_after_late_events: int
    compared_after_ties: int
    compared_within_1_us_of_hop_edges: int
    compared_within_1_us_of_day_edges: int
    compared_idle_for_7_days: int
    compared_gone_missing: int
    compared_after_restarts: int
    admissions: int
    admissions_otherwise_than_foretold: int
    defects_planted: int
    defects_caught: int
    defects_not_caught: tuple[str, ...]
    seconds: float
    peak_memory_gb: float


@dataclass(frozen=True, slots=True)
class Stand:
    """A deployment for one world: its settings, its plan, and Feast's store over its tables."""

    settings: Settings
    plan: Plan
    store: FeatureStore


def measure(home: Path, rounds: int) -> ParityBench:
    """Compare both worlds, then plant the defects. What is proved needs no median: `rounds` is the seed."""
    began = time.perf_counter()
    logging.getLogger("opportune").setLevel(logging.ERROR)  # that partitions are taken over is what is wanted here
    year = prepared(home)
    tally, admissions, wrong = Tally(), 0, 0
    households = bought(Archive(year.archive, year.partitions), BEGAN, 70, 24, STAGES, seed=rounds)
    for world, shipped in ((households, True), (generated(STAGES, seed=rounds), False)):
        with stand(world, shipped=shipped) as here:
            done = replayed(here, world)
            tell(f"{world.name}: replayed, {done.admissions} offers")
            tally.add(held_against_each_other(here, world, done))
            admissions, wrong = admissions + done.admissions, wrong + done.wrong_admissions
        tell(f"{world.name}: {tally.compared:,} compared so far, {tally.mismatches} mismatches")
    for example in tally.examples:
        tell(example)
    missed = planted_and_missed(smaller(generated(16, users=12, seed=rounds), asked=4))
    return ParityBench(
        seed=rounds, compared=tally.compared, mismatches=tally.mismatches,
        compared_present_and_not_zero_share=round(tally.present_and_not_zero / tally.compared, 3),
        features=len(tally.by_feature), least_compared_per_feature=min(tally.by_feature.values()),
        **{name: tally.by_circumstance[circumstance] for name, circumstance in _CIRCUMSTANCES.items()},
        admissions=admissions, admissions_otherwise_than_foretold=wrong, defects_planted=len(DEFECTS),
        defects_caught=len(DEFECTS) - len(missed), defects_not_caught=tuple(missed),
        seconds=round(time.perf_counter() - began, 1), peak_memory_gb=_peak_gb(),
    )  # fmt: skip


def render(found: ParityBench) -> Table:
    """The figures as a table for people."""
    table = Table("comparisons of an entity, instant and feature", "number", title="parity", title_justify="left")
    table.add_row("compared", f"{found.compared:,}")
    table.add_row("mismatches", f"{found.mismatches:,}")
    table.add_row("present and not zero", f"{found.compared_present_and_not_zero_share:.0%}")
    table.add_row(f"of each of {found.features} features, at least", f"{found.least_compared_per_feature:,}")
    for name in _CIRCUMSTANCES:
        table.add_row(name.removeprefix("compared_").replace("_", " "), f"{getattr(found, name):,}")
    table.add_row("defects caught", f"{found.defects_caught} of {found.defects_planted}")
    table.caption = (
        f"{found.admissions:,} offers to the log, {found.admissions_otherwise_than_foretold} answered otherwise than "
        f"foretold; {found.seconds:.0f} s, {found.peak_memory_gb:.1f} GB; seed {found.seed}"
    )
    return table


def held_against_each_other(here: Stand, world: World, done: Replayed) -> Tally:
    """Compare all three derivations of what was read while the world was replayed."""
    return compared(
        world.name, here.plan, done, online=online_finals(here.plan, done.observed),
        offline=offline_finals(here.store, here.plan, done.observed), naive=naive_finals(here.plan, done),
    )  # fmt: skip


def planted_and_missed(world: World, defects: Sequence[Defect] = DEFECTS) -> list[str]:
    """The names of the defects that make no difference to what is compared in the world."""
    missed = []
    with stand(world, shipped=False) as here:
        clean = replayed(here, world, (1.0,))
        assert held_against_each_other(here, world, clean).mismatches == 0
        naive = naive_finals(here.plan, clean)
        for number, defect in enumerate(defects):
            with defect.planted(), np.errstate(all="ignore"):
                differing = 0
                if defect.side != ONLINE:
                    shutil.rmtree(here.settings.tables)
                    bring_up(here)
                    offline = offline_finals(here.store, here.plan, clean.observed)
                    differing += compared(world.name, here.plan, clean, offline=offline, naive=naive).mismatches
                if defect.side != OFFLINE:
                    differing += _spoiled_online(here, world, number)
            tell(f"{differing} comparisons differ: {defect.name}")
            if not differing:
                missed.append(defect.name)
    return missed


def _spoiled_online(here: Stand, world: World, number: int) -> int:
    """How many values differ when the world is replayed anew, under names of its own."""
    apart = here.settings.replaced(
        redis_prefix=f"{world.name}-{number}", archive=here.settings.home / f"archive-{number}"
    )
    archive_history(apart, world)
    done = replayed(Stand(apart, here.plan, here.store), world, ())
    online, naive = online_finals(here.plan, done.observed), naive_finals(here.plan, done)
    return compared(world.name, here.plan, done, online=online, naive=naive).mismatches


@contextmanager
def stand(world: World, *, shipped: bool) -> Iterator[Stand]:
    """A deployment of its own, with the shipped features or with every kind of feature; the history is archived."""
    from training.apply import apply
    from training.store import open_store

    with TemporaryDirectory(prefix="opportune-parity-") as directory, redis_server(Path(directory) / "redis") as server:
        home = Path(directory)
        repo = _SHIPPED
        if not shipped:
            repo = home / "features of every kind"
            repo.mkdir()
            write_repo(repo, _VIEWS)
        settings = load(
            home=home / "var", feature_repo=repo, partitions=world.partitions, redis_url=server.url,
            redis_prefix=world.name, replay=True, properties={} if shipped else _PROPERTIES, memory_limit="1GB",
        )  # fmt: skip
        archive_history(settings, world)
        plan = apply(settings)
        yield Stand(settings, plan, open_store(settings))


def archive_history(settings: Settings, world: World) -> None:
    """Write what was before the log into the archive, as an import does."""
    from behavior.partition import partition_of

    with Archive(settings.archive, settings.partitions).staged_import("history") as staging:
        for number in range(settings.partitions):
            mine = [each for each in world.imported if partition_of(each.event.user_id, settings.partitions) == number]
            pq.write_table(to_table(mine), staging / f"p={number:03d}.parquet")


def replayed(stand: Stand, world: World, backfills: Sequence[float] = (0.5, 0.75, 1.0)) -> Replayed:
    """Replay the world, and bring the tables up after these shares of it."""
    replay, due = Replay(world, stand.plan, stand.settings), list(backfills)
    for number in replay.run():
        if due and number + 1 >= due[0] * len(world.stages):
            due.pop(0)
            bring_up(stand)
    return replay.replayed


def bring_up(stand: Stand) -> None:
    """Backfill what is new."""
    from training.backfill import backfill

    settings = stand.settings
    backfill(
        stand.plan, Archive(settings.archive, settings.partitions), settings.tables, memory_limit=settings.memory_limit
    )


def tell(what: str) -> None:
    """Say how far it is."""
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)


def _peak_gb() -> float:
    """The greatest resident size of this process so far (VmHWM, in kB)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1e6, 2)

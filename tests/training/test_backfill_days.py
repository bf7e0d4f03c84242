"""Runs of backfill one after the other: what one run makes, whatever was added, changed, merged or killed between."""

import os
import random
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior.aggregation import Aggregation
from behavior.errors import Unavailable
from behavior.event import DAY_US, HOUR_US, Admitted
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from behavior.words import count, distinct, last, recent, total
from deployment.archive import Archive, to_table
from tests.feast_plugin.repository import bought, write_archive
from tests.properties.strategies import ENTITIES, logs, view_definition
from tests.training.tables import T, add_to_archive, done, manifest_of, plan_of, table
from training import tables as table_files
from training.backfill import backfill, render


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_runs_day_after_day_make_what_one_run_makes(data: st.DataObject) -> None:
    """Whatever the log and wherever it is cut into runs, the rows are those of one run over all of it."""
    entity = data.draw(st.sampled_from(ENTITIES))
    plan = Plan([view_definition(entity)])
    log = data.draw(logs(max_size=16))
    last_day = log[-1].k // DAY_US
    cuts = sorted(data.draw(st.sets(st.integers(log[0].k // DAY_US, last_day), max_size=4)))
    bounds = [-1, *(cut * DAY_US + data.draw(st.sampled_from((0, 1, HOUR_US))) for cut in cuts), log[-1].k + 1]
    with TemporaryDirectory() as home:
        here = Path(home)
        archive = Archive(here / "archive", 4)
        for number, (after, upto) in enumerate(pairwise(bounds)):
            if new := [admitted for admitted in log if after <= admitted.k < upto]:
                add_to_archive(archive, f"{number}", new)
            report = backfill(plan, archive, here / "days", threads=1)
            if number and report.tables[0].why not in ("nothing of it was final", "no new events"):
                assert report.tables[0].done == "added", report
        backfill(plan, archive, here / "whole", threads=1)
        assert table(here / "days", f"{entity}_view") == table(here / "whole", f"{entity}_view")


def ten_days(first: int) -> list[Admitted]:
    """Some events on each of ten days."""
    return [
        bought(first * 1000 + n, T + (20 * first + n // 8) * DAY_US + n * HOUR_US, f"k1-{n % 3}", value=n)
        for n in range(80)
    ]


@pytest.fixture
def tea(tmp_path: Path) -> tuple[Plan, Archive, Path]:
    """A table over ten days of purchases."""
    plan = plan_of(count("purchase", over="7d"), total("purchase.value"), last("purchase.value"))
    archive = write_archive(tmp_path / "archive", ten_days(0))
    assert done(backfill(plan, archive, tmp_path / "tables")) == [("whole", "there was no table")]
    return plan, archive, tmp_path / "tables"


def test_final_rows_stay_and_new_ones_are_added(tea: tuple[Plan, Archive, Path]) -> None:
    """Parts are never written again; what is added reaches from the old boundary to the new one."""
    plan, archive, tables = tea
    before = manifest_of(tables)
    assert done(backfill(plan, archive, tables)) == [("nothing", "no new events")]
    add_to_archive(archive, "more", ten_days(1))
    report = backfill(plan, archive, tables)
    assert done(report) == [("added", "new events")]
    after = manifest_of(tables)
    assert after.parts[:-1] == before.parts
    assert (after.parts[-1].after, after.parts[-1].upto) == (before.boundary, after.boundary)
    assert after.boundary == T + 31 * DAY_US
    assert report.tables[0].rows == after.rows
    rendered = render(report)
    assert [next(iter(column.cells)) for column in rendered.columns][:4] == ["v", f"{after.rows:,}", *done(report)[0]]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("late", "the archive has other events of days that were final"),
        ("gone", "the archive has other events of days that were final"),
        ("definition", "its definition has changed"),
        ("until", "it reached beyond the instant asked for"),
        ("file", "there was no table"),
        ("manifest", "there was no table"),
    ],
)
def test_what_was_final_is_made_anew_when_it_is_not(tea: tuple[Plan, Archive, Path], change: str, why: str) -> None:
    """Other events of final days, another definition, an earlier instant, or a missing file: the whole table."""
    plan, archive, tables = tea
    until = None
    if change == "late":
        add_to_archive(archive, "late", [bought(7, T + DAY_US)])
    elif change == "gone":
        pq.write_table(to_table(ten_days(0)[9:]), archive.files()[0])
    elif change == "definition":
        plan = plan_of(count("purchase", over="7d"), total("purchase.value"), last("purchase.item"))
    elif change == "until":
        until = T + 4 * DAY_US
    elif change == "file":
        (tables / "v" / manifest_of(tables).carry.file).unlink()
    else:
        (tables / "v.json").write_text('{"format": 1, "view"')
    assert done(backfill(plan, archive, tables, until=until)) == [("whole", why)]
    backfill(plan, archive, tables.with_name("whole"), until=until)
    assert table(tables) == table(tables.with_name("whole"))


def test_merging_files_of_the_archive_changes_no_day(tea: tuple[Plan, Archive, Path]) -> None:
    """The archiver merges its files; the events are the same, and so the final rows stay."""
    plan, archive, tables = tea
    (file,) = archive.files()
    file.unlink()
    add_to_archive(archive, "merged", [*ten_days(0), *ten_days(1)])
    assert done(backfill(plan, archive, tables)) == [("added", "new events")]


def test_a_day_without_new_final_rows_makes_the_tail_anew(tea: tuple[Plan, Archive, Path]) -> None:
    """Within a day the boundary stands still: parts and carry stay, the tail takes the new event in."""
    plan, archive, tables = tea
    before = manifest_of(tables)
    add_to_archive(archive, "one more", [bought(7, ten_days(0)[-1].k + 1, "k1-new")])
    assert done(backfill(plan, archive, tables)) == [("added", "new events")]
    after = manifest_of(tables)
    assert (after.boundary, after.parts, after.carry) == (before.boundary, before.parts, before.carry)
    assert after.rows == before.rows + 2  # it comes, and leaves the window


@pytest.mark.parametrize("windows", [(), (count("purchase", over="40d"),)], ids=["carried", "carried and read again"])
@pytest.mark.parametrize("shift_us", [-1, 0, 1])
def test_who_is_about_to_be_forgotten_is_carried_until_then(
    tmp_path: Path, shift_us: int, windows: tuple[Aggregation, ...]
) -> None:
    """The boundary falls on the retention of an entity, or a microsecond beside; what comes then goes on, or anew.

    Without a window nothing before the boundary is read again: the carry alone knows it.
    """
    definition = view_definition("user", (count("purchase"), last("purchase.value"), *windows))
    plan, archive = Plan([definition]), Archive(tmp_path / "archive", 4)
    boundary = T + definition.retention_us
    add_to_archive(archive, "1", [bought(1, T + shift_us), bought(2, boundary + DAY_US + HOUR_US, "k1-bob")])
    backfill(plan, archive, tmp_path / "days")
    add_to_archive(archive, "2", [bought(3, boundary), bought(4, boundary + 4 * DAY_US)])
    assert done(backfill(plan, archive, tmp_path / "days")) == [("added", "new events")]
    backfill(plan, archive, tmp_path / "whole")
    assert table(tmp_path / "days", "user_view") == table(tmp_path / "whole", "user_view")


def test_as_many_texts_are_carried_as_are_counted(tmp_path: Path) -> None:
    """A capped number of texts stays at its cap from run to run, whichever of them come again."""
    plan, archive = plan_of(distinct("purchase.category", cap=2)), Archive(tmp_path / "archive", 4)
    for day, categories in enumerate((("TEA",), ("MILK", "CAKE"), ("TEA",), ("TEA",))):
        log = [bought(9 * day + n, T + 4 * day * DAY_US + n, category=each) for n, each in enumerate(categories)]
        add_to_archive(archive, f"{day}", log)
        backfill(plan, archive, tmp_path / "days")
    backfill(plan, archive, tmp_path / "whole")
    assert table(tmp_path / "days")["purchase_category_distinct"].to_pylist() == [1, 2, 2, 2, 2]
    assert table(tmp_path / "days") == table(tmp_path / "whole")


def test_many_parts_become_few(tea: tuple[Plan, Archive, Path]) -> None:
    """A part for each run would be many files; neighbours are merged, the smallest first."""
    plan, archive, tables = tea
    for day in range(1, 22):
        add_to_archive(archive, f"{day}", [bought(5000 + day, T + (20 + day) * DAY_US, f"k1-{day % 3}")])
        backfill(plan, archive, tables)
    parts = manifest_of(tables).parts
    assert len(parts) == table_files.MOST_PARTS
    assert all(part.upto <= later.after for part, later in pairwise(parts))
    backfill(plan, archive, tables.with_name("whole"))
    assert table(tables) == table(tables.with_name("whole"))


def test_readers_of_the_manifest_before_still_find_its_files(tea: tuple[Plan, Archive, Path]) -> None:
    """What a manifest names is there until the run after the next begins; then only the last two manifests' files."""
    plan, archive, tables = tea
    manifests = [manifest_of(tables)]
    for number in (1, 2, 3):
        add_to_archive(archive, f"{number}", ten_days(number))
        backfill(plan, archive, tables)
        manifests.append(manifest_of(tables))
        there = {file.name for file in (tables / "v").iterdir()}
        assert there.issuperset([*manifests[-1].files, *manifests[-2].files])
    backfill(plan, archive, tables)
    there = {file.name for file in (tables / "v").iterdir()}
    assert there == {*manifests[-1].files, *manifests[-2].files}


def test_only_one_backfill_at_a_time(tea: tuple[Plan, Archive, Path]) -> None:
    """A second one would sweep away what the first has staged."""
    plan, archive, tables = tea
    with table_files.alone_with(tables), pytest.raises(Unavailable, match=r"another backfill into .* is running"):
        backfill(plan, archive, tables)


RUN = """
import os, signal, sys
from pathlib import Path
from deployment import durable, table_manifest
from deployment.archive import Archive
from tests.training.test_backfill_days import crowd_plan
from training import tables
from training.backfill import backfill

def flush(path, calls=[0], fatal=int(sys.argv[3])):
    calls[0] += 1
    if calls[0] == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    durable.flush(path)

tables.flush = table_manifest.flush = flush
print("begins", flush=True)
backfill(crowd_plan(), Archive(Path(sys.argv[1]), 4), Path(sys.argv[2]))
"""


def crowd_plan() -> Plan:
    features = (count("purchase", over="24h"), count("purchase"), last("purchase.value"))
    lists = (recent(5), distinct("purchase.category", over="7d"), distinct("purchase.category"))
    views = (
        ("pairs", "user_category", features),
        ("people", "user", features + lists),
        ("groups", "category", features),
    )
    return Plan(
        ViewDefinition(name, entity, ("purchase",), tuple(FeatureDefinition(each.name, each) for each in specs))
        for name, entity, specs in views
    )


def crowd(day: int) -> list[Admitted]:
    """Two thousand purchases on one day."""
    return [
        bought(day * 10_000 + n, T + 2 * day * DAY_US + n * 20_000_000, f"k1-{n * 7 % 97}", f"C{n % 13}", n)
        for n in range(2000)
    ]


def run(archive: Archive, tables: Path, *, fatal_flush: int = 0, at_most_s: float | None = None) -> float | None:
    """Backfill in a process that dies at its nth flush, or is killed after a while; its seconds, None if it died."""
    command = [sys.executable, "-c", RUN, str(archive.path), str(tables), str(fatal_flush)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.perf_counter()
        try:
            process.wait(at_most_s)
        except subprocess.TimeoutExpired:
            process.kill()
        return time.perf_counter() - began if process.wait() == 0 else None


def assert_whole(tables: Path, plan: Plan) -> None:
    """All files that the manifests name are there, and say of no instant two things."""
    for view in plan.views:
        if (tables / f"{view.name}.json").exists():
            found = table(tables, view.name).select([*view.join_keys, "ts"])
            assert found.group_by(found.column_names).aggregate([]).num_rows == found.num_rows


def test_kill_9_at_any_instant_leaves_whole_tables(tmp_path: Path) -> None:
    """The tables that the manifests name are whole, and the next run goes on; nothing that was staged stays."""
    archive, tables, plan = Archive(tmp_path / "archive", 4), tmp_path / "tables", crowd_plan()
    chance = random.Random(5)
    add_to_archive(archive, "0", crowd(0))
    assert run(archive, tables, fatal_flush=9) is None
    assert [each.done for each in backfill(plan, archive, tables).tables] == ["nothing", "whole", "whole"]
    add_to_archive(archive, "0 more", crowd(1))
    took = run(archive, tables)
    assert took is not None
    died = 0
    # A view has seven flushes: of three files, of two directories, of the manifest and its name. Then by the clock.
    ends = [{"fatal_flush": flush} for flush in (1, 2, 3, 4, 5, 6, 7, 8, 11)]
    ends += [{"at_most_s": chance.uniform(0, took)} for _ in range(4)]
    for day, end in enumerate(ends, 2):
        add_to_archive(archive, f"{day}", crowd(day))
        died += run(archive, tables, **end) is None
        assert_whole(tables, plan)
    assert died >= 9
    backfill(plan, archive, tables)
    backfill(plan, archive, tables)
    backfill(plan, archive, tmp_path / "whole")
    for view in plan.views:
        assert table(tables, view.name) == table(tmp_path / "whole", view.name)
        manifest = manifest_of(tables, view.name)
        there = {file.name for file in (tables / view.name).iterdir()}
        assert there == {*manifest.files, *manifest.former}
    assert not list(tables.glob(".spill-*"))

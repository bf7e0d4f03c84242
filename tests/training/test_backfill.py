"""Change-point tables: what is in them, and that they are whole."""

from pathlib import Path

import pyarrow as pa
import pytest

from behavior.errors import OpportuneError
from behavior.event import DAY_US, HOUR_US, MINUTE_US
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from behavior.words import age, count, last, total
from tests.feast_plugin.repository import bought, write_archive
from tests.training.tables import T, add_to_archive, manifest_of, plan_of, rows, table
from training.backfill import backfill


def test_a_row_stands_wherever_a_value_changes(tmp_path: Path) -> None:
    """An event enters at k + 1 and leaves each window at floor(e, hop) + W; lifetime values stay."""
    archive = write_archive(tmp_path / "archive", [bought(1, T + 5), bought(2, T + 2 * HOUR_US, value=-30)])
    plan = plan_of(count("purchase", over="1h"), count("purchase"), total("purchase.value"), last("purchase.category"))
    report = backfill(plan, archive, tmp_path)
    assert rows(
        tmp_path, "epoch_us(ts), purchase_count_1h, purchase_count, purchase_value_total, purchase_category_last"
    ) == [
        (T + 6, 1, 1, 100, "TEA"),
        (T + HOUR_US, 0, 1, 100, "TEA"),
        (T + 2 * HOUR_US + 1, 1, 2, 70, "TEA"),
        (T + 3 * HOUR_US, 0, 2, 70, "TEA"),
    ]
    assert (report.events, report.tables[0].rows) == (2, 4)


def test_an_event_that_comes_too_late_for_a_window_never_counts_in_it(tmp_path: Path) -> None:
    """It leaves before it enters; but it makes the entity present and counts for ever."""
    archive = write_archive(tmp_path / "archive", [bought(1, T, e=T - 2 * HOUR_US)])
    backfill(plan_of(count("purchase", over="1h"), count("purchase"), age("purchase")), archive, tmp_path)
    assert rows(tmp_path, "epoch_us(ts), seen_e, purchase_count_1h, purchase_count, purchase_age_s") == [
        (T + 1, T - 2 * HOUR_US, 0, 1, T - 2 * HOUR_US)
    ]


@pytest.mark.parametrize(("gap", "remembered"), [(400 * DAY_US, 1), (400 * DAY_US - 1, 2)])
def test_state_starts_afresh_after_the_retention(tmp_path: Path, gap: int, remembered: int) -> None:
    """An event that is admitted R after the last event time forgets what was before; a microsecond less does not."""
    archive = write_archive(tmp_path / "archive", [bought(1, T), bought(2, T + gap)])
    backfill(plan_of(count("purchase"), last("purchase.value")), archive, tmp_path)
    assert rows(tmp_path, "purchase_count")[-1] == (remembered,)


def test_events_of_one_instant_begin_together(tmp_path: Path) -> None:
    """Two users of a category, admitted at one instant with ancient event times: neither resets the other."""
    log = [bought(1, T, e=T - 401 * DAY_US), bought(2, T, "k1-bob", e=T - 400 * DAY_US)]
    backfill(plan_of(count("purchase"), entity="category"), write_archive(tmp_path / "archive", log), tmp_path)
    assert rows(tmp_path, "purchase_count") == [(2,)]


def test_of_two_generations_within_an_interval_the_last_stands(tmp_path: Path) -> None:
    """Rounding brings the end of one and the beginning of the next to one instant; (keys, ts) stays unique."""
    log = [bought(1, T + MINUTE_US), bought(2, T + HOUR_US + MINUTE_US)]
    features = tuple(FeatureDefinition(each.name, each) for each in (count("purchase", over="1h"), count("purchase")))
    brief = ViewDefinition("v", "category", ("purchase",), features, retention_us=HOUR_US, interval_us=5 * MINUTE_US)
    backfill(Plan([brief]), write_archive(tmp_path / "archive", log), tmp_path)
    assert rows(tmp_path, "epoch_us(ts), purchase_count_1h, purchase_count") == [
        (T + 5 * MINUTE_US, 1, 1),
        (T + HOUR_US + 5 * MINUTE_US, 1, 1),
        (T + 2 * HOUR_US + 5 * MINUTE_US, 0, 1),
    ]


def test_snapshot_views_change_at_whole_intervals_only(tmp_path: Path) -> None:
    """Their instants are rounded up: the value at s is that of all changes with ts <= s, over all users."""
    log = [bought(1, T), bought(2, T + 1, "k1-bob"), bought(3, T + MINUTE_US)]
    backfill(plan_of(count("purchase"), entity="category"), write_archive(tmp_path / "archive", log), tmp_path)
    assert rows(tmp_path, "category, epoch_us(ts), purchase_count") == [
        ("TEA", T + MINUTE_US, 2),
        ("TEA", T + 2 * MINUTE_US, 3),
    ]


def test_until_takes_only_what_was_admitted_before(tmp_path: Path) -> None:
    """`until` is an instant of admission and is not included."""
    archive = write_archive(tmp_path / "archive", [bought(1, T), bought(2, T + 1)])
    report = backfill(plan_of(count("purchase")), archive, tmp_path, until=T + 1)
    assert rows(tmp_path, "epoch_us(ts), purchase_count") == [(T + 1, 1)]
    assert report.events == 1


def test_an_empty_archive_gives_empty_tables_of_the_right_shape(tmp_path: Path) -> None:
    """Training on nothing finds tables without rows, not missing files."""
    backfill(plan_of(count("purchase"), entity="user_category"), write_archive(tmp_path / "archive", []), tmp_path)
    assert [(field.name, field.type) for field in table(tmp_path).schema] == [
        ("user_id", pa.string()), ("category", pa.string()), ("ts", pa.timestamp("us", "UTC")), ("seen_e", pa.int64()),
        ("purchase_count", pa.int64()),
    ]  # fmt: skip


def test_keys_and_instants_are_unique(tmp_path: Path) -> None:
    """(keys, ts) is unique, ties in k and several users included: Feast needs no created column."""
    log = [bought(n, T + n // 3 * HOUR_US, f"k1-{n % 3}", "TEA" if n % 2 else "MILK") for n in range(60)]
    plan = plan_of(count("purchase", over="24h"), total("purchase.value", over="7d"), entity="user_category")
    backfill(plan, write_archive(tmp_path / "archive", log), tmp_path)
    found = rows(tmp_path, "user_id, category, ts")
    assert found == sorted(set(found))
    assert len(found) > len(log)


def test_a_failure_leaves_the_tables_as_they_were(tmp_path: Path) -> None:
    """A table is replaced whole or not at all, and nothing half-written stays behind."""
    archive = write_archive(tmp_path / "archive", [bought(n, T + n) for n in range(20_000)])
    tables = tmp_path / "tables"
    backfill(plan_of(count("purchase")), archive, tables)
    before = manifest_of(tables)
    with pytest.raises(OpportuneError, match="view v: DuckDB ran out of memory"):
        backfill(plan_of(count("purchase", over="7d")), archive, tables, memory_limit="2MB")
    assert manifest_of(tables) == before
    assert sorted(file.name for file in (tables / "v").iterdir()) == sorted(before.files)
    assert sorted(file.name for file in tables.iterdir()) == [".backfill.lock", "v", "v.json"]


def test_paths_with_quotes_and_spaces_are_only_paths(tmp_path: Path) -> None:
    """A deployment may live in any directory."""
    home = tmp_path / "it's a 'home'"
    archive = write_archive(home / "archive", [bought(1, T)])
    backfill(plan_of(count("purchase")), archive, home / "tables")
    add_to_archive(archive, "more", [bought(2, T + 3 * DAY_US)])
    backfill(plan_of(count("purchase")), archive, home / "tables")
    assert rows(home / "tables", "purchase_count") == [(1,), (2,)]

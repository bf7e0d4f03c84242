"""The snapshot in memory: what the publisher's rows say is what scorers look up."""

import numpy as np
import pytest

from behavior.column import Column
from behavior.errors import BadInput
from behavior.event import DAY_US, MINUTE_US
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from behavior.snapshot_rows import pack_rows
from behavior.words import age, count, last
from deployment.snapshot import Snapshot, SnapshotView

S = 20_000 * DAY_US
FEATURES = tuple(FeatureDefinition(each.name, each) for each in (count("purchase"), age("purchase"), last("*.device")))
PLAN = Plan(
    [
        ViewDefinition("categories", "category", ("purchase",), FEATURES, retention_us=30 * DAY_US),
        ViewDefinition("everybody", "all", ("purchase",), FEATURES[:1]),
    ]
)
CATEGORIES = PLAN.view("categories")
Row = tuple[int | None, int | None, str | None, int]


def packed(rows: dict[str, Row]) -> dict[str, bytes]:
    """Rows of categories as the publisher keeps them: (count, raw age, device, last seen) by id."""
    raw = {
        each.name: Column.of([row[place] for row in rows.values()], each.dtype)
        for place, each in enumerate(CATEGORIES.raws)
    }
    seen_e = Column.of([row[3] for row in rows.values()], "int64")
    return dict(zip(rows, pack_rows(CATEGORIES, raw, seen_e), strict=True))


TEA: Row = (3, S - MINUTE_US, "phone", S - MINUTE_US)
OLD: Row = (7, None, None, S - 30 * DAY_US)


def snapshot(s: int = S) -> Snapshot:
    """Two categories, the second of which has gone missing; nobody at all in `everybody`."""
    return Snapshot(s, PLAN, {"categories": SnapshotView.of(CATEGORIES, packed({"TEA": TEA, "käse": OLD}))})


def counts(found: dict[str, Column]) -> list[int | None]:
    column = found["categories:purchase_count"]
    return [int(value) if there else None for value, there in zip(column.values, column.valid, strict=True)]


def test_lookup_answers_in_the_order_asked() -> None:
    """Final values at s per id, in the order and as often as asked for; unknown and expired ids are missing."""
    found = snapshot().lookup("categories", ["käse", "TEA", "COFFEE", "TEA"])
    assert counts(found) == [None, 3, None, 3]
    ages = found["categories:purchase_age_s"]
    assert ages.values.dtype == np.float32
    assert ages.values[1] == 60.0
    assert found["categories:any_device_last"].values[1] == "phone"
    assert snapshot().ids("categories") == ["TEA", "käse"]


def test_rows_hold_until_they_change() -> None:
    """A row that nothing touched answers for a later snapshot too: ages grow, and its retention ends."""
    later = snapshot(S + DAY_US)
    assert later.lookup("categories", ["TEA"])["categories:purchase_age_s"].values.tolist() == [86_460.0]
    assert counts(snapshot(TEA[3] + 30 * DAY_US).lookup("categories", ["TEA"])) == [None]
    assert counts(snapshot(TEA[3] + 30 * DAY_US - 1).lookup("categories", ["TEA"])) == [3]


def test_changed_rows_replace_those_before() -> None:
    """Others stay, new ones are added; the snapshot before is what it was, for who still reads it."""
    before = snapshot()
    part = before.views["categories"]
    rows = packed({"käse": (8, S, "tv", S), "COFFEE": (1, S, None, S)})
    after = Snapshot(S, PLAN, {"categories": part.updated(CATEGORIES, rows)})
    asked = ["TEA", "käse", "COFFEE", "MILK"]
    found = after.lookup("categories", asked)
    assert counts(found) == [3, 8, 1, None]
    devices = found["categories:any_device_last"]
    assert [value if there else None for value, there in zip(devices.values, devices.valid, strict=True)] == [
        "phone", "tv", None, None,
    ]  # fmt: skip
    assert after.ids("categories") == ["TEA", "käse", "COFFEE"]
    assert counts(before.lookup("categories", asked)) == [3, None, None, None]
    assert before.ids("categories") == ["TEA", "käse"]


def test_a_view_without_entities_is_missing() -> None:
    """Before the first event of a view its values are missing, not an error; so is what comes first."""
    found = snapshot().lookup("everybody", ["all"])
    assert found["everybody:purchase_count"].valid.tolist() == [False]
    assert snapshot().ids("everybody") == []
    empty = SnapshotView.of(CATEGORIES, {})
    assert counts(Snapshot(S, PLAN, {"categories": empty}).lookup("categories", ["TEA"])) == [None]
    filled = Snapshot(S, PLAN, {"categories": empty.updated(CATEGORIES, packed({"TEA": TEA}))})
    assert counts(filled.lookup("categories", ["TEA", "MILK"])) == [3, None]
    assert filled.lookup("categories", ["TEA"])["categories:any_device_last"].values.tolist() == ["phone"]


def test_an_unknown_view_is_an_error() -> None:
    """Asking for a view that the plan does not have says so."""
    with pytest.raises(BadInput, match="no view nobody"):
        snapshot().lookup("nobody", ["all"])

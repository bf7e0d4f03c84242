"""How everything stands with everybody: worked out from a snapshot, against sums by hand."""

import math

import numpy as np
import pytest

from behavior.column import Column
from behavior.plan import Plan
from behavior.snapshot_rows import pack_rows
from deployment.snapshot import Snapshot, SnapshotView
from scoring.standing import Standing, standing_of
from tests.scoring.small import PLAN, START


def snapshot_of(categories: dict[str, int], items: dict[str, tuple[int, str | None]]) -> Snapshot:
    """A snapshot in which these were bought so often, and items are in these categories."""

    def view(name: str, ids: list[str], values: dict[str, list[int | str | None]]) -> SnapshotView:
        raw = {each.name: Column.of(values.get(each.name, [0] * len(ids)), each.dtype) for each in PLAN.view(name).raws}
        packed = pack_rows(PLAN.view(name), raw, Column.of([START] * len(ids), "int64"))
        return SnapshotView.of(PLAN.view(name), dict(zip(ids, packed, strict=True)))

    of_items = {
        "purchase_count_30d": [count for count, _ in items.values()],
        "any_category_last": [category for _, category in items.values()],
    }
    views = {
        "category_activity": view(
            "category_activity", list(categories), {"purchase_count_30d": list(categories.values())}
        ),
        "item_activity": view("item_activity", list(items), of_items),  # type: ignore[arg-type]
    }
    return Snapshot(START, PLAN, views)


WORLD = snapshot_of({"TEA": 60, "RICE": 40, "OLD": 0}, {"green": (30, "TEA"), "black": (0, "TEA"), "odd": (10, None)})


def test_the_popular_are_the_most_bought_with_ties_by_id() -> None:
    """Most first, equal ones by id; what was not bought is not popular; more than are kept are cut."""
    standing = standing_of(WORLD)
    assert standing.popular == {"category": ("TEA", "RICE"), "item": ("green", "odd")}
    many = snapshot_of({f"{place:04}": 1 + place % 2 for place in range(1500)}, {})
    kept = standing_of(many).popular["category"]
    assert (
        list(kept)
        == sorted((f"{place:04}" for place in range(1500)), key=lambda each: (-(1 + int(each) % 2), each))[:1000]
    )


def test_shares_are_smoothed_and_never_0() -> None:
    """(n + 100/4) / (100 + 100) over three known categories and what is unknown: they add up to 1."""
    shares = standing_of(WORLD).shares_of(["TEA", "RICE", "OLD", "unheard of"])
    assert shares.tolist() == [85 / 200, 65 / 200, 25 / 200, 25 / 200]


def test_popularity_of_an_item_leans_on_its_category() -> None:
    """By hand; an item that nobody has bought stands where its category lets one expect, not where nothing is known."""
    standing = standing_of(WORLD)
    items, categories = ["green", "black", "odd", "new"], ["TEA", "TEA", "", "TEA"]
    expected = [
        math.log((n + 100 * share / siblings) / (40 + 100) * 4)
        for n, share, siblings in [(30, 0.425, 2), (0, 0.425, 2), (10, 0.125, 1), (0, 0.425, 2)]
    ]
    assert standing.popularity("item", items, categories) == pytest.approx(expected, rel=1e-12)
    assert standing.popularity("category", ["TEA"], ["TEA"]).tolist() == [math.log(0.425 * 4)]


def test_what_is_known_and_what_is_not() -> None:
    """The category of an item as the events said it, and marks for what no event was about."""
    standing = standing_of(WORLD)
    assert [standing.category_of(each) for each in ("green", "odd", "new")] == ["TEA", "", ""]
    marks = standing.marks("item", ["green", "new", "odd", "new"], ["TEA", "TEA", "", ""])
    assert marks == [(), ("unknown_item",), ("unknown_category",), ("unknown_item", "unknown_category")]
    assert standing.marks("category", ["TEA", "new"], ["TEA", "new"]) == [(), ("unknown_category",)]


@pytest.mark.parametrize("empty", [Standing(), standing_of(Snapshot(START, Plan([]), {}))])
def test_nothing_known_is_0_and_no_mark(empty: Standing) -> None:
    """Without views of categories and items nothing is popular, nothing is more popular, and nothing is marked."""
    assert not any(empty.popular.values())
    for kind in ("category", "item"):
        assert empty.popularity(kind, ["a", "b"], ["c", ""]).tolist() == [0.0, 0.0]
        assert empty.marks(kind, ["a"], ["c"]) == [()]
    assert np.isfinite(empty.shares_of(["a"])).all()

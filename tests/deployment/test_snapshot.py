"""The snapshot: what fold publishes is what scorers look up."""

import numpy as np
import pytest

from behavior.column import Column
from behavior.errors import BadInput, OpportuneError
from behavior.event import DAY_US, MINUTE_US
from behavior.kinds import age, count, last
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from deployment.snapshot import Snapshot, SnapshotView, decode, encode

S = 20_000 * DAY_US
FEATURES = tuple(FeatureDefinition(each.name, each) for each in (count("purchase"), age("purchase"), last("*.device")))
PLAN = Plan(
    [
        ViewDefinition("categories", "category", ("purchase",), FEATURES, retention_us=30 * DAY_US),
        ViewDefinition("everybody", "all", ("purchase",), FEATURES[:1]),
    ]
)


def snapshot() -> Snapshot:
    """Two categories, the second of which has gone missing; nobody at all in `everybody`."""
    raw = {
        "purchase_count": Column.of([3, 7], "int64"),
        "purchase_age_s": Column.of([S - MINUTE_US, None], "int64"),
        "any_device_last": Column.of(["phone", None], "string"),
    }
    seen_e = Column.of([S - MINUTE_US, S - 30 * DAY_US], "int64")
    return Snapshot(S, {"categories": SnapshotView(["TEA", "käse"], raw, seen_e)})


def test_bytes_give_the_snapshot_back() -> None:
    """Whatever is encoded is decoded: ids, values, absences, the instant; and equal snapshots have equal bytes."""
    again = decode(encode(snapshot()))
    assert again.s == S
    part, expected = again.views["categories"], snapshot().views["categories"]
    assert list(part.ids) == list(expected.ids)
    assert set(part.raw) == set(expected.raw)
    pairs = [(part.raw[name], expected.raw[name]) for name in expected.raw]
    for column, other in (*pairs, (part.seen_e, expected.seen_e)):
        assert column.valid.tolist() == other.valid.tolist()
        assert column.values[column.valid].tolist() == other.values[other.valid].tolist()
    assert encode(again) == encode(snapshot())


def test_bytes_do_not_depend_on_what_is_absent() -> None:
    """The arbitrary value behind an absence is no part of the bytes."""
    seen_e = Column.of([1], "int64")
    absent = [{"n": Column(np.array([behind]), np.array([False]))} for behind in (5, 6)]
    one, two = (Snapshot(S, {"v": SnapshotView(["a"], raw, seen_e)}) for raw in absent)
    assert encode(one) == encode(two)


def test_lookup_answers_in_the_order_asked() -> None:
    """Final values at s per id, in the order and as often as asked for; unknown and expired ids are missing."""
    found = snapshot().lookup(PLAN, "categories", ["käse", "TEA", "COFFEE", "TEA"])
    counts = found["categories:purchase_count"]
    assert counts.valid.tolist() == [False, True, False, True]
    assert counts.values[counts.valid].tolist() == [3, 3]
    ages = found["categories:purchase_age_s"]
    assert ages.values.dtype == np.float32
    assert ages.values[1] == 60.0
    assert found["categories:any_device_last"].values[1] == "phone"


def test_a_view_without_entities_is_missing() -> None:
    """Before the first event of a view its values are missing, not an error."""
    found = snapshot().lookup(PLAN, "everybody", ["all"])
    assert found["everybody:purchase_count"].valid.tolist() == [False]


def test_an_unknown_view_is_an_error() -> None:
    """Asking for a view that the plan does not have says so."""
    with pytest.raises(BadInput, match="no view nobody"):
        snapshot().lookup(PLAN, "nobody", ["all"])


@pytest.mark.parametrize("data", [b"", b"\x00", encode(snapshot())[:-3]])
def test_bytes_that_are_no_snapshot_are_refused(data: bytes) -> None:
    """Damaged bytes are never read as values."""
    with pytest.raises(OpportuneError, match="snapshot"):
        decode(data)


def test_another_format_is_refused() -> None:
    """A snapshot of a later format is named, not misread."""
    data = encode(snapshot()).replace(b"\xa6format\x01", b"\xa6format\x02")
    with pytest.raises(OpportuneError, match="format 2"):
        decode(data)

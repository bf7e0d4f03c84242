"""A snapshot brought up by any changes is the one that is read whole, and so is how everything stands by it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.column import Column
from behavior.event import DAY_US
from behavior.plan import FeatureDefinition, Plan, View, ViewDefinition
from behavior.snapshot_rows import pack_rows
from behavior.words import age, count, distinct, last, mean, rate
from deployment.snapshot import Snapshot
from deployment.snapshot_reading import brought_up, whole
from scoring import standing
from scoring.standing import Standing, standing_of

S = 20_000 * DAY_US
RETENTION = 40 * DAY_US
CATEGORIES, ITEMS = ("TEA", "RICE", "COFFEE"), tuple("abcdefgh")
FEATURES = (
    count("purchase", over="30d"), age("purchase"), mean("purchase.value", over="30d"), last("*.device"),
    rate("purchase", per="item_view", over="30d", prior=(1, 10)),
)  # fmt: skip


def _view(name: str, entity: str, *more: Any) -> ViewDefinition:
    features = tuple(FeatureDefinition(each.name, each) for each in (*FEATURES, *more))
    return ViewDefinition(name, entity, ("purchase", "item_view"), features, retention_us=RETENTION)


PLAN = Plan([
    _view("category_activity", "category"),
    _view("item_activity", "item", last("*.category"), distinct("purchase.user", over="30d")),
    _view("all_activity", "all"),
])  # fmt: skip
IDS = {"category_activity": CATEGORIES, "item_activity": ITEMS, "all_activity": ("all",)}
Rows = dict[str, dict[bytes, bytes]]


@st.composite
def rows_of(draw: st.DrawFn) -> Rows:
    """Packed rows of some entities of some views; some were seen so long ago that they go missing soon, or have."""
    found: Rows = {}
    for view in PLAN.snapshot_views:
        ids = draw(st.lists(st.sampled_from(IDS[view.name]), unique=True))
        if ids:
            raw = {each.name: Column.of([draw(_value(each.dtype)) for _ in ids], each.dtype) for each in view.raws}
            ages = [draw(st.sampled_from((0, RETENTION - 3 * view.interval_us, RETENTION))) for _ in ids]
            seen_e = Column.of([S - each for each in ages], "int64")
            packed = pack_rows(view, raw, seen_e)
            found[view.name] = dict(zip((each.encode() for each in ids), packed, strict=True))
    return found


def _value(dtype: str) -> st.SearchStrategy[Any]:
    texts = st.sampled_from((*CATEGORIES, "never counted"))
    return st.none() | (texts if dtype == "string" else st.integers(0, 5))


def read_whole(s: int, rows: Mapping[str, Mapping[bytes, bytes]]) -> Snapshot:
    """What a scorer reads that has none."""
    found = whole(PLAN, [b"%d" % s, *(rows.get(view.name, {}) for view in PLAN.snapshot_views), b"%d" % s])
    assert found is not None
    return found


def change(since: int, upto: int, rows: Rows) -> tuple[bytes, Mapping[bytes, bytes]]:
    """An entry of the stream of changes."""
    return b"%d-0" % upto, {b"from": b"%d" % since, b"b": msgspec.msgpack.encode(rows)}


@settings(max_examples=50, deadline=None)
@given(rows_of(), st.lists(st.lists(st.tuples(st.integers(1, 3), rows_of()), min_size=1, max_size=3), max_size=4))
def test_brought_up_is_read_whole(first: Rows, polls: Sequence[Sequence[tuple[int, Rows]]]) -> None:
    """After each poll, of one snapshot or of several at once, every array is the other's bit for bit, row by row."""
    interval = PLAN.interval_us
    known: Rows = {view.name: dict(first.get(view.name, {})) for view in PLAN.snapshot_views}
    held = read_whole(S, known)
    stands = standing_of(held)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standing, "POPULAR", 3)
        for changes in polls:
            entries, s = [], held.s
            for steps, rows in changes:
                entries.append(change(s, s + steps * interval, rows))
                s += steps * interval
                for name, changed in rows.items():
                    known[name].update(changed)
            before, was = held, told(held)
            after = brought_up(held, entries)
            assert after is not None
            after.prepare(before)
            held, stands = after, standing_of(after, stands)
            expected = read_whole(s, known)
            assert told(held) == told(expected)
            assert stood(stands) == stood(standing_of(expected))
            assert told(before) == was  # requests that have it go on with what it said


def told(snapshot: Snapshot) -> dict[str, Any]:
    """All that a snapshot says: final and raw values and rows for a model, of known and unknown entities."""
    found: dict[str, Any] = {"s": snapshot.s}
    for view in PLAN.snapshot_views:
        asked = [*IDS[view.name], "unheard of"]
        rows = snapshot.rows(view.name, asked)
        found[view.name] = (
            sorted(snapshot.ids(view.name)),
            {ref: _plain(column) for ref, column in snapshot.lookup(view.name, asked).items()},
            rows.raw_rows(np.arange(len(asked))), laid_out(view, snapshot, asked).tobytes(),
        )  # fmt: skip
    return found


def laid_out(view: View, snapshot: Snapshot, asked: Sequence[str]) -> np.ndarray:
    """The numeric features as a model asks for them, float32[n, d]."""
    refs = tuple(
        sorted(each.ref for each in view.features if each.kind.dtype(each.aggregation) in ("int64", "float32"))
    )
    rows = np.zeros((len(asked), len(refs)), dtype=np.float32)
    snapshot.rows(view.name, asked).write(rows, np.arange(len(refs)), refs)
    return rows


def stood(standing: Standing) -> dict[str, Any]:
    """All that a standing says, by the names of things."""
    items = [*ITEMS, "unheard of"]
    categories = [*CATEGORIES, "never counted", "unheard of"]
    said = [standing.category_of(item) for item in items]
    return {
        "popular": dict(standing.popular), "known": (sorted(standing.category_rows), sorted(standing.item_rows)),
        "shares": standing.shares_of(categories).tobytes(), "categories": said, "bought": standing.bought,
        "items": standing.popularity("item", items, said).tobytes(), "marks": standing.marks("item", items, said),
        "own": standing.popularity("category", categories, categories).tobytes(), "knows": standing.knows,
    }  # fmt: skip


def _plain(column: Column) -> list[Any]:
    return [
        value if there else None for value, there in zip(column.values.tolist(), column.valid.tolist(), strict=True)
    ]

"""From raw columns to the model's row: the moment, missing values, vocabularies and broadcasting."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.aggregation import Aggregation
from behavior.column import Column
from behavior.errors import BadInput
from behavior.finals import finalise
from behavior.moment import Moment, choose_offset
from behavior.plan import FeatureDefinition, View, ViewDefinition
from behavior.vector import assemble
from behavior.words import affinity, age, count, distinct, ever, last, mean, rate, recent

SECOND, MINUTE, HOUR, DAY = 10**6, 60 * 10**6, 3600 * 10**6, 86_400 * 10**6
NOON = 17_440 * DAY + DAY // 2
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
ODD_OFFSETS = (0, 1, -1, 59, -64_800, 64_800, 20_700, 45_900, -34_200, -2_670, -12_345)


def moment(*t: int, offset: int = 0) -> Moment:
    return Moment(np.array(t, dtype=np.int64), np.full(len(t), offset, dtype=np.int64))


def view(entity: str = "user", interval_us: int = MINUTE) -> View:
    specs = (
        count("purchase"),
        count("purchase", over="30d"),
        ever("purchase"),
        last("purchase.category"),
        age("purchase"),
    )
    features = tuple(FeatureDefinition(spec.name, spec) for spec in specs)
    return View(ViewDefinition("v", entity, ("purchase",), features, retention_us=40 * DAY, interval_us=interval_us))


def one(
    entity: str, t: int, *, seen: int | None, raw_age: int | None = NOON, interval_us: int = MINUTE
) -> dict[str, Column]:
    """The final columns of one row."""
    raw = {
        "purchase_count": Column.of([3], "int64"), "purchase_count_30d": Column.of([0], "int64"),
        "purchase_ever": Column.of([7], "int64"), "purchase_category_last": Column.of(["dairy"], "string"),
        "purchase_age_s": Column.of([raw_age], "int64"),
    }  # fmt: skip
    return finalise(view(entity, interval_us), raw, Column.of([seen], "int64"), np.array([t], dtype=np.int64))


@settings(max_examples=300)
@given(
    st.integers(DAY, 47_480 * DAY) | st.integers(1, 47_480 * 24).map(lambda hours: hours * DAY // 24),
    st.sampled_from(ODD_OFFSETS) | st.integers(-64_800, 64_800), st.sampled_from((-1, 0, 1)),
)  # fmt: skip
def test_hour_and_weekday_are_those_of_the_calendar(near: int, offset: int, shift: int) -> None:
    """Hour and weekday (Monday is 0) are the standard library's at the user's offset, to the microsecond."""
    t = near + shift
    local = (BEGINNING + timedelta(microseconds=t)).astimezone(timezone(timedelta(seconds=offset)))
    found = moment(t, offset=offset)
    assert (int(found.hour[0]), int(found.weekday[0])) == (local.hour, local.weekday())


def test_every_hour_of_some_weeks() -> None:
    """Over a month of hours at three offsets, and a microsecond before each, columns equal the calendar."""
    t = np.arange(0, 31 * DAY, DAY // 24, dtype=np.int64) + NOON
    t = np.concatenate([t, t - 1])
    for offset in (0, -18_000, 20_700):
        found = Moment(t, np.full(len(t), offset, dtype=np.int64))
        local = [BEGINNING + timedelta(microseconds=int(x), seconds=offset) for x in t]
        assert found.hour.tolist() == [x.hour for x in local]
        assert found.weekday.tolist() == [x.weekday() for x in local]


def test_a_known_offset_goes_before_the_sources() -> None:
    """The stated offset is taken, else the user's last known, else the source's zone, row by row."""
    stated, known = Column.of([0, None, None], "int64"), Column.of([5, -6, None], "int64")
    assert choose_offset(stated, known, np.array([7, 8, 9])).tolist() == [0, -6, 9]


def test_missing_is_nan_and_never_zero() -> None:
    """What is not there is NaN in the row, a zero that is there is 0, and the sentinel behind a hole is never read."""
    finals = {"v:n": Column(np.array([5, 0, 9]), np.array([False, True, False]))}
    row = assemble(["v:n"], finals, moment(NOON), np.array(["a"] * 3, dtype=object), {})
    assert row.dtype == np.float32
    assert np.isnan(row[[0, 2], 0]).all()
    assert row[1, 0] == 0


def test_one_row_stands_for_all() -> None:
    """A user's single row and a single moment stand beside every candidate; columns of n rows keep their rows."""
    finals = {
        "u:one": Column.of([4], "int64"),
        "c:many": Column.of([1, None, 3], "int64"),
        "u:text": Column.of(["x"], "string"),
    }
    inputs = ["c:many", "moment:hour", "u:one", "moment:weekday", "candidate:category", "u:text"]
    vocabularies = {"candidate:category": {"a": 0, "b": 1}, "u:text": {"x": 5}}
    candidates = np.array(["b", "new", "a"], dtype=object)
    rows = assemble(inputs, finals, moment(NOON), candidates, vocabularies)
    nan = np.nan
    weekday = datetime.fromtimestamp(NOON // SECOND, UTC).weekday()
    expected = [[1, 12, 4, weekday, 1, 5], [nan, 12, 4, weekday, nan, 5], [3, 12, 4, weekday, 0, 5]]
    np.testing.assert_array_equal(rows, np.array(expected, dtype=np.float32))
    assert rows.shape == (3, 6)


def test_the_order_is_the_models_own() -> None:
    """Columns stand in the order of the inputs, and a row does not depend on its neighbours."""
    finals = {"v:a": Column.of([1, 2], "int64"), "v:b": Column.of([3, 4], "int64")}
    two = np.array(["x", "y"], dtype=object)
    rows = assemble(["v:a", "v:b"], finals, moment(NOON, NOON), two, {})
    turned = assemble(["v:b", "v:a"], finals, moment(NOON, NOON), two, {})
    np.testing.assert_array_equal(rows[:, ::-1], turned)
    alone = assemble(
        ["v:a", "v:b"], {ref: Column(c.values[1:], c.valid[1:]) for ref, c in finals.items()}, moment(NOON), two[1:], {}
    )
    assert alone.tobytes() == rows[1:].tobytes()


def test_an_unseen_or_absent_text_is_nan() -> None:
    """A text outside the frozen vocabulary, and no text at all, become NaN; code 0 is a code."""
    finals = {"v:s": Column.of(["seen", "unseen", None, ""], "string")}
    rows = assemble(["v:s"], finals, moment(NOON), np.array(["a"] * 4, dtype=object), {"v:s": {"seen": 0}})
    np.testing.assert_array_equal(rows[:, 0], np.array([0, np.nan, np.nan, np.nan], dtype=np.float32))


@pytest.mark.parametrize("name", ["v:unknown", "moment:minute", "candidate:item", "v__n"])
def test_an_input_that_nothing_provides_is_refused(name: str) -> None:
    """A model whose features are not there is refused by the name of the first, not served something else."""
    with pytest.raises(BadInput, match=name):
        assemble([name], {"v:n": Column.of([1], "int64")}, moment(NOON), np.array(["a"], dtype=object), {})


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5))
def test_integers_are_rounded_once(numbers: list[int]) -> None:
    """An int64 becomes the nearest float32 in one correctly rounded cast."""
    rows = assemble(
        ["v:n"],
        {"v:n": Column.of(list(numbers), "int64")},
        moment(NOON),
        np.array(["a"] * len(numbers), dtype=object),
        {},
    )
    for number, found in zip(numbers, rows[:, 0].tolist(), strict=True):
        step = abs(float(np.nextafter(np.float32(found), np.float32(0))) - found) or 1.0
        assert abs(int(found) - number) * 2 <= 2 * step
        assert found == float(np.int64(number).astype(np.float32))


def test_finals_are_missing_where_the_entity_is() -> None:
    """Unknown, or last seen R or more ago: every final value is missing. A microsecond before, none is."""
    last_seen = NOON - 40 * DAY
    for seen, expected in ((None, False), (last_seen, False), (last_seen + 1, True), (NOON - 1, True)):
        finals = one("user", NOON, seen=seen, raw_age=NOON - 5 * SECOND)
        assert {ref: bool(column.valid[0]) for ref, column in finals.items()} == dict.fromkeys(finals, expected), seen


def test_finals_have_their_declared_types() -> None:
    """Flags are 0 or 1, ages float32 seconds, counts int64; a raw value that is not there stays so."""
    finals = one("user", NOON, seen=NOON - DAY, raw_age=NOON - 1_500_000)
    assert finals["v:purchase_ever"].values[0] == 1
    assert finals["v:purchase_count"].values.dtype == np.int64
    assert finals["v:purchase_age_s"].values.dtype == np.float32
    assert finals["v:purchase_age_s"].values[0] == np.float32(1.5)
    assert not one("user", NOON, seen=NOON - DAY, raw_age=None)["v:purchase_age_s"].valid[0]


def finals_of(specs: tuple[Aggregation, ...], raw: dict[str, Column], entity: str = "user") -> dict[str, Column]:
    """Final columns, by feature name, of entities that were seen an hour ago."""
    features = tuple(FeatureDefinition(spec.name, spec) for spec in specs)
    made = View(ViewDefinition("v", entity, ("item_view", "purchase"), features))
    n = len(next(iter(raw.values())))
    found = finalise(made, raw, Column.of([NOON - HOUR] * n, "int64"), np.full(n, NOON))
    return {ref.partition(":")[2]: column for ref, column in found.items()}


def test_a_mean_is_one_division_and_missing_of_nothing() -> None:
    """In float64, then the nearest float32; the sum may be large, negative or 0."""
    sums, numbers = [10**16 + 1, -7, 0, 0, 5], [3, 2, 4, 0, 0]
    raw = {"x__sum": Column.of(sums, "int64"), "x__n": Column.of(numbers, "int64")}
    found = finals_of((mean("purchase.value", name="x"),), raw)["x"]
    assert found.values.dtype == np.float32
    assert found.valid.tolist() == [True, True, True, False, False]
    expected = [np.float32(float(summed) / number) for summed, number in zip(sums[:3], numbers, strict=False)]
    assert found.values[:3].tolist() == expected


def test_a_rate_is_smoothed_and_never_missing() -> None:
    """(n + a) / (d + b) in float64, then float32; of nothing at all it is the prior's own."""
    raw = {"x__n": Column.of([0, 1, 7], "int64"), "x__d": Column.of([0, 3, 1], "int64")}
    found = finals_of((rate("purchase", per="item_view", prior=(1, 50), name="x"),), raw)["x"]
    assert found.values.dtype == np.float32
    assert found.values.tolist() == [float(np.float32(x)) for x in (1 / 50, 2 / 53, 8 / 51)]
    assert found.valid.all()


def test_an_affinity_adds_weighted_counts() -> None:
    """In int64, with weights of either sign."""
    spec = affinity({"purchase": 10, "item_view": -1, "purchase where value > 9": 1_000_000}, over="30d", name="x")
    raw = {f"x__{place}": Column.of(said, "int64") for place, said in enumerate(([0, 1, 5], [3, 0, 2], [0, 0, 10**9]))}
    found = finals_of((spec,), raw, "user_category")["x"]
    assert found.values.dtype == np.int64
    assert found.values.tolist() == [-3, 10, 48 + 10**15]


def test_lists_and_numbers_of_texts_stay_what_they_are() -> None:
    """Recent events are lists of texts, an empty one too; distinct is a number."""
    raw = {"recent_3": Column.of([["a", "b"], []], "texts"), "purchase_item_distinct": Column.of([2, 0], "int64")}
    found = finals_of((recent(3), distinct("purchase.item")), raw)
    assert found["recent_3"].values.tolist() == [["a", "b"], []]
    assert found["purchase_item_distinct"].values.tolist() == [2, 0]
    assert all(column.valid.all() for column in found.values())


def test_what_is_not_read_is_not_made() -> None:
    """A feature of which one raw column is not there is left out; the others are as they were."""
    specs = (mean("purchase.value", name="x"), count("purchase"))
    raw = {"x__sum": Column.of([1], "int64"), "purchase_count": Column.of([3], "int64")}
    assert {name: column.values.tolist() for name, column in finals_of(specs, raw).items()} == {"purchase_count": [3]}


def test_snapshot_views_are_finalised_at_the_last_whole_interval() -> None:
    """An age, and presence, of an item, a category or `all` are those at floor(t, interval); a user's those at t."""
    interval = 5 * MINUTE
    t = NOON + interval - 1
    for entity, elapsed in (
        ("item", 30),
        ("category", 30),
        ("all", 30),
        ("user_category", 30 + 299.999999),
        ("user", 30 + 299.999999),
    ):
        finals = one(entity, t, seen=NOON - 30 * SECOND, raw_age=NOON - 30 * SECOND, interval_us=interval)
        assert finals["v:purchase_age_s"].values[0] == np.float32(elapsed), entity
        edge = one(entity, t, seen=NOON - 40 * DAY + 1, interval_us=interval)
        assert bool(edge["v:purchase_count"].valid[0]) is (entity in ("item", "category", "all")), entity

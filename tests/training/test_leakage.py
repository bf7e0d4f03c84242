"""The future is found in training rows: where a table knows it, and where an input is the answer itself."""

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from behavior.column import Column
from behavior.errors import BadInput
from behavior.event import DAY_US
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from behavior.words import age, count, last, total
from training import leakage
from training.as_of import Questions, as_of
from training.leakage import refuse_leaks
from training.rows import Instants, Rows

T0 = 17_440 * DAY_US
FEATURES = (count("purchase", over="30d"), total("purchase.value", over="24h"), age("purchase"))
PLAN = Plan(
    [
        ViewDefinition("people", "user", ("purchase",), tuple(FeatureDefinition(each.name, each) for each in FEATURES)),
        ViewDefinition("pairs", "user_category", ("purchase",), (FeatureDefinition("n", FEATURES[0]),)),
        ViewDefinition("texts", "user", ("purchase",), (FeatureDefinition("last", last("purchase.category")),)),
    ]
)
INPUTS = [*PLAN.features, "moment:hour"]
CODES = {"texts:last": {"TEA": 0}}  # MILK is no text that the model knows


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """Thirty users, each with a purchase every few days."""
    draw = np.random.default_rng(4)
    n = 900
    columns = {
        "user_id": [f"k1-{user}" for user in draw.integers(0, 30, n)],
        "category": draw.choice(["TEA", "MILK"], n).tolist(), "e": (T0 + draw.integers(0, 60 * DAY_US, n)).tolist(),
        "value": draw.integers(1, 500, n).tolist(), "message_id": [f"m{number}" for number in range(n)],
    }  # fmt: skip
    with duckdb.connect() as made:
        made.register("raw", pa.table(columns))
        made.execute(
            "CREATE TEMP VIEW events AS SELECT *, e + 5 AS k, 'purchase' AS kind, 1 AS purposes, NULL AS item, "
            "NULL AS properties FROM raw"
        )
        yield made


@pytest.fixture
def rows() -> Rows:
    """Two hundred questions at instants of their own."""
    draw, n = np.random.default_rng(5), 200
    t = np.sort(T0 + draw.integers(20 * DAY_US, 60 * DAY_US, n))
    instants = Instants(draw.integers(0, 30, n).astype(np.int32), t, t, [f"k1-{user}" for user in range(30)])
    label = (draw.random(n) < 0.3).astype(np.uint8)
    category = draw.integers(0, 2, n).astype(np.int32)
    return Rows(instants, np.arange(n, dtype=np.int32), category, ["MILK", "TEA"], label, np.ones(n, np.float32))


def joined(con: duckdb.DuckDBPyConnection, rows: Rows, *, ahead_us: int = 0) -> np.ndarray:
    """The inputs as honest tables give them, or as tables that are so much ahead of the question."""
    users = [rows.instants.users[user] for user in rows.instants.user[rows.instant]]
    pairs = [(user, rows.categories[place]) for user, place in zip(users, rows.category, strict=True)]
    columns = {}
    alone = [(user,) for user in users]
    for view, entities in zip(PLAN.views, (alone, pairs, alone), strict=True):
        columns |= as_of(con, view, Questions(entities, rows.t + ahead_us, rows.t + ahead_us))
    hour = np.zeros(len(rows), dtype=np.float32)
    numbers = [_numbers(columns[ref], CODES.get(ref, {})) for ref in PLAN.features]
    return np.column_stack([*numbers, hour]).astype(np.float32)


def _numbers(column: Column, codes: dict[str, int]) -> np.ndarray:
    if column.values.dtype != object:
        return column.to_float32()
    known = zip(column.values, column.valid, strict=True)
    return np.array([codes.get(text, np.nan) if there else np.nan for text, there in known])


def test_what_was_known_passes(con: duckdb.DuckDBPyConnection, rows: Rows) -> None:
    """Rows that hold the past alone are let through, whatever they predict."""
    refuse_leaks(con, PLAN, INPUTS, rows, joined(con, rows), codes=CODES, seed=1)


def test_a_single_value_from_the_future_is_found(con: duckdb.DuckDBPyConnection, rows: Rows) -> None:
    """One bit of one row of one input is enough, and is told with both values."""
    x = joined(con, rows)
    place = INPUTS.index("pairs:n")
    x[17, place] += 1
    with pytest.raises(BadInput, match=rf"^pairs:n is {x[17, place]:g} .* and {x[17, place] - 1:g} .*\(1 of 200 rows"):
        refuse_leaks(con, PLAN, INPUTS, rows, x, codes=CODES, seed=1)


def test_a_table_that_knows_the_next_day_is_found(con: duckdb.DuckDBPyConnection, rows: Rows) -> None:
    """Planted: an input that is what it will be a day after the question."""
    for place, ref in enumerate(PLAN.features):
        x = joined(con, rows)
        x[:, place] = joined(con, rows, ahead_us=DAY_US)[:, place]
        with pytest.raises(BadInput, match=f"^{ref} is .* backfill them anew"):
            refuse_leaks(con, PLAN, INPUTS, rows, x, codes=CODES, seed=1)


def test_an_input_that_is_the_answer_is_refused(con: duckdb.DuckDBPyConnection, rows: Rows) -> None:
    """By what it says, and by where it says anything: neither is an honest input's."""
    answer = rows.label.astype(np.float32)
    some = np.arange(len(rows)) % 2 == 0
    above = np.where(answer == 0, 0, np.where(some, 1, np.nan))  # the missing go with the large values
    for planted, what in (
        (answer, "values"), (-answer, "values"), (np.where(answer, 3, np.nan), "absence"), (above, "values"),
    ):  # fmt: skip
        x = np.column_stack([joined(con, rows), planted]).astype(np.float32)
        with pytest.raises(BadInput, match=rf"^the (values|{what}) of item_catalogue:price alone tell the answer"):
            refuse_leaks(con, PLAN, [*INPUTS, "item_catalogue:price"], rows, x, codes=CODES, seed=1)


def test_the_sample_is_bounded(con: duckdb.DuckDBPyConnection, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many rows some are made again; which ones is the seed's choice."""
    monkeypatch.setattr(leakage, "SAMPLE_ROWS", 50)
    x = joined(con, rows)
    x[:, 0] += 1
    with pytest.raises(BadInput, match="50 of 50 rows"):
        refuse_leaks(con, PLAN, INPUTS, rows, x, codes=CODES, seed=1)

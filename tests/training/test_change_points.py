"""The statements of change-point tables: exact against the oracle for every kind of feature, and not DuckDB's alone."""

from collections.abc import Iterator, Sequence

import duckdb
import numpy as np
import pytest
import sqlglot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior.column import Column
from behavior.event import DAY_US, MINUTE_US, Admitted, Event, admit
from behavior.finals import finalise
from behavior.plan import View
from deployment.archive import to_table
from tests import oracle
from tests.feast_plugin.repository import bought
from tests.properties.strategies import ENTITIES, entity_keys, instants, logs, view_definition
from training.change_points import Statement, change_points
from training.chosen import Chosen

T = 17_440 * DAY_US
VIEWS = {entity: View(view_definition(entity)) for entity in ENTITIES}


def statements(view: View) -> Iterator[str]:
    """Every statement that a backfill can run for a view: whole, up to an instant, going on, and what is carried."""
    yield change_points(view, "events")
    yield change_points(view, "events", until=T)
    for chosen in (Chosen(view, "events"), Chosen(view, "events", until=T, since=T - DAY_US)):
        statement = Statement(chosen)
        yield from (*statement.steps.values(), *statement.relations.values(), statement.rows, statement.carry(T))


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_statement_transpiles_to_spark(entity: str) -> None:
    """Nothing in a statement is DuckDB's alone: sqlglot turns it into Spark SQL, and that parses again."""
    for statement in statements(VIEWS[entity]):
        (spark,) = sqlglot.transpile(
            statement, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE
        )
        assert sqlglot.parse_one(spark, read="spark").find(sqlglot.exp.Select) is not None
        assert not list(sqlglot.parse_one(spark, read="spark").find_all(sqlglot.exp.Anonymous)), spark


def table_of(view: View, log: Sequence[Admitted]) -> list[dict[str, object]]:
    """The rows of the view's statement over a log."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("events", to_table(log))
        found: list[dict[str, object]] = connection.execute(change_points(view, "events")).to_arrow_table().to_pylist()
    return found


def answer(view: View, table: Sequence[dict[str, object]], key: tuple[str, ...], t: int) -> dict[str, object]:
    """The final values at t: of the last row of the entity with ts <= t."""
    at = t - t % view.interval_us
    held = [
        row
        for row in table
        if tuple(row[name] for name in view.join_keys) == key and row["ts"] <= at  # type: ignore[operator]
    ]
    row = max(held, key=lambda row: row["ts"]) if held else {}  # type: ignore[arg-type,return-value]
    raw = {each.name: Column.of([row.get(each.name)], each.dtype) for each in view.raws}
    finals = finalise(view, raw, Column.of([row.get("seen_e")], "int64"), np.array([t]))
    return {
        feature.name: finals[feature.ref].values[0] if finals[feature.ref].valid[0] else None
        for feature in view.features
    }


@pytest.mark.parametrize("entity", ENTITIES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_the_rows_answer_as_the_whole_log_does(entity: str, data: st.DataObject) -> None:
    """Whatever the log, at every instant and for every kind of feature, the last row says what the oracle says."""
    view = VIEWS[entity]
    log = data.draw(logs(max_size=12))
    table = table_of(view, log)
    points = [(*(row[name] for name in view.join_keys), row["ts"]) for row in table]
    assert len(set(points)) == len(points)
    for key in entity_keys(view.definition):
        for t in data.draw(instants(view.definition, log, at_most=12)):
            assert answer(view, table, key, t) == oracle.final_values(view.definition, log, key, t), (key, t)


@pytest.mark.parametrize("late_us", [-2, -1, 0, 1])
@pytest.mark.parametrize("entity", ["user", "category"])
def test_a_text_that_comes_as_it_leaves_stays_one(entity: str, late_us: int) -> None:
    """An event enters at the very instant at which the one before it leaves the window, or a microsecond beside."""
    view = VIEWS[entity]
    span = 7 * DAY_US  # of windows of distinct values; T is the start of an hour
    log = [bought(1, T), bought(2, T + span + late_us), bought(3, T + span + late_us, "k1-bob")]
    table = table_of(view, log)
    key = {"user": ("k1-ada",), "category": ("TEA",)}[entity]
    for t in {point + shift for point in oracle.change_points(view.definition, log) for shift in (-1, 0, 1)}:
        assert answer(view, table, key, t) == oracle.final_values(view.definition, log, key, t), t


@pytest.mark.parametrize("entity", ENTITIES)
def test_events_of_one_instant_are_ordered_by_their_ids(entity: str) -> None:
    """A basket's lines share k and e: the greatest id is the latest, the least the first, whatever their order."""
    view = VIEWS[entity]
    ids = ("mB", "ma", "é", "m1")
    log = [
        admit(
            Event(
                name, kind, "k1-ada", T, item="i-1", category="TEA", value=place, device=f"{place}", page=name,
                order_id=name, purposes=1,
            ), T,
        )
        for place, name in enumerate(ids) for kind in ("purchase", "refund")
    ]  # fmt: skip
    table = table_of(view, log)
    values = {"user": ("k1-ada",), "user_category": ("k1-ada", "TEA"), "item": ("i-1",), "category": ("TEA",)}
    key = values.get(entity, ("all",))
    for t in (T, T + 1, T + 5 * MINUTE_US, T + DAY_US):
        assert answer(view, table, key, t) == oracle.final_values(view.definition, log, key, t), t

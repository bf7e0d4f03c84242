"""Predicates: which events hold, as Python and, over the archive's columns, as SQL."""

import json

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.errors import BadDefinition
from behavior.event import Event
from behavior.matching import Match
from behavior.predicate import number_of, number_sql, parse_where, text_of, text_sql
from tests import oracle
from tests.properties.strategies import DEVICES, PROPERTIES, events

WHERES = (
    "value > 0", "value >= 199", "value != 199", "value < -1", "value <= -250", "value = 0", "quantity = 1",
    "device = 'phone'", "device != 'phone'", "device = 'tv and phone'", "item = 'i-1'", "page = ''", "page != '/'",
    "utc_offset_s = -18000", "properties.stars >= 4", "properties.stars != 5", "properties.stars = '5'",
    "properties.stars != '6'", "properties.colour = 'red'", "properties.colour != 'red'", "properties.colour = ''",
    "properties.colour = 'null'", "properties.colour = 7", "properties.nothing != 1", "properties.nothing != 'x'",
    "value > 0 and device = 'tv and phone' and properties.stars < 5",
)  # fmt: skip
COLUMNS = ("kind", "item", "category", "value", "quantity", "device", "page", "utc_offset_s", "properties")


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    made.execute(
        "CREATE TABLE said (kind VARCHAR, item VARCHAR, category VARCHAR, value BIGINT, quantity BIGINT, "
        "device VARCHAR, page VARCHAR, utc_offset_s INTEGER, properties VARCHAR)"
    )
    return made


def put(connection: duckdb.DuckDBPyConnection, event: Event) -> None:
    row = [getattr(event, name) for name in COLUMNS[:-1]]
    connection.execute("DELETE FROM said")
    marks = ", ".join("?" * len(COLUMNS))
    connection.execute(f"INSERT INTO said VALUES ({marks})", [*row, json.dumps(event.properties, sort_keys=True)])


@settings(max_examples=60, deadline=None)
@given(event=events(1, 5), kind=st.sampled_from(("*", "purchase", "item_view")))
def test_python_and_sql_and_the_oracle_agree(connection: duckdb.DuckDBPyConnection, event: Event, kind: str) -> None:
    """A predicate on what an event does not say, or says in another type, is false: for all three, and never NULL."""
    put(connection, event)
    for where in WHERES:
        match = Match(kind, parse_where(where))
        expected = kind in ("*", event.kind) and all(
            oracle.holds(oracle.says(event, field), sign, literal) for field, sign, literal in oracle.predicates(where)
        )
        assert match.holds(event) is expected, where
        assert connection.execute(f"SELECT {match.sql} FROM said").fetchone() == (expected,), where


@settings(max_examples=60, deadline=None)
@given(event=events(1, 5))
def test_numbers_and_texts_are_the_same_in_sql(connection: duckdb.DuckDBPyConnection, event: Event) -> None:
    """A text is no number even if it looks like one, and the other way round; what is not said is NULL."""
    put(connection, event)
    for field in ("properties.stars", "properties.colour", "properties.nothing", "value", "quantity"):
        found = connection.execute(f"SELECT {number_sql(field)} FROM said").fetchone()
        assert found == (number_of(event, field),), field
    for field in ("properties.stars", "properties.colour", "properties.nothing", "device", "page", "item"):
        found = connection.execute(f"SELECT {text_sql(field)} FROM said").fetchone()
        assert found == (text_of(event, field),), field


def test_the_predicates_are_nasty_enough() -> None:
    """Each of them holds for some lawful event and not for another; but for those on what nothing says."""
    said = [
        Event("m", "purchase", "k1-a", 5, device=device, properties=properties, value=value, quantity=quantity,
              page=page, item="i-1" if value else None, utc_offset_s=-18_000 if quantity else 0)
        for device in (None, *DEVICES) for properties in PROPERTIES for value in (None, 0, 199, -250)
        for quantity in (None, 1) for page in (None, "", "/")
    ]  # fmt: skip
    for where in WHERES:
        found = {Match("*", parse_where(where)).holds(event) for event in said}
        assert found == ({False} if "nothing" in where else {False, True}), where


REFUSED = {
    "value": "write `field op literal`",
    "": "write `field op literal`",
    "value > ": "write `field op literal`",
    "value > 1 and": "joined with `and`",
    "value > 1 and ": "write `field op literal`",
    "value > 1 or value < 3": "joined with `and`",
    "value > 1, value < 3": "joined with `and`",
    "value > 1.5": "joined with `and`",
    "value == 1": "write `field op literal`",
    "value <> 1": "write `field op literal`",
    "(value > 1)": "write `field op literal`",
    "value > 1234567890123456789": "joined with `and`",
    "Value > 1": "write `field op literal`",
    "size > 1": "no field 'size'",
    "user = 'k1-a'": "no field 'user'",
    "kind = 'purchase'": "no field 'kind'",
    "value.cents > 1": "no field 'value.cents'",
    "value = '1'": "value is a number",
    "device = 1": "device is a text",
    "device < 'phone'": "= and != only",
    "properties.a >= 'x'": "= and != only",
    "properties. = 1": "write `field op literal`",
    "properties.a.b = 1": "write `field op literal`",
    "device = 'it\\'s'": "joined with `and`|no quotes",
    'device = \'a"b\'': "no quotes and no backslashes",
    "device = 'a\\b'": "no quotes and no backslashes",
    "device = 'käse'": "no quotes and no backslashes",
    "device = \"phone\"": "write `field op literal`",
}  # fmt: skip


@pytest.mark.parametrize("where", REFUSED)
def test_what_is_no_predicate_is_refused(where: str) -> None:
    """With the whole text, and with what would do."""
    with pytest.raises(BadDefinition, match=REFUSED[where]) as refused:
        parse_where(where)
    assert repr(where) in str(refused.value) or "no field" in str(refused.value)


def test_spaces_do_not_matter() -> None:
    """Between the parts there may be any, or none."""
    one, two = (
        parse_where("  value>=1  and device='tv and phone' "),
        parse_where("value >= 1 and device = 'tv and phone'"),
    )
    assert one == two
    assert [each.literal for each in one] == [1, "tv and phone"]

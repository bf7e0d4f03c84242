"""Admission: one rule, one reason, the same in Python and in SQL."""

from collections.abc import Iterator
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.admission import OTHER_REASONS, RULES, Rule, refusal
from behavior.event import DAY_US, Event

GOOD = Event("m1", "purchase", "k1-a", 1_500_000_000_000_000)
YEAR_2100 = 4_102_444_800_000_000

COLUMNS: dict[str, Any] = {
    "message_id": pa.string(), "kind": pa.string(), "user_id": pa.string(), "client_time": pa.int64(),
    "item": pa.string(), "category": pa.string(), "value": pa.int64(), "currency": pa.string(), "quantity": pa.int64(),
    "order_id": pa.string(), "session_id": pa.string(), "request_id": pa.string(), "placement": pa.string(),
    "utc_offset_s": pa.int64(), "device": pa.string(), "page": pa.string(), "source": pa.string(),
}  # fmt: skip

# Of one, two, three and four bytes, to the limit of 256 or 1024 bytes and past it; and what texts may not hold.
lengths = st.builds(
    lambda letter, size, odd: letter * (size // len(letter.encode())) + odd,
    st.sampled_from(("a", "é", "€", "😀")), st.sampled_from((252, 255, 256, 257, 1020, 1023, 1024, 1025)),
    st.sampled_from(("", "b", "\x7f", "\n")),
)  # fmt: skip
control = st.builds(
    lambda before, odd, after: before + odd + after,
    st.sampled_from(("", "a", "é")), st.characters(max_codepoint=0xA0), st.sampled_from(("", "b")),
)  # fmt: skip
texts = (
    st.text(max_size=6)
    | lengths
    | control
    | st.sampled_from(("", " ", "\x00", "\u2028", "\ufeff", "a\x00b", "'", "%", "\\"))
)
kinds = st.sampled_from(
    ("purchase", "a", "a" * 64, "a" * 65, "A", "_a", "1a", "a1_", "é", "a-b", "a\n", "\na", "a\x00", " a", "")
) | texts  # fmt: skip
currencies = st.none() | st.sampled_from(("EUR", "eur", "EU", "EURO", "EUR\n", "ÉUR", "EU1", "")) | texts


def near(*limits: int) -> st.SearchStrategy[int]:
    """Each limit, what is beside it, and anything in int64."""
    close = [limit + shift for limit in limits for shift in (-1, 0, 1)]
    return st.sampled_from(close) | st.integers(-(2**63), 2**63 - 1)


events = st.builds(
    Event, message_id=texts, kind=kinds, user_id=st.sampled_from(("", " ", "k1-a", "\x00")),
    client_time=near(0, YEAR_2100), item=st.none() | texts, category=st.none() | texts,
    value=st.none() | near(0, 10**11, -(10**11)), currency=currencies, quantity=st.none() | near(0, 10**9),
    order_id=st.none() | texts, session_id=st.none() | texts,
    request_id=st.none() | texts, placement=st.none() | texts, utc_offset_s=st.none() | near(0, 64_800, -64_800),
    device=st.none() | texts, page=st.none() | texts, source=st.none() | texts,
)  # fmt: skip


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


def in_sql(connection: duckdb.DuckDBPyConnection, many: list[Event]) -> list[tuple[bool | None, ...]]:
    """What the SQL of each rule says of each event, in order."""
    table = pa.table({name: pa.array([getattr(e, name) for e in many], kind) for name, kind in COLUMNS.items()})
    connection.register("rows", table)
    try:
        return connection.execute(f"SELECT {', '.join(rule.sql for rule in RULES)} FROM rows").fetchall()
    finally:
        connection.unregister("rows")


@settings(max_examples=60, deadline=None)
@given(many=st.lists(events, min_size=1, max_size=20))
def test_python_and_sql_say_the_same(connection: duckdb.DuckDBPyConnection, many: list[Event]) -> None:
    """For every event and every rule, the predicate and the SQL agree, and the SQL is never NULL."""
    for event, row in zip(many, in_sql(connection, many), strict=True):
        for rule, accepted in zip(RULES, row, strict=True):
            assert accepted is rule.accepts(event), (rule.reason, event)


def test_every_control_character_is_refused_by_both(connection: duckdb.DuckDBPyConnection) -> None:
    """U+0000 to U+001F and U+007F anywhere in an id are refused; every other character up to U+0100 is not."""
    rule = rule_of("bad_item")
    place = RULES.index(rule)
    for text in ("{}", "a{}", "{}a", "a{}a"):
        many = [msgspec.structs.replace(GOOD, item=text.format(chr(code))) for code in range(0x101)]
        for code, (event, row) in enumerate(zip(many, in_sql(connection, many), strict=True)):
            expected = not (code < 0x20 or code == 0x7F)
            assert (rule.accepts(event), row[place]) == (expected, expected), hex(code)


def test_rows_without_the_required_columns_are_refused_in_sql(connection: duckdb.DuckDBPyConnection) -> None:
    """A NULL message id, kind, user or time is false in SQL, not NULL; every other NULL is acceptable."""
    columns = {name: pa.array([None], kind) for name, kind in COLUMNS.items()}
    connection.register("nothing", pa.table(columns))
    (row,) = connection.execute(f"SELECT {', '.join(rule.sql for rule in RULES)} FROM nothing").fetchall()
    refused = {rule.reason for rule, accepted in zip(RULES, row, strict=True) if accepted is not True}
    assert refused == {"bad_message_id", "bad_kind", "no_user", "bad_time"}
    assert None not in row


def rule_of(reason: str) -> Rule:
    return next(rule for rule in RULES if rule.reason == reason)


BROKEN = [
    ("bad_message_id", {"message_id": ""}, {"message_id": "m"}),
    ("bad_kind", {"kind": "a" * 65}, {"kind": "a" * 64}),
    ("no_user", {"user_id": ""}, {"user_id": "k1-a"}),
    ("bad_time", {"client_time": -1}, {"client_time": 0}),
    ("bad_time", {"client_time": YEAR_2100}, {"client_time": YEAR_2100 - 1}),
    ("value_out_of_range", {"value": 10**11 + 1}, {"value": 10**11}),
    ("value_out_of_range", {"value": -(10**11) - 1}, {"value": -(10**11)}),
    ("value_out_of_range", {"value": 10**30}, {"value": 0}),
    ("quantity_out_of_range", {"quantity": -1}, {"quantity": 0}),
    ("quantity_out_of_range", {"quantity": 10**9 + 1}, {"quantity": 10**9}),
    ("bad_currency", {"currency": "usd"}, {"currency": "USD"}),
    ("bad_utc_offset", {"utc_offset_s": 64_801}, {"utc_offset_s": 64_800}),
    ("bad_utc_offset", {"utc_offset_s": -64_801}, {"utc_offset_s": -64_800}),
    ("bad_page", {"page": "é" * 513}, {"page": "é" * 512}),
    ("bad_page", {"page": "a\tb"}, {"page": ""}),
    *(
        (f"bad_{field}", {field: broken}, {field: whole})
        for field in ("item", "category", "order_id", "session_id", "request_id", "placement", "device", "source")
        for broken, whole in (("", "a"), ("é" * 128 + "a", "é" * 128), ("a\x00", "a\u0085"))
    ),
]


@pytest.mark.parametrize(("reason", "broken", "whole"), BROKEN)
def test_each_limit_is_where_it_is_stated(reason: str, broken: dict[str, Any], whole: dict[str, Any]) -> None:
    """What breaks one rule is refused for that reason alone; what is just within it is admitted."""
    event = msgspec.structs.replace(GOOD, **broken)
    found = refusal(event)
    assert found is not None
    assert found.reason == reason
    assert [rule.reason for rule in RULES if not rule.accepts(event)] == [reason]
    assert refusal(msgspec.structs.replace(GOOD, **whole)) is None


def test_every_rule_is_told_apart() -> None:
    """Each reason belongs to one rule, is tested above, and is none of those decided elsewhere."""
    reasons = [rule.reason for rule in RULES]
    assert len(set(reasons)) == len(reasons)
    assert set(reasons) == {reason for reason, _, _ in BROKEN}
    assert not set(reasons) & set(OTHER_REASONS)


def test_the_first_broken_rule_is_the_reason() -> None:
    """An event that breaks several rules is counted once, under the first, in the order of the list."""
    event = msgspec.structs.replace(GOOD, kind="", value=10**12, page="\n")
    found = refusal(event)
    assert found is not None
    assert found.reason == "bad_kind"


def test_the_latest_time_is_the_year_2100() -> None:
    """The limit on time is a whole day, 2100-01-01 in UTC."""
    assert YEAR_2100 % DAY_US == 0
    assert rule_of("bad_time").accepts(msgspec.structs.replace(GOOD, client_time=YEAR_2100 - 1))


def test_sums_at_the_limit_fit_int64() -> None:
    """92 million events of the greatest value still fit an int64 sum, as the limit promises."""
    assert 92_000_000 * 10**11 < 2**63
    assert not rule_of("value_out_of_range").accepts(msgspec.structs.replace(GOOD, value=10**11 + 1))

"""Counting contexts: local time as the event's own clock showed it, nothing of the future, nobody without consent."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from behavior.event import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from behavior.manifest import Span
from tests.scoring.test_held_personas import two_personas
from training.context import COUNTED_US, by_local_time, context_tables, had_after
from training.rows import open_events
from training.targets import TARGETS

TARGET = TARGETS["purchase_7d"]
# 2017-11-05T06:00Z: clocks in New York go from 02:00 back to 01:00. 2018-03-11T07:00Z: from 02:00 on to 03:00.
AUTUMN, SPRING = 1_509_861_600_000_000, 1_520_751_600_000_000
ZONES = ("America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "Asia/Kathmandu")


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        yield made


def enter(con: duckdb.DuckDBPyConnection, events: list[tuple[object, ...]]) -> None:
    """Let (user, category, e, k, own offset or None, purposes, kind) be the archive."""
    names = ("user_id", "category", "e", "k", "utc_offset_s", "purposes", "kind")
    types = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.int32(), pa.int64(), pa.string())
    columns = [pa.array([event[place] for event in events], each) for place, each in enumerate(types)]
    con.register("raw", pa.table(dict(zip(names, columns, strict=True))))
    con.execute("CREATE OR REPLACE TEMP VIEW events AS SELECT *, 'o' AS order_id FROM raw")
    open_events(con, TARGET)


def made_up(around: int, n: int = 3000) -> list[tuple[object, ...]]:
    """Purchases within two days of an instant, with and without an offset of their own, some lines twice."""
    rng = np.random.default_rng(5)
    events = []
    for place in range(n):
        e = around + int(rng.integers(-2 * DAY_US, 2 * DAY_US)) // MINUTE_US * MINUTE_US
        own = None if rng.random() < 0.6 else int(rng.choice([-18_000, 0, 32_400, 20_700]))
        event = (f"u{place % 40}", str(rng.choice(["TEA", "RICE", "BREAD"])), e, e, own, 1, "purchase")
        events += [event] * (1 + int(rng.random() < 0.2))
    return events


def expected(
    events: list[tuple[object, ...]], zone: str
) -> tuple[Counter[tuple[object, int]], Counter[tuple[object, int]]]:
    """By the calendar of the standard library, one event at a time."""
    local = set()
    for user, category, e, _, own, *_ in events:
        assert isinstance(e, int)
        instant = datetime.fromtimestamp(e // SECOND_US, UTC)
        shown = instant.astimezone(ZoneInfo(zone)) if own is None else instant + timedelta(seconds=int(str(own)))
        local.add((user, category, e, shown.replace(tzinfo=None)))
    hours = Counter((category, shown.hour) for _, category, _, shown in local)
    days = Counter((category, shown.weekday()) for _, category, _, shown in local)
    return hours, days


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("around", [AUTUMN, SPRING])
def test_local_time_is_the_events_own_else_the_zones_then(
    con: duckdb.DuckDBPyConnection, around: int, zone: str
) -> None:
    """Around both changes of summer time, in zones with, without and with half an hour of it, each hour and weekday is
    what a clock on the wall showed.
    """
    events = made_up(around)
    enter(con, events)
    categories, hour, weekday = by_local_time(con, TARGET, around - 9 * DAY_US, around + 9 * DAY_US, zone)
    hours, days = expected(events, zone)
    assert categories == ["BREAD", "RICE", "TEA"]
    assert {(name, place): int(hour[row, place]) for row, name in enumerate(categories) for place in range(24)} == {
        (name, place): hours[name, place] for name in categories for place in range(24)
    }
    assert {(name, place): int(weekday[row, place]) for row, name in enumerate(categories) for place in range(7)} == {
        (name, place): days[name, place] for name in categories for place in range(7)
    }


def test_the_hour_that_comes_twice_is_counted_twice_and_the_one_that_never_comes_not_at_all(
    con: duckdb.DuckDBPyConnection,
) -> None:
    """One purchase every ten minutes of the local day of the change in New York: 12 at 01:xx in autumn, 0 at 02:xx in
    spring; in Tokyo 6 in every hour of both days.
    """
    for zone, around, hour, times in (
        ("America/New_York", AUTUMN, 1, 12), ("America/New_York", SPRING, 2, 0),
        ("Asia/Tokyo", AUTUMN, 1, 6), ("Asia/Tokyo", SPRING, 2, 6),
    ):  # fmt: skip
        first = around + (4 * HOUR_US if zone == "Asia/Tokyo" else -12 * HOUR_US)
        instants = range(first // HOUR_US * HOUR_US, first + 24 * HOUR_US, 10 * MINUTE_US)
        enter(con, [("u", "TEA", t, t, None, 1, "purchase") for t in instants])
        _, found, _ = by_local_time(con, TARGET, 0, around * 2, zone)
        assert found[0, hour] == times
        assert int(found.sum()) == 144


def test_what_was_not_known_or_not_allowed_is_not_counted(con: duckdb.DuckDBPyConnection) -> None:
    """Neither what was admitted at the end or later, nor what lies before the span, is of another kind, has no category
    or no consent.
    """
    t = AUTUMN
    enter(
        con,
        [
            ("u", "TEA", t - 1, t - 1, None, 1, "purchase"),
            ("u", "LATE", t - 1, t, None, 1, "purchase"),
            ("u", "OLD", t - COUNTED_US - 1, t - COUNTED_US - 1, None, 1, "purchase"),
            ("u", "SEEN", t - 1, t - 1, None, 1, "item_view"),
            ("u", None, t - 1, t - 1, None, 1, "purchase"),
            ("u", "SECRET", t - 1, t - 1, None, 2, "purchase"),
        ],
    )
    categories, hour, weekday = by_local_time(con, TARGET, t - COUNTED_US, t, "America/New_York")
    assert (categories, int(hour.sum()), int(weekday.sum())) == (["TEA"], 1, 1)


def test_personas_have_what_comes_in_the_horizon_after(con: duckdb.DuckDBPyConnection) -> None:
    """Each category once per instant, from the instant on and not at the horizon's end; nobody without a persona."""
    t, horizon = AUTUMN, 7 * DAY_US
    enter(
        con,
        [
            ("a", "TEA", t - 1, t - 1, None, 1, "purchase"),  # before
            ("a", "TEA", t, t, None, 1, "purchase"),
            ("a", "TEA", t + DAY_US, t + DAY_US, None, 1, "purchase"),  # once more
            ("a", "RICE", t + horizon - 1, t + horizon - 1, None, 1, "purchase"),
            ("a", "BREAD", t + horizon, t + horizon, None, 1, "purchase"),  # after
            ("b", "RICE", t + 5, t + 3 * horizon, None, 1, "purchase"),  # was not known yet
            ("c", "TEA", t + 5, t + 5, None, 1, "purchase"),  # nothing is known of c
        ],
    )
    users = np.array(["a", "a", "b", "c"], dtype=object)
    names = np.array(["Loyal", "New", "New", "Unknown"], dtype=object)
    instants = np.array([t, t + horizon, t, t])
    found = had_after(con, instants, users, names, ["BREAD", "RICE", "TEA"], ("Loyal", "New"), horizon, t + 2 * horizon)
    assert found.tolist() == [[0, 1], [1, 0], [1, 0]]


def test_personas_of_the_future_are_left_out(con: duckdb.DuckDBPyConnection) -> None:
    """Tables until an instant know no personas that were made from what came after it; the rest is there."""
    t = AUTUMN
    enter(con, [("u", "TEA", t - 1 - day * DAY_US, t - 1 - day * DAY_US, None, 1, "purchase") for day in range(90)])
    later = two_personas("Champions")
    assert later.made_from.end_us < t
    later = type(later)(
        **{name: getattr(later, name) for name in later.__struct_fields__} | {"made_from": Span(0, t + 1)}
    )
    found = context_tables(con, None, None, TARGET, until=t, zone="Asia/Tokyo", personas=later)  # type: ignore[arg-type]
    assert (found.personas_id, found.personas, found.categories) == ("", (), ("TEA",))
    assert found.counted == Span(t - COUNTED_US, t)

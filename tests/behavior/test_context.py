"""Context tables: smoothed log lifts, looked up without a surprise, refused where they are no use."""

import math
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.context import (
    BOUND,
    DAYPARTS,
    PRIOR,
    ContextTables,
    Counts,
    Daypart,
    decode,
    encode,
    lifts,
    part_of_hour,
    tables_of,
)
from behavior.errors import BundleRefused
from behavior.event import DAY_US, HOUR_US
from behavior.manifest import Span
from behavior.moment import Moment

# 2017-10-15, a Sunday, at 00:00 UTC.
SUNDAY = 1_508_025_600_000_000


def counts(seed: int = 0, personas: tuple[str, ...] = ("Loyal", "New")) -> Counts:
    """Made-up counts of three categories."""
    rng = np.random.default_rng(seed)
    hour, weekday = rng.integers(0, 400, (3, 24)), rng.integers(0, 400, (3, 7))
    return Counts(("BREAD", "RICE", "TEA"), hour, weekday, personas, rng.integers(0, 400, (3, len(personas))))


def tables(seed: int = 0, personas: tuple[str, ...] = ("Loyal", "New")) -> ContextTables:
    return tables_of(counts(seed, personas), Span(1, 2), "personas-20171015-0123abcd" if personas else "")


def naive(table: list[list[int]], row: int, column: int) -> float:
    """The lift by its formula, one number at a time."""
    of_row, of_column = sum(table[row]), sum(each[column] for each in table)
    expected = of_row * of_column / max(sum(map(sum, table)), 1)
    return max(-BOUND, min(BOUND, math.log((table[row][column] + PRIOR) / (expected + PRIOR))))


@given(st.integers(1, 5), st.integers(1, 7), st.data())
def test_lifts_are_the_formula(k: int, w: int, data: st.DataObject) -> None:
    """Whatever was counted: finite, bounded, and what the formula says of each cell alone."""
    number = st.one_of(st.integers(0, 3), st.integers(0, 10**9))
    table = data.draw(st.lists(st.lists(number, min_size=w, max_size=w), min_size=k, max_size=k))
    found = lifts(np.array(table, dtype=np.int64))
    assert (found.shape, found.dtype) == ((k, w), np.float64)
    for row in range(k):
        for column in range(w):
            assert found[row, column] == pytest.approx(naive(table, row, column), abs=1e-9)


def test_much_evidence_is_believed_and_little_is_not() -> None:
    """The same share of what was expected says more the more often it was seen, up to the bound."""
    shape = np.array([[3, 1], [1, 3]])
    values = [float(lifts(times * shape)[0, 0]) for times in (0, 1, 10, 1000)]
    assert values[0] == 0.0
    assert values == sorted(values)
    assert values[1] < 0.05
    assert values[3] == pytest.approx(math.log(1.5), abs=0.01)
    assert np.abs(lifts(np.diag([10**6] * 9))).max() == BOUND


def test_hours_are_counted_into_their_parts_of_the_day() -> None:
    """What was counted by hour is summed over each part's own hours before it becomes a lift."""
    made = counts()
    bounds = pairwise([*(each.first_hour for each in DAYPARTS), 24])
    parts = [slice(first, end) for first, end in bounds]
    summed = [[int(row[part].sum()) for part in parts] for row in made.hour]
    found = tables_of(made, Span(1, 2))
    for row in range(3):
        for column in range(len(DAYPARTS)):
            assert found.daypart[row][column] == pytest.approx(naive(summed, row, column), abs=1e-6)


def test_each_row_finds_its_own_number() -> None:
    """By category, and by the moment's local hour and weekday or the persona, row by row or one for all rows."""
    made = tables()
    categories = ["TEA", "BREAD", "TEA", "RICE"]
    moment = Moment(SUNDAY + np.array([0, 30, 77, 131]) * HOUR_US, np.array([0, -7, 9, 2]) * 3600)
    names = ["New", "Loyal", "Loyal", "New"]
    places = [made.categories.index(each) for each in categories]
    parts = part_of_hour()
    hours = [0, 23, 14, 13]  # local: 30 - 7 = 23, 77 + 9 = 86 = 3 d 14 h, 131 + 2 = 133 = 5 d 13 h
    days = [6, 6, 2, 4]
    assert made.daypart_fit(categories, moment).tolist() == [
        made.daypart[row][parts[hour]] for row, hour in zip(places, hours, strict=True)
    ]
    assert made.weekday_fit(categories, moment).tolist() == [
        made.weekday[row][day] for row, day in zip(places, days, strict=True)
    ]
    assert made.persona_prior(categories, names).tolist() == [
        made.persona[row][made.personas.index(name)] for row, name in zip(places, names, strict=True)
    ]
    one = Moment(moment.t[1:2], moment.utc_offset_s[1:2])
    assert made.daypart_fit(categories, one).tolist() == [made.daypart[row][3] for row in places]
    assert made.weekday_fit(categories, one).tolist() == [made.weekday[row][6] for row in places]
    assert made.persona_prior(categories, ["New"]).tolist() == [made.persona[row][1] for row in places]


def test_what_is_not_known_weighs_nothing() -> None:
    """A category, or a persona, that the tables do not have gets 0, also from tables without any."""
    made, bare = tables(), tables(personas=())
    moment = Moment(np.array([SUNDAY]), np.array([0]))
    for values in (
        made.daypart_fit(["nobody's"], moment), made.weekday_fit(["nobody's"], moment),
        made.persona_prior(["nobody's"], ["Loyal"]), made.persona_prior(["TEA", "RICE"], ["Unknown"]),
        bare.persona_prior(["TEA", "RICE"], ["Loyal"]), made.persona_prior(["TEA"], [""]),
    ):  # fmt: skip
        assert values.dtype == np.float64
        assert not values.any()
    assert made.daypart_fit([], moment).shape == (0,)
    empty = tables_of(Counts((), np.zeros((0, 24)), np.zeros((0, 7)), (), np.zeros((0, 0))), Span(1, 2))
    assert decode(encode(empty), "b").daypart_fit(["TEA"], moment).tolist() == [0.0]


def test_tables_read_back_equal() -> None:
    """Encoding and decoding change no bit of any number."""
    made = tables()
    assert decode(encode(made), "bundle b") == made
    assert encode(tables()) == encode(made) != encode(tables(seed=1))


def changed(**changes: Any) -> bytes:
    return encode(msgspec.structs.replace(tables(), **changes))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (encode(tables()).replace(b'"weekday"', b'"weekdays"', 1), "cannot be read"),
        (changed(format=2), "format 2"),
        (changed(dayparts=DAYPARTS[1:]), "cover a day"),
        (changed(dayparts=(Daypart("a", 0), Daypart("b", 12), Daypart("c", 6), Daypart("d", 18))), "cover a day"),
        (changed(dayparts=(*DAYPARTS[:3], Daypart("late", 24))), "cover a day"),
        (changed(categories=("TEA", "RICE", "TEA")), "categories that are there twice"),
        (changed(personas=("New", "New")), "personas that are there twice"),
        (changed(categories=("TEA", "RICE")), "daypart that is not 2 x 4"),
        (changed(weekday=((0.0,) * 6,) * 3), "weekday that is not 3 x 7"),
        (changed(personas=("New",)), "persona that is not 3 x 1"),
        (changed(weekday=((0.0,) * 6 + (2.5,),) * 3), "not within"),
        (encode(tables()).replace(b"[[", b"[[1e999,", 1), "not"),
    ],
)  # fmt: skip
def test_tables_that_are_no_use_are_refused(data: bytes, says: str) -> None:
    """At load, with the bundle and what is wrong: shapes, names, parts of the day, numbers out of bounds."""
    with pytest.raises(BundleRefused, match=says) as refused:
        decode(data, "bundle b")
    assert "bundle b: context.json" in str(refused.value)


def test_a_day_has_a_part_for_each_hour() -> None:
    """The declared parts cover the day in order: 11:00 is morning, 23:30 evening."""
    parts = [DAYPARTS[place].name for place in part_of_hour()]
    assert (parts[0], parts[11], parts[23]) == ("night", "morning", "evening")
    assert sorted(set(parts), key=parts.index) == [each.name for each in DAYPARTS]
    assert SUNDAY % DAY_US == 0

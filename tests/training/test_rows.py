"""Which questions a model is asked, and their answers: nothing of the future, nothing of the order itself."""

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from behavior.errors import BadInput
from behavior.event import DAY_US, HOUR_US
from training.rows import (
    activity_instants,
    ask,
    ask_exposures,
    cutoff_instants,
    latest,
    local_midnights,
    open_events,
    refuse_absent_kinds,
    refuse_open_labels,
    sundays,
)
from training.targets import TARGETS

TARGET = TARGETS["purchase_7d"]
SUNDAY = 1_509_249_600_000_000  # 2017-10-29T00:00 in New York
ZONE = "America/New_York"


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """Two users: a buys BREAD every week, b bought TEA long ago and MILK just before the cut-off."""
    weeks = [SUNDAY + week * 7 * DAY_US + HOUR_US for week in (-4, -3, -2, -1, 0, 1)]
    rows = [("a", "BREAD", t, t) for t in weeks]
    rows += [("b", "TEA", SUNDAY - 80 * DAY_US, SUNDAY - 80 * DAY_US), ("b", "MILK", SUNDAY - 1, SUNDAY - 1)]
    rows += [("c", "BEER", SUNDAY - DAY_US, SUNDAY + DAY_US)]  # happened before the cut-off, admitted after it
    columns = zip(*rows, strict=True)
    table = pa.table(dict(zip(("user_id", "category", "e", "k"), (pa.array(each) for each in columns), strict=True)))
    with duckdb.connect() as made:
        made.register("raw", table)
        made.execute("CREATE TEMP VIEW events AS SELECT *, 'purchase' AS kind, 'o' AS order_id, 1 AS purposes FROM raw")
        open_events(made, TARGET)
        yield made


def test_a_cut_off_knows_what_was_admitted_before_it(con: duckdb.DuckDBPyConnection) -> None:
    """Users and candidates come from events admitted before the cut-off; labels lie in the horizon after it."""
    rows = ask(con, TARGET, cutoff_instants(con, TARGET, [SUNDAY]))
    assert rows.instants.users == ["a", "b"]  # c was not known yet
    assert rows.categories == ["BREAD", "MILK"]  # TEA is too old, BEER not known yet
    answers = {
        (rows.instants.users[rows.instants.user[i]], rows.categories[c]): int(label)
        for i, c, label in zip(rows.instant, rows.category, rows.label, strict=True)
    }
    assert answers == {("a", "BREAD"): 1, ("a", "MILK"): 0, ("b", "BREAD"): 0, ("b", "MILK"): 0}


def test_an_activity_instant_does_not_contain_its_own_order(con: duckdb.DuckDBPyConnection) -> None:
    """Just after the last order there is nothing to come: its own order is no answer; a week before, the next is."""
    instants = activity_instants(con, TARGET, [SUNDAY - 14 * DAY_US, SUNDAY], SUNDAY + 30 * DAY_US)
    rows = ask(con, TARGET, instants)
    users = np.array(rows.instants.users)[rows.instants.user[rows.instant]]
    asked = np.array(rows.categories)[rows.category]
    bread = {int(rows.t[at]): int(rows.label[at]) for at in np.flatnonzero((users == "a") & (asked == "BREAD"))}
    last = SUNDAY + 7 * DAY_US + HOUR_US + 1
    assert bread[last] == 0
    # Exactly one horizon later minus 1 µs: t <= e < t + 7 d.
    assert bread[SUNDAY + HOUR_US + 1] == 1
    assert set(instants.cutoff.tolist()) == {SUNDAY - 14 * DAY_US, SUNDAY}


def test_sundays_are_local_midnights_across_a_change_of_clocks() -> None:
    """Cut-offs stay at 00:00 local time when daylight saving ends between them."""
    found = sundays(SUNDAY, SUNDAY + 15 * DAY_US, ZONE)
    assert found == local_midnights("2017-10-29", "2017-11-12", ZONE)
    assert np.diff(found).tolist() == [7 * DAY_US, 7 * DAY_US + HOUR_US]
    assert sundays(SUNDAY + 1, SUNDAY + DAY_US, ZONE) == []
    assert sundays(SUNDAY - 3 * DAY_US - HOUR_US, SUNDAY, ZONE) == [SUNDAY]


def test_a_date_that_is_none_is_refused() -> None:
    """One sentence that says how a date is written."""
    with pytest.raises(BadInput, match="written like"):
        local_midnights("15.10.2017", "2017-10-22", ZONE)
    with pytest.raises(BadInput, match="swap"):
        local_midnights("2017-10-22", "2017-10-15", ZONE)


def test_labels_need_the_whole_horizon_of_the_last_cut_off(con: duckdb.DuckDBPyConnection) -> None:
    """A horizon that ends just after the last event is known; one microsecond more is refused in one sentence."""
    known = latest(con) + 1 - TARGET.horizon_us
    refuse_open_labels(con, TARGET, [known - 7 * DAY_US, known])
    with pytest.raises(
        BadInput, match=r"^the archive ends 2\.0 days before the 7 days after the last cut-off are over"
    ):
        refuse_open_labels(con, TARGET, [known, known + 2 * DAY_US])
    with pytest.raises(BadInput):
        refuse_open_labels(con, TARGET, [known + 1])


def test_a_user_is_asked_once_and_any_category_answers(con: duckdb.DuckDBPyConnection) -> None:
    """A question about a user alone has one row, whatever the category of what came; churn is its contrary."""
    buys, leaves = TARGETS["purchase_14d"], TARGETS["churn_30d"]
    instants = cutoff_instants(con, buys, [SUNDAY - 28 * DAY_US, SUNDAY])
    rows = ask(con, buys, instants)
    names = [(rows.instants.users[user], t) for user, t in zip(instants.user, instants.t.tolist(), strict=True)]
    assert names == [("b", SUNDAY - 28 * DAY_US), ("a", SUNDAY), ("b", SUNDAY)]
    assert rows.categories == [""]
    assert rows.label.tolist() == [0, 1, 0]  # b's next purchase comes 28 days later less a microsecond
    assert ask(con, leaves, instants).label.tolist() == [0, 0, 1]


def test_a_kind_of_event_that_is_not_there_is_named(con: duckdb.DuckDBPyConnection) -> None:
    """What the target needs and the archive lacks ends in one sentence that names it."""
    refuse_absent_kinds(con, TARGET)
    con.execute(
        "CREATE OR REPLACE TEMP VIEW events AS "
        "SELECT *, 'i' AS item, 'exposure' AS kind, 'o' AS order_id, 1 AS purposes FROM raw"
    )
    open_events(con, TARGETS["redeem"])
    with pytest.raises(BadInput, match=r"^the archive has no redemption event .* redeem cannot be learned"):
        refuse_absent_kinds(con, TARGETS["redeem"])


def test_an_exposure_is_answered_by_its_own_item_only() -> None:
    """Asked just after it was shown; redeemed within the horizon, by the same user, of the same campaign."""
    target = TARGETS["redeem"]
    shown, day = "exposure", DAY_US
    happened = [
        (shown, "a", "c1", "A", SUNDAY), (shown, "a", "c2", "B", SUNDAY), (shown, "b", "c1", "A", SUNDAY),
        (shown, "b", "c2", None, SUNDAY + day), (shown, "d", "c1", "A", SUNDAY + 40 * day),
        ("redemption", "a", "c1", None, SUNDAY + 2 * day), ("redemption", "a", "c1", None, SUNDAY + 3 * day),
        ("redemption", "b", "c1", None, SUNDAY + target.horizon_us + 1),  # one microsecond too late
        ("redemption", "b", "c2", None, SUNDAY + day),  # at the very instant: known before it is asked
    ]  # fmt: skip
    columns = dict(zip(("kind", "user_id", "item", "category", "e"), zip(*happened, strict=True), strict=True))
    with duckdb.connect() as con:
        con.register("raw", pa.table({name: pa.array(values) for name, values in columns.items()}))
        con.execute("CREATE TEMP VIEW events AS SELECT *, e AS k, NULL AS order_id, 1 AS purposes FROM raw")
        open_events(con, target)
        rows = ask_exposures(con, target, 0, SUNDAY + 10 * day)
    users = [rows.instants.users[user] for user in rows.instants.user]
    asked = list(zip(users, [rows.categories[each] for each in rows.category], rows.label.tolist(), strict=True))
    assert asked == [("a", "A", 1), ("a", "B", 0), ("b", "A", 0), ("b", "", 0)]
    assert rows.t.tolist() == [SUNDAY + 1] * 3 + [SUNDAY + day + 1]

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
    cutoff_instants,
    latest,
    local_midnights,
    open_events,
    refuse_open_labels,
    sample_negatives,
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


def test_negatives_stand_for_those_left_out(con: duckdb.DuckDBPyConnection) -> None:
    """All positives stay with weight 1; the sampled negatives' weights add up to about all of them."""
    rows = ask(con, TARGET, cutoff_instants(con, TARGET, [SUNDAY]))
    many = rows.take(np.tile(np.arange(len(rows)), 500))
    sampled = sample_negatives(many, 0.25, np.random.default_rng(3))
    assert sampled.label.sum() == many.label.sum()
    assert set(sampled.weight[sampled.label == 1]) == {1.0}
    negatives = (many.label == 0).sum()
    assert abs(sampled.weight[sampled.label == 0].sum() - negatives) < 0.1 * negatives


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

"""Baselines, and the rows that they are scores of, equal their definitions and know nothing of the future."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior.event import DAY_US, SECOND_US
from training.baselines import frequency, popularity
from training.rows import Rows, ask, cutoff_instants, open_events
from training.targets import TARGETS

T = 1_506_211_200_000_000
TARGET = replace(TARGETS["purchase_7d"], candidates=2)
COLUMNS = {
    "kind": pa.string(), "user_id": pa.string(), "category": pa.string(),
    "order_id": pa.string(), "e": pa.int64(), "k": pa.int64(), "purposes": pa.int64(),
}  # fmt: skip
Row = dict[str, Any]

# Instants around every edge of every span, and one microsecond to each side.
edges = st.sampled_from([0, -7, -30, -60, -90, 7, -31, -89, -1, 3, -200]).map(lambda days: T + days * DAY_US)
instants = st.builds(lambda edge, step: edge + step, edges, st.sampled_from([-1, 0, 1, -SECOND_US, 1 - SECOND_US]))
purchases = st.builds(
    lambda user, category, order, e, late, kind, purposes: {
        "kind": kind, "user_id": user, "category": category, "order_id": order, "e": e, "k": e + late,
        "purposes": purposes,
    },
    st.sampled_from(["u1", "u2", "u3"]), st.sampled_from(["a", "b", "c", None]),
    st.sampled_from(["o1", "o2", "o3", None]),
    instants, st.sampled_from([0, 0, 0, 1, DAY_US]), st.sampled_from(["purchase"] * 6 + ["item_view"]),
    st.sampled_from([1] * 6 + [3, 2, 0]),
)  # fmt: skip


CONNECTION = duckdb.connect(config={"threads": 1})


def connect(rows: list[Row]) -> duckdb.DuckDBPyConnection:
    """The module's one connection with these rows as its only events: opening one per example would cost most."""
    connection = CONNECTION
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in COLUMNS.items()})
    connection.register("events_table", table)
    connection.execute("CREATE OR REPLACE TEMP VIEW events AS SELECT * FROM events_table")
    open_events(connection, TARGET)
    return connection


def scored(rows: list[Row], *cutoffs: int) -> list[Row]:
    """Every row of the cut-offs with its label and both baselines, ordered by (cut-off, user, category)."""
    connection = connect(rows)
    asked: Rows = ask(connection, TARGET, cutoff_instants(connection, TARGET, cutoffs or (T,)))
    columns = {
        "t": asked.t,
        "user": np.array(asked.instants.users, dtype=object)[asked.instants.user[asked.instant]],
        "category": np.array(asked.categories, dtype=object)[asked.category],
        "label": asked.label,
        "popularity": popularity(connection, asked, TARGET),
        "frequency": frequency(connection, asked),
    }
    found = [
        dict(zip(columns, values, strict=True))
        for values in zip(*(each.tolist() for each in columns.values()), strict=True)
    ]
    return sorted(found, key=lambda row: (row["t"], row["user"], row["category"]))


def oracle(rows: list[Row], t: int) -> list[tuple[str, str, int, float, tuple[int, float]]]:
    """(user, category, label, buyers, (baskets, minus seconds)) by reading the definitions aloud."""
    bought = [row for row in rows if row["kind"] == "purchase" and row["purposes"] & 1]
    known = [row for row in bought if row["k"] < t]
    buyers: dict[str, set[str]] = defaultdict(set)
    for row in known:
        if row["category"] is not None and row["e"] >= t - 30 * DAY_US:
            buyers[row["category"]].add(row["user_id"])
    chosen = sorted(buyers, key=lambda category: (-len(buyers[category]), category))[:2]
    users = sorted({row["user_id"] for row in known if row["e"] >= t - 60 * DAY_US})
    answer = []
    for user in users:
        for category in sorted(chosen):
            own = [row for row in bought if (row["user_id"], row["category"]) == (user, category)]
            label = any(t <= row["e"] < t + 7 * DAY_US for row in own)
            past = [row for row in own if row["k"] < t]
            baskets = {row["order_id"] or row["e"] for row in past if row["e"] >= t - 90 * DAY_US}
            age = min(((t - row["e"]) // SECOND_US for row in past), default=None)
            score = (len(baskets), -float("inf") if age is None else -float(age))
            answer.append((user, category, int(label), float(len(buyers[category])), score))
    return answer


@settings(max_examples=80, deadline=None)
@given(st.lists(purchases, max_size=25))
def test_every_row_is_what_the_definitions_say(rows: list[Row]) -> None:
    """Users, candidates, labels and popularity equal a naive reading; frequency orders any two rows alike."""
    found, wanted = scored(rows), oracle(rows, T)
    assert [tuple(row[name] for name in ("user", "category", "label", "popularity")) for row in found] == [
        each[:4] for each in wanted
    ]
    ours, theirs = [row["frequency"] for row in found], [each[4] for each in wanted]
    for i in range(len(ours)):
        for j in range(i):
            assert (ours[i] > ours[j]) == (theirs[i] > theirs[j])
            assert (ours[i] == ours[j]) == (theirs[i] == theirs[j])


@settings(max_examples=30, deadline=None)
@given(st.lists(purchases, max_size=25))
def test_scores_know_nothing_of_the_future(rows: list[Row]) -> None:
    """Without all that is admitted from t on, users, candidates and scores stay; only labels may change."""
    past = [row for row in rows if row["k"] < T]
    assert [row | {"label": 0} for row in scored(rows)] == [row | {"label": 0} for row in scored(past)]


def purchase(user: str, category: str | None, e: int, order: str | None = None) -> Row:
    return {"kind": "purchase", "user_id": user, "category": category, "order_id": order, "e": e, "k": e, "purposes": 1}


def test_candidates_tie_by_name_and_lines_without_category_make_users_eligible() -> None:
    """Equal buyers are ordered by name; an article without a category is activity, but no candidate."""
    day = T - DAY_US
    bought = (("u1", "b"), ("u2", "a"), ("u3", None), ("u1", "c"))
    found = scored([purchase(user, category, day) for user, category in bought])
    assert [(row["user"], row["category"]) for row in found] == [(u, c) for u in ("u1", "u2", "u3") for c in ("a", "b")]


def test_one_more_basket_outweighs_any_recency_and_lines_of_one_order_are_one_basket() -> None:
    """Two old baskets beat one of a second ago; ten lines of one order are one."""
    old, new = T - 89 * DAY_US, T - SECOND_US
    lines = [purchase("u1", "b", new, "o3") for _ in range(10)]
    rows = [purchase("u1", "a", old, "o1"), purchase("u1", "a", old, "o2"), *lines]
    # Another user makes both candidates.
    rows += [purchase("u2", "a", new), purchase("u2", "b", new)]
    a, b = [row["frequency"] for row in scored(rows)][:2]
    assert a > b == (1 << 32) + (1 << 32) - 2


def test_each_cutoff_has_its_own_past() -> None:
    """What happened between two cut-offs counts at the second only."""
    rows = [purchase("u1", "a", T - DAY_US), purchase("u2", "b", T + DAY_US)]
    found = scored(rows, T, T + 7 * DAY_US)
    assert [(row["t"] - T, row["user"], row["category"], row["popularity"], row["label"]) for row in found] == [
        (0, "u1", "a", 1, 0),
        *((7 * DAY_US, user, category, 1, 0) for user in ("u1", "u2") for category in ("a", "b")),
    ]
    assert [row["frequency"] > 0 for row in found] == [True, True, False, False, True]

"""Rows from the journal are what was served and what came of it, and every entry is accounted for."""

from collections.abc import Iterator, Mapping, Sequence

import duckdb
import msgspec
import numpy as np
import pytest

from behavior.errors import BadInput
from behavior.event import DAY_US, PERSONALIZATION, Admitted, Event
from behavior.manifest import Input
from behavior.served import Served, Shown, decode, encode
from deployment.archive import to_table
from training.journal_rows import Coding, Journal, JournalRows, journal_rows
from training.targets import TARGETS

TARGET = TARGETS["purchase_7d"]
T = 17_440 * DAY_US
WEEK = TARGET.horizon_us
CODING = Coding((Input("v:n", "f1"), Input("candidate:category")), {"candidate:category": ["MILK", "TEA"]})
BUNDLES: Mapping[str, Coding] = {
    "mine": CODING,
    "twin": msgspec.json.decode(msgspec.json.encode(CODING), type=Coding),
    "changed": Coding((Input("v:n", "f2"), CODING.features[1]), CODING.vocabularies),
    "recoded": Coding(CODING.features, {"candidate:category": ["TEA", "MILK"]}),
}


def bought(user: str, category: str | None, e: int, k: int | None = None, purposes: int = PERSONALIZATION) -> Admitted:
    event = Event(f"{user}-{category}-{e}", "purchase", user, e, category=category, purposes=purposes)
    return Admitted(event, e, e if k is None else k)


EVENTS = (
    bought("ada", "TEA", T), bought("ada", "MILK", T + WEEK), bought("bob", "MILK", T - 1),
    bought("bob", "TEA", T + WEEK - 1, T + WEEK + DAY_US), bought("eve", "TEA", T + 1, purposes=0),
)  # fmt: skip


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """Purchases at the edges of the week after T: ada's TEA and bob's late TEA are in it, MILK just is not."""
    with duckdb.connect() as made:
        made.register("events", to_table(EVENTS))
        yield made


def shown(category: str, *values: float, kind: str = "category") -> Shown:
    return Shown(kind, category, 0.0, 0.0, 0.0, np.array(values, dtype="<f4").tobytes())


def served(
    user: str, request: str, *, as_of: int = T, bundle: str = "mine", said: Sequence[Shown] | None = None
) -> Served:
    """An entry as the log gives it back."""
    given = (shown("TEA", 0.1, 1), shown("MILK", float("nan"), 0)) if said is None else tuple(said)
    return decode(encode(Served(request, user, as_of, 0, 0, bundle, 0, given)))


def told(
    con: duckdb.DuckDBPyConnection, *entries: Served, until: int = T + WEEK, max_rows: int = 1000, seed: int = 1
) -> JournalRows:
    journal = Journal(iter(entries), CODING, BUNDLES.get)
    found = journal_rows(con, TARGET, journal, until=until, max_rows=max_rows, seed=seed)
    accounting = found.accounting
    assert accounting.read == len(entries) == accounting.used + sum(accounting.left_out.values())
    assert accounting.rows == len(found.rows) == len(found.x)
    assert accounting.used == len(found.rows.instants)
    return found


def test_rows_are_what_was_served_and_labels_what_came(con: duckdb.DuckDBPyConnection) -> None:
    """Bit for bit the bytes of the entry; yes from as_of on, up to but without as_of + 7 days, by event time."""
    odd = np.array([0x7FC00001, 0x80000000], dtype="<u4").view("<f4")  # a NaN with a payload, and minus zero
    first = served("bob", "r1", said=[Shown("category", "TEA", 0, 0, 0, odd.tobytes()), shown("MILK", -1e-45, 0)])
    found = told(con, first, served("ada", "r2"), served("eve", "r3"), served("ada", "r4", as_of=T - 1))
    rows = found.rows
    assert rows.t.tolist() == sorted(rows.t.tolist())
    users = [rows.instants.users[user] for user in rows.instants.user[rows.instant]]
    asked = [rows.categories[category] for category in rows.category]
    answers = list(zip(users, (rows.t - T).tolist(), asked, rows.label.tolist(), strict=True))
    assert answers == [
        ("ada", -1, "TEA", 1), ("ada", -1, "MILK", 0), ("ada", 0, "TEA", 1), ("ada", 0, "MILK", 0),
        ("bob", 0, "TEA", 1), ("bob", 0, "MILK", 0), ("eve", 0, "TEA", 0), ("eve", 0, "MILK", 0),
    ]  # fmt: skip
    assert found.x.dtype == np.float32
    assert found.x[4:6].tobytes() == b"".join(each.vector for each in first.shown)
    assert found.x[:2].tobytes() == found.x[2:4].tobytes() == b"".join(each.vector for each in served("", "").shown)


def test_every_entry_that_is_left_out_has_its_reason(con: duckdb.DuckDBPyConnection) -> None:
    """Another meaning of the same numbers is not used, and neither is a week that is not over by a microsecond."""
    found = told(
        con,
        served("ada", "r1"),
        served("bob", "r2", bundle="twin"),
        served("bob", "r3", bundle="pruned"),
        served("bob", "r4", bundle="changed"),
        served("bob", "r5", bundle="recoded"),
        served("bob", "r6", said=[shown("TEA", 1.0)]),
        served("bob", "r7", as_of=T + 1),
        served("bob", "r8", said=[shown("p1", 1.0, 2.0, kind="item")]),
        served("ada", "r1", as_of=T - 5),
        served("bob", "r1"),
    )  # fmt: skip
    assert found.accounting.used == 3
    assert found.accounting.left_out == dict.fromkeys(
        ("no category shown", "unknown bundle", "other features", "other vocabularies", "broken vector",
         "horizon not over", "repeated request"), 1,
    )  # fmt: skip
    assert found.rows.t.tolist() == [T] * 6  # of the repeated request, what was shown first


def test_of_a_long_journal_some_answers_are_drawn(con: duckdb.DuckDBPyConnection) -> None:
    """Never more rows than allowed, whole answers, the same in any order, others for another seed; repeats count."""
    entries = [served(f"u{number}", f"r{number}") for number in range(200)]
    some = told(con, *entries, max_rows=41)
    assert (some.accounting.used, some.accounting.left_out) == (20, {"beyond the limit": 180})
    assert told(con, *reversed(entries), max_rows=41).rows.instants.users == some.rows.instants.users
    assert told(con, *entries, max_rows=41, seed=2).rows.instants.users != some.rows.instants.users
    twice = told(con, *entries, *entries, max_rows=41).accounting
    assert twice.used == 20
    assert twice.left_out == {"repeated request": 20, "beyond the limit": 360}


def test_a_journal_of_nothing_usable_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    """One sentence that says what was read and why none of it is used; a target about users alone is none of its."""
    with pytest.raises(BadInput, match=r"of 2 served entries 0 are used \(1 unknown bundle, 1 horizon not over\)"):
        told(con, served("ada", "r1", as_of=T + 1), served("ada", "r2", bundle="pruned"))
    with pytest.raises(BadInput, match="purchase_14d asks about user"):
        journal_rows(
            con, TARGETS["purchase_14d"], Journal([], CODING, BUNDLES.get), until=T, max_rows=9, seed=1
        )  # fmt: skip

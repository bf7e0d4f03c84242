"""The oracle by hand: every sentence of the semantics with a log so small that its value can be counted on fingers."""

from collections.abc import Sequence

import numpy as np
import pytest

from behavior.aggregation import Aggregation
from behavior.event import Admitted, Event
from behavior.plan import FeatureDefinition, ViewDefinition
from behavior.words import affinity, age, count, distinct, ever, first, last, mean, rate, recent, total
from tests import oracle
from tests.oracle import DAY, HOUR, MINUTE

SECOND = 10**6
# A midnight, so that minutes, hours and days all begin here.
T0 = 17_440 * DAY
SELECTS = ("item_view", "purchase", "rating")


def did(kind: str, e: int, k: int | None = None, *, by: str = "ada", id: str = "m", **said: object) -> Admitted:
    """One event that consents to personalisation, e and k counted from T0; k is e unless it came late."""
    event = Event(id, kind, by, T0 + e, **{"purposes": 1, **said})  # type: ignore[arg-type]
    return Admitted(event, T0 + e, T0 + (e if k is None else k))


def view(entity: str, *specs: Aggregation, retention: int = 400 * DAY) -> ViewDefinition:
    features = tuple(FeatureDefinition(spec.name, spec) for spec in specs)
    return ViewDefinition("view", entity, SELECTS, features, retention_us=retention, interval_us=5 * MINUTE)


def worth(
    spec: Aggregation, log: Sequence[Admitted], t: int, entity: str = "user", key: tuple[str, ...] = ("ada",),
    retention: int = 400 * DAY,
) -> object:  # fmt: skip
    """What the one feature is worth to the entity at T0 + t."""
    (value,) = oracle.final_values(view(entity, spec, retention=retention), log, key, T0 + t).values()
    return value


def float32(number: float) -> float:
    return float(np.float32(number))


def test_an_event_counts_from_the_microsecond_after_the_log_took_it() -> None:
    """It enters at k + 1, however early it happened."""
    log = [did("purchase", 0), did("purchase", 1, k=HOUR)]
    assert [worth(count("purchase"), log, t) for t in (1, HOUR, HOUR + 1)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("window", "hop"),
    [(HOUR, MINUTE), (24 * HOUR, HOUR), (7 * DAY, HOUR), (30 * DAY, DAY), (24 * DAY, DAY), (24 * MINUTE, MINUTE),
     (119 * MINUTE, MINUTE), (120 * MINUTE, 5 * MINUTE), (23 * DAY, HOUR)],
)  # fmt: skip
def test_a_window_moves_by_the_largest_hop_of_which_it_holds_24(window: int, hop: int) -> None:
    """1h by minutes, 24h and 7d by hours, 30d by days."""
    assert oracle.hop_of(window) == hop


def test_an_event_leaves_a_window_with_its_hop() -> None:
    """It leaves at floor(e, hop) + W: what happened at 00:59 leaves 24h at the next midnight."""
    log = [did("purchase", 59 * MINUTE), did("item_view", 59 * MINUTE)]
    assert worth(count("purchase", over="24h"), log, 24 * HOUR - 1) == 1
    assert worth(count("purchase", over="24h"), log, 24 * HOUR) == 0
    assert worth(count("*", over="30d"), log, 30 * DAY - 1) == 2
    assert worth(count("*", over="30d"), log, 30 * DAY) == 0


def test_a_late_event_may_come_after_it_left() -> None:
    """It happened two hours before it came: one hour never counts it, a day does."""
    log = [did("purchase", 0, k=2 * HOUR)]
    assert worth(count("purchase", over="1h"), log, 2 * HOUR + 1) == 0
    assert worth(count("purchase", over="24h"), log, 2 * HOUR + 1) == 1


# --------------------------------------------------------------------------------------------------------------- kinds


def test_count_and_ever_count_matching_events() -> None:
    """A kind, or any kind with the star; ever is 1 at most."""
    log = [did("purchase", 0), did("item_view", 1), did("purchase", 2)]
    assert worth(count("purchase"), log, HOUR) == 2
    assert worth(count("*"), log, HOUR) == 3
    assert worth(count("rating"), log, HOUR) == 0
    assert worth(ever("purchase"), log, HOUR) == 1
    assert worth(ever("rating"), log, HOUR) == 0
    assert worth(ever("purchase"), log, 300 * DAY) == 1


def test_total_adds_what_is_said() -> None:
    """Events without the number add nothing, negative ones subtract, and the quantity never multiplies."""
    log = [did("purchase", 0, value=100, quantity=3), did("purchase", 1), did("purchase", 2, value=-30)]
    assert worth(total("purchase.value"), log, HOUR) == 70
    assert worth(total("purchase.value", over="1h"), log, HOUR) == 0
    assert worth(total("item_view.value"), log, HOUR) == 0


def test_total_of_a_property_leaves_texts_out() -> None:
    """A property that is a text in one event adds nothing there."""
    log = [did("rating", 0, properties={"stars": 4}), did("rating", 1, properties={"stars": "5"}), did("rating", 2)]
    assert worth(total("rating.properties.stars"), log, HOUR) == 4
    assert worth(mean("rating.properties.stars"), log, HOUR) == 4.0


def test_mean_divides_by_the_events_that_have_the_field() -> None:
    """1, 1 and 2 make 4/3 as float32, whoever says nothing; no one, no mean."""
    log = [did("purchase", n, value=value) for n, value in enumerate((1, 1, 2, None))]
    assert worth(mean("purchase.value"), log, MINUTE) == float32(4 / 3)
    assert worth(mean("purchase.value", over="1h"), log, HOUR - 1) == float32(4 / 3)
    assert worth(mean("purchase.value", over="1h"), log, HOUR) is None
    assert worth(mean("purchase.quantity"), log, MINUTE) is None


def test_rate_shrinks_towards_its_prior() -> None:
    """(n + a) / (d + b) over the window; with no event of either kind it is a / b, never missing."""
    log = [did("purchase", 0), did("item_view", 1), did("item_view", 2)]
    assert worth(rate("purchase", per="item_view", prior=(1, 50)), log, HOUR) == float32(2 / 52)
    assert worth(rate("purchase", per="item_view", over="24h", prior=(1, 50)), log, DAY) == float32(1 / 50)
    assert worth(rate("rating", per="item_view", prior=(0, 1)), log, HOUR) == 0.0


def test_the_predicates_of_a_rate_do_not_concern_what_it_is_per() -> None:
    """One purchase in three was of more than one piece."""
    log = [did("purchase", n, quantity=quantity) for n, quantity in enumerate((1, 2, 1))]
    assert worth(rate("purchase", per="purchase", prior=(0, 1), where="quantity > 1"), log, HOUR) == 0.25


def test_age_is_in_seconds_since_the_latest_or_the_first() -> None:
    """Of the event times, whatever the order of the log; as float32, which 2^24 + 1 seconds are not."""
    log = [did("purchase", 60 * SECOND), did("purchase", 30 * SECOND, k=90 * SECOND)]
    assert worth(age("purchase"), log, 100 * SECOND) == 40.0
    assert worth(age("purchase", since="first"), log, 100 * SECOND) == 70.0
    assert worth(age("purchase"), log, 100 * SECOND + 1) == float32(40.000001)
    assert worth(age("purchase"), log, (2**24 + 61) * SECOND) == 2.0**24
    assert worth(age("item_view"), log, 100 * SECOND) is None


def test_last_and_first_follow_the_event_time() -> None:
    """What came late happened early: it is the first and not the last. Events without the field do not speak."""
    log = [did("purchase", 5, category="b"), did("purchase", 1, k=9, category="a"), did("purchase", 10)]
    assert worth(last("purchase.category"), log, HOUR) == "b"
    assert worth(first("purchase.category"), log, HOUR) == "a"
    assert worth(last("purchase.item"), log, HOUR) is None


def test_last_and_first_break_ties_by_k_and_then_by_the_id() -> None:
    """At one event time the later admission is the last; in one basket the greatest id by code points is."""
    came = [did("purchase", 5, k=7, id="z", value=1), did("purchase", 5, k=8, id="a", value=2)]
    assert [worth(last("purchase.value"), came, 9), worth(first("purchase.value"), came, 9)] == [2, 1]
    basket = [did("purchase", 5, id=id, value=n) for n, id in enumerate(("b", "\U0001f600", "\uffee", "a"))]
    assert [worth(last("purchase.value"), basket, 9), worth(first("purchase.value"), basket, 9)] == [1, 3]


def test_distinct_counts_texts_once_and_no_further_than_its_cap() -> None:
    """Three categories in four purchases; the empty text is one; with a cap of two they are two."""
    log = [did("purchase", n, category=category) for n, category in enumerate(("a", "b", "", "a", None))]
    assert worth(distinct("purchase.category"), log, HOUR) == 3
    assert worth(distinct("purchase.category", cap=2), log, HOUR) == 2
    assert worth(distinct("purchase.category", cap=4), log, HOUR) == 3


def test_a_value_is_in_the_window_as_long_as_one_of_its_events_is() -> None:
    """The cap is put on what is left: a and b leave with their first hour, a came again."""
    log = [did("purchase", n * 10 * MINUTE, category=each) for n, each in enumerate(("a", "b", "c", "a"))]
    seen = distinct("purchase.category", over="1h", cap=2)
    assert [worth(seen, log, t * MINUTE) for t in (59, 69, 70, 80, 90)] == [2, 2, 2, 1, 0]


def test_distinct_of_a_property_counts_texts_only() -> None:
    """A number is no text."""
    log = [did("rating", n, properties={"why": why}) for n, why in enumerate(("ripe", 7, "ripe", "cheap"))]
    assert worth(distinct("rating.properties.why"), log, HOUR) == 2


def test_recent_lists_what_the_log_took_last() -> None:
    """By (k, id), newest first, whatever the event times: the kind, the event time and the item."""
    log = [
        did("purchase", 5, item="milk", id="a"), did("item_view", 5, item="tea", id="b"),
        did("rating", 1, k=9, id="c"), did("scroll", 11),
    ]  # fmt: skip
    late, view, purchase = f"rating|{T0 + 1}|", f"item_view|{T0 + 5}|tea", f"purchase|{T0 + 5}|milk"
    assert worth(recent(2), log, HOUR) == [late, view]
    assert worth(recent(50), log, HOUR) == [late, view, purchase]
    assert worth(recent(2, events=("purchase", "item_view")), log, HOUR) == [view, purchase]
    assert worth(recent(2), log, 9) == [view, purchase]


def test_recent_is_empty_when_nothing_of_its_kinds_was_done_and_missing_with_the_user() -> None:
    """A present user who never rated has an empty list."""
    log = [did("purchase", 0)]
    assert worth(recent(2, events=("rating",)), log, HOUR) == []
    assert worth(recent(2), log, HOUR, key=("bob",)) is None


def test_affinity_weighs_every_term_that_an_event_matches() -> None:
    """Two purchases, one of them with 5 stars: 2 x 10 + 6, and a view that weighs -1."""
    log = [
        did("purchase", 0, category="dairy", properties={"stars": 5}), did("purchase", 1, category="dairy"),
        did("item_view", 2, category="dairy"), did("purchase", 3, category="tea"),
    ]  # fmt: skip
    warm = affinity({"purchase": 10, "purchase where properties.stars >= 4": 6, "item_view": -1}, over="30d")
    assert worth(warm, log, HOUR, "user_category", ("ada", "dairy")) == 25
    assert worth(warm, log, HOUR, "user_category", ("ada", "tea")) == 10
    assert worth(warm, log, 30 * DAY, "user_category", ("ada", "dairy")) == 0


# ---------------------------------------------------------------------------------------------------------- predicates


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("value = 199", True), ("value != 199", False), ("value < 199", False), ("value <= 199", True),
        ("value > -200", True), ("value >= 200", False), ("value>=199 and quantity=2", True),
        ("value = 199 and quantity = 3", False), ("device = 'phone'", True), ("device != 'phone'", False),
        ("device != 'tv'", True), ("page = ''", True), ("page != ''", False),
        ("source = 'shop and value = 7'", True), ("source = 'shop and value = 7' and value = 7", False),
        ("source = 'shop and value = 7' and value = 199", True), ("source = 'shop'", False),
        ("properties.stars >= 4", True), ("properties.stars = 4", True), ("properties.stars != 5", True),
        ("properties.colour = 'red'", True),
    ],
)  # fmt: skip
def test_a_predicate_compares_a_field_with_a_literal(where: str, holds: bool) -> None:
    """Numbers by all six signs, texts by = and !=; with `and` every part must hold, and a text may hold an `and`."""
    log = [
        did("purchase", 0, value=199, quantity=2, device="phone", page="", source="shop and value = 7",
            properties={"stars": 4, "colour": "red"}),
    ]  # fmt: skip
    assert worth(count("purchase", where=where, name="n"), log, HOUR) == int(holds)


@pytest.mark.parametrize(
    "where",
    ["value = 0", "value != 0", "value < 1", "device = ''", "device != 'tv'", "properties.none != 1",
     "properties.none != 'a'", "properties.stars = 4", "properties.stars != 5", "properties.stars < 9",
     "properties.colour = '7'", "properties.colour != '8'"],
)  # fmt: skip
def test_a_predicate_on_what_is_not_said_or_of_the_other_type_is_false(where: str) -> None:
    """Also with !=: an event without the field, a text where a number is asked for, a number where a text is."""
    log = [did("purchase", 0, properties={"stars": "4", "colour": 7})]
    assert worth(count("purchase", where=where, name="n"), log, HOUR) == 0


def test_every_kind_of_feature_looks_at_its_matching_events_only() -> None:
    """The second event is the only one on the phone."""
    log = [
        did("rating", 0, device="tv", value=1, category="a"), did("rating", 5 * SECOND, device="phone", value=2),
        did("rating", 9 * SECOND, value=4, category="c"),
    ]  # fmt: skip
    where = "device = 'phone'"
    specs = (
        total("rating.value", where=where), mean("rating.value", where=where), ever("rating", where=where),
        age("rating", where=where), age("rating", since="first", where=where), last("rating.value", where=where),
        first("rating.value", where=where), rate("rating", per="rating", prior=(0, 1), where=where),
        distinct("rating.category", where=where),
    )  # fmt: skip
    assert [worth(spec, log, 10 * SECOND) for spec in specs] == [2, 2.0, 1, 5.0, 5.0, 2, 2, 0.25, 0]


# ------------------------------------------------------------------------------------------- entities, missing, consent


def test_only_selected_kinds_with_consent_to_personalisation_are_known() -> None:
    """Others are not folded: they neither count nor make anybody known."""
    log = [did("scroll", 0), did("purchase", 1, purposes=2), did("purchase", 2, purposes=3)]
    assert worth(count("*"), log, 2) is None
    assert worth(count("*"), log, 3) == 1


def test_an_entity_without_events_has_no_value_at_all() -> None:
    """Missing is per (entity, view): a known user has 0 of what it never did."""
    log = [did("item_view", 0)]
    assert worth(count("purchase"), log, HOUR) == 0
    assert worth(count("purchase"), log, HOUR, key=("bob",)) is None
    assert worth(rate("purchase", per="item_view", prior=(1, 2)), log, HOUR, key=("bob",)) is None


def test_an_entity_is_missing_from_the_retention_after_its_greatest_event_time() -> None:
    """At t - max e = R it is missing, one microsecond before it is not; k does not matter."""
    log = [did("purchase", 0), did("purchase", HOUR, k=2 * HOUR)]
    seen = [worth(count("purchase"), log, t, retention=10 * DAY) for t in (10 * DAY + HOUR - 1, 10 * DAY + HOUR)]
    assert seen == [2, None]


def test_state_starts_afresh_after_a_gap() -> None:
    """An event that the log takes R or more after the greatest event time forgets all that was before."""
    for came, known in ((10 * DAY - 1, 2), (10 * DAY, 1)):
        log = [did("purchase", 0, item="old"), did("purchase", came)]
        assert worth(count("purchase"), log, came + 1, retention=10 * DAY) == known
    assert worth(first("purchase.item"), log, 10 * DAY + 1, retention=10 * DAY) is None
    assert worth(recent(9), log, 10 * DAY + 1, retention=10 * DAY) == [f"purchase|{T0 + 10 * DAY}|"]


def test_a_gap_is_seen_from_the_admission_and_older_events_may_follow() -> None:
    """The late event begins anew though it happened within R; what comes later is kept though it happened earlier."""
    log = [
        did("purchase", 0), did("purchase", 9 * DAY, k=10 * DAY, id="begins"), did("purchase", 10 * DAY, id="tie"),
        did("purchase", 8 * DAY, k=10 * DAY + HOUR),
    ]  # fmt: skip
    assert worth(count("purchase"), log, 11 * DAY, retention=10 * DAY) == 3
    assert worth(age("purchase", since="first"), log, 11 * DAY, retention=10 * DAY) == 3 * 86_400.0


def test_views_take_only_events_that_name_their_entity() -> None:
    """A purchase without a category is the user's and everybody's, but no category's and no item's."""
    log = [did("purchase", 0), did("purchase", 1, category="dairy", item="milk"), did("purchase", 2, item="tea")]
    assert worth(count("*"), log, HOUR, "user", ("ada",)) == 3
    assert worth(count("*"), log, HOUR, "user_category", ("ada", "dairy")) == 1
    assert worth(count("*"), log, HOUR, "category", ("dairy",)) == 1
    assert worth(count("*"), log, HOUR, "item", ("milk",)) == 1
    assert worth(count("*"), log, HOUR, "all", ("all",)) == 3
    assert worth(count("*"), log, HOUR, "user_category", ("bob", "dairy")) is None


def test_snapshot_views_add_up_all_users_and_answer_from_the_last_whole_interval() -> None:
    """At 00:09:59 the value is that of 00:05, and so are its windows, its ages and what is missing."""
    buyers = {1: "ada", 2: "bob", 5: "ada", 6: "may"}
    log = [did("purchase", minute * MINUTE, by=by, item="milk") for minute, by in buyers.items()]
    milk = ("item", ("milk",))
    assert worth(count("purchase"), log, 5 * MINUTE - 1, *milk) is None
    assert worth(count("purchase"), log, 10 * MINUTE - 1, *milk) == 2
    assert worth(count("purchase"), log, 10 * MINUTE, *milk) == 4
    assert worth(distinct("purchase.user"), log, 10 * MINUTE, *milk) == 3
    assert worth(distinct("purchase.user", cap=2), log, 10 * MINUTE, *milk) == 2
    assert worth(age("purchase"), log, 14 * MINUTE, *milk) == 240.0


# ------------------------------------------------------------------------------------------------------- change points


def test_change_points_are_entries_exits_and_ends_of_retention() -> None:
    """One event at 00:59: it enters, leaves three windows by their hops, and is forgotten."""
    definition = view(
        "user", distinct("purchase.category", over="24h"), rate("purchase", per="item_view", over="7d", prior=(0, 1)),
        recent(3), mean("purchase.value", over="1h"), retention=10 * DAY,
    )  # fmt: skip
    e = 59 * MINUTE + 1
    after = [instant - T0 for instant in oracle.change_points(definition, [did("purchase", e)])]
    assert after == [e + 1, e - 1 + HOUR, DAY, 7 * DAY, 10 * DAY + e]
    pair = view("user_category", affinity({"purchase": 2}, over="30d"), retention=40 * DAY)
    assert oracle.change_points(pair, [did("purchase", e)])[1] == T0 + 30 * DAY


def test_snapshot_views_change_at_whole_intervals() -> None:
    """An event at 00:01 is seen at 00:05; at 00:05 exactly it is seen at 00:10."""
    definition = view("all", count("purchase"))
    after = [oracle.change_points(definition, [did("purchase", e)])[0] - T0 for e in (MINUTE, 5 * MINUTE)]
    assert after == [5 * MINUTE, 10 * MINUTE]

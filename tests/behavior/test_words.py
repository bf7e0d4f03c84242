"""The words of definitions: what they make, how features are called, and what no kind can compute."""

from collections.abc import Callable

import pytest

from behavior.aggregation import Aggregation, term_of
from behavior.errors import BadDefinition
from behavior.kinds import ENTITIES, KINDS, Kind
from behavior.words import (
    affinity,
    age,
    check,
    check_entity,
    count,
    days,
    distinct,
    ever,
    first,
    kinds_of_events,
    last,
    mean,
    properties_of,
    rate,
    recent,
    total,
)
from tests.properties.strategies import FEATURES

NAMES = {
    "purchase_count": count("purchase"),
    "purchase_days_90d": days("purchase", over="90d"),
    "any_count_7d": count("*", over="7d"),
    "purchase_count_7d_where_value_at_least_1000": count("purchase", over="7d", where="value >= 1000"),
    "purchase_count_where_device_is_tv_and_phone_and_stars_below_5": count(
        "purchase", where="device = 'tv and phone' and properties.stars < 5"
    ),
    "purchase_value_total_30d": total("purchase.value", over="30d"),
    "rating_stars_total": total("rating.properties.Stars"),
    "purchase_value_mean_90d": mean("purchase.value", over="90d"),
    "purchase_per_item_view_rate_30d": rate("purchase", per="item_view", over="30d", prior=(1, 50)),
    "purchase_per_any_rate": rate("purchase", per="*", prior=(0, 1)),
    "any_per_any_rate": rate("*", per="*", prior=(0, 1)),
    "any_ever": ever("*"),
    "purchase_category_last": last("purchase.category"),
    "any_utc_offset_s_first": first("*.utc_offset_s"),
    "purchase_age_s": age("purchase"),
    "purchase_age_s_since_first": age("purchase", since="first"),
    "purchase_user_distinct_7d": distinct("purchase.user", over="7d"),
    "any_colour_distinct": distinct("*.properties.colour"),
    "recent_3": recent(3),
    "recent_3_of_purchase": recent(3, events=("purchase",)),
    "recent_3_of_purchase_refund": recent(3, events=("purchase", "refund")),
    "affinity_30d": affinity({"purchase": 1}, over="30d"),
    "warmth": affinity({"purchase": 1}, over="30d", name="warmth"),
}


def test_features_are_called_after_what_they_compute() -> None:
    """The event, the field, the kind, the window, the predicates; by hand where `name` says so."""
    assert {spec.name: spec for spec in NAMES.values()} == NAMES


def test_no_two_features_of_the_strategies_share_a_name() -> None:
    """Otherwise a view could not have both."""
    assert len({spec.name for spec in FEATURES}) == len(FEATURES)


REFUSED: dict[str, tuple[Callable[[], Aggregation], str]] = {
    "a field that no event has": (lambda: total("purchase.size"), "no field 'size'"),
    "a user's id": (lambda: last("purchase.user"), "no field 'user'"),
    "a text where a number is needed": (lambda: total("purchase.category"), "needs a number field"),
    "a text of which there is no mean": (lambda: mean("purchase.device"), "needs a number field"),
    "a number where a text is needed": (lambda: distinct("purchase.value"), "needs a text field"),
    "a property where its type must be known": (lambda: last("purchase.properties.stars"), "needs a number or text"),
    "a property without a name": (lambda: total("purchase.properties."), "no property"),
    "a property that would break SQL": (lambda: total("purchase.properties.a'b"), "no property"),
    "no field where one is needed": (lambda: total("purchase"), "needs a number field"),
    "a field where none is": (lambda: count("purchase.value"), "not the field 'value'"),
    "a window where none is": (lambda: _made(Aggregation("ever", "purchase", over="7d")), "has no window"),
    "a window of an age": (lambda: _made(Aggregation("age", "purchase", over="7d")), "has no window"),
    "no window where one is needed": (lambda: _made(affinity_of({"purchase": 1}, over=None)), "needs a window"),
    "a window that is no whole number of hops": (lambda: count("purchase", over="121m"), "not a whole number"),
    "a window that is no span": (lambda: count("purchase", over="7x"), "no time span"),
    "a window that is too short": (lambda: count("purchase", over="23m"), "too short"),
    "days in a window that moves by hours": (lambda: days("purchase", over="7d"), "whole days"),
    "an unknown kind": (lambda: _made(Aggregation("median", "purchase")), "unknown kind 'median'"),
    "an unknown `since`": (lambda: age("purchase", since="last"), "since 'last' is unknown"),
    "no prior": (lambda: _made(Aggregation("rate", "purchase", per="item_view")), "a prior"),
    "a prior of less than nothing": (lambda: rate("purchase", per="item_view", prior=(-1, 5)), "a prior"),
    "a prior that divides by 0": (lambda: rate("purchase", per="item_view", prior=(0, 0)), "a prior"),
    "a prior that is half a number": (lambda: rate("purchase", per="item_view", prior=(1.5, 5)), "a prior"),  # type: ignore[arg-type]
    "a prior of one number": (lambda: rate("purchase", per="item_view", prior=(1,)), "a prior"),  # type: ignore[arg-type]
    "nothing that a rate is measured by": (lambda: rate("purchase", per="", prior=(1, 5)), "`per`"),
    "a cap of 0": (lambda: distinct("purchase.item", cap=0), "cap must be 1 to 10000"),
    "a cap beyond the greatest": (lambda: distinct("purchase.item", cap=10_001), "cap must be 1 to 10000"),
    "a cap that is no number": (lambda: distinct("purchase.item", cap=2.5), "cap must be 1 to 10000"),  # type: ignore[arg-type]
    "no recent events": (lambda: recent(0), "size must be 1 to 200"),
    "too many recent events": (lambda: recent(201), "size must be 1 to 200"),
    "recent events in words": (lambda: recent("10"), "size must be 1 to 200"),  # type: ignore[arg-type]
    "recent events of any kind by a star": (lambda: recent(3, events=("*",)), "one by one"),
    "an affinity to nothing": (lambda: affinity({}, over="30d"), "at least one"),
    "a weight of 0": (lambda: affinity({"purchase": 0}, over="30d"), "must be whole, not 0"),
    "a weight that is no whole number": (lambda: affinity({"purchase": 0.5}, over="30d"), "must be whole"),  # type: ignore[dict-item]
    "a weight beyond the greatest": (lambda: affinity({"purchase": 10**6 + 1}, over="30d"), "1000000 at most"),
    "an affinity to any kind": (lambda: affinity({"*": 1}, over="30d"), "'\\*' is no kind"),
    "an affinity whose predicate is missing": (lambda: affinity({"purchase where ": 1}, over="30d"), "write `field op"),
    "an affinity that ends in `where`": (lambda: affinity({"purchase where": 1}, over="30d"), "is no kind of event"),
    "a predicate of an affinity that is wrong": (
        lambda: affinity({"purchase where size > 1": 1}, over="30d"), "no field 'size'",
    ),
    "a predicate that is none": (lambda: count("purchase", where="value"), "write `field op literal`"),
    "an empty predicate": (lambda: count("purchase", where=""), "write `field op literal`"),
    "a property that is both": (
        lambda: total("purchase.properties.stars", where="properties.stars = 'five'"), "for a number and for a text",
    ),
    "a property that is both in two terms": (
        lambda: affinity({"purchase where properties.a = 1": 1, "purchase where properties.a = 'b'": 2}, over="30d"),
        "for a number and for a text",
    ),
    "a name with a capital": (lambda: count("purchase", name="Bought"), "'Bought' is no name"),
    "a name with a colon": (lambda: count("purchase", name="a:b"), "is no name"),
    "a name with two underscores": (lambda: count("purchase", name="a__b"), "is no name"),
}  # fmt: skip


def _made(spec: Aggregation) -> Aggregation:
    """A definition that was not made by a word, but in the registry, say."""
    check(spec)
    return spec


def affinity_of(weights: dict[str, int], over: str | None) -> Aggregation:
    return Aggregation("affinity", over=over, weights=tuple(weights.items()))


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_kind_can_compute_is_refused(what: str) -> None:
    """When the definition is written, with a sentence that says what would do."""
    make, said = REFUSED[what]
    with pytest.raises(BadDefinition, match=said):
        make()


# What the kinds allow, said once more.
ALLOWED = {
    **dict.fromkeys(("count", "days", "total", "mean", "rate", "ever", "last", "first", "age", "distinct"), ENTITIES),
    "recent": ("user",),
    "affinity": ("user_category",),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_refused_where_they_are_not_computed(kind: str) -> None:
    """Events in their order only of users, affinity only of users and categories."""
    spec = next(spec for spec in FEATURES if spec.kind == kind and spec.field != "user")
    for entity in set(ENTITIES) - {"item", "category", "all"} if kind == "distinct" else ENTITIES:
        if entity in ALLOWED[kind]:
            check_entity(spec, entity)
        else:
            with pytest.raises(BadDefinition, match=f"{kind} is not computed for {entity}; it is for "):
                check_entity(spec, entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_items_count_users_and_users_count_the_rest(entity: str) -> None:
    """What many users share tells how many they are, and nothing else of them."""
    of_users, of_items = distinct("purchase.user"), distinct("purchase.item")
    of_texts = distinct("purchase.properties.colour")
    right, wrong = ([of_users], [of_items, of_texts])
    if entity in ("user", "user_category"):
        right, wrong = wrong, right
    for spec in right:
        check_entity(spec, entity)
    for spec in wrong:
        with pytest.raises(BadDefinition, match=f"distinct: for {entity} it counts"):
            check_entity(spec, entity)


def test_the_kinds_of_events_that_a_definition_names() -> None:
    """In `event`, in `per`, in weights and in `events`: all of them must be selected."""
    assert kinds_of_events(count("purchase")) == ("purchase",)
    assert kinds_of_events(rate("purchase", per="*", prior=(0, 1))) == ("purchase", "*")
    assert kinds_of_events(affinity({"purchase": 1, "rating where value > 1": 2}, over="30d")) == ("purchase", "rating")
    assert kinds_of_events(recent(3)) == ()
    assert kinds_of_events(recent(3, events=("purchase", "refund"))) == ("purchase", "refund")


def test_the_properties_that_a_definition_reads() -> None:
    """With the type that each must have: in fields and in predicates, of affinities too."""
    assert properties_of(count("purchase", where="value > 1 and device = 'phone'")) == {}
    assert properties_of(distinct("purchase.user")) == {}
    assert properties_of(total("purchase.properties.stars", where="properties.colour != 'red'")) == {
        "stars": int, "colour": str,
    }  # fmt: skip
    assert properties_of(mean("*.properties.stars", where="properties.stars > 0")) == {"stars": int}
    assert properties_of(distinct("*.properties.colour")) == {"colour": str}
    assert properties_of(affinity({"a where properties.x = 1": 1, "b where properties.y = 'z'": 2}, over="30d")) == {
        "x": int, "y": str,
    }  # fmt: skip


def test_terms_of_an_affinity() -> None:
    """A kind of event, perhaps with predicates; the word may stand in a text."""
    assert term_of("purchase") == ("purchase", None)
    assert term_of(" purchase  where device = 'a where b'") == ("purchase", "device = 'a where b'")


WORDS = {
    word.__name__: word for word in (affinity, age, count, days, distinct, ever, first, last, mean, rate, recent, total)
}  # fmt: skip


def test_every_kind_has_its_word() -> None:
    """A kind that nobody can write would be of no use."""
    assert set(WORDS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_example_of_each_kind_is_one(kind: Kind) -> None:
    """What the reference shows can be written."""
    assert eval(kind.example, dict(WORDS)).kind == kind.name

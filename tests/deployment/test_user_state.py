"""A user's hash, decoded: the scorer and the Feast plug-in read it with these functions."""

import pytest

from behavior.errors import OpportuneError
from behavior.event import DAY_US, PERSONALIZATION, Admitted, Event
from behavior.kinds import age, count
from behavior.plan import FeatureDefinition, Plan, ViewDefinition
from behavior.state import encode, fold
from deployment.user_state import columns, decode_user, state_field

T = 20_000 * DAY_US
FEATURES = tuple(FeatureDefinition(each.name, each) for each in (count("purchase", over="24h"), age("purchase")))
PLAN = Plan(
    [
        ViewDefinition("people", "user", ("purchase",), FEATURES),
        ViewDefinition("pairs", "user_category", ("purchase",), FEATURES),
        ViewDefinition("everybody", "all", ("purchase",), FEATURES),
    ]
)
PEOPLE, PAIRS = PLAN.view("people"), PLAN.view("pairs")
EVENT = Admitted(Event("m1", "purchase", "k1-ada", T, category="TEA", purposes=PERSONALIZATION), T, T)


def stored(*categories: str) -> dict[bytes, bytes]:
    """A user's hash after one purchase in each category."""
    fields = {state_field(PEOPLE): encode(PEOPLE, fold(PEOPLE, None, EVENT))}
    return fields | {state_field(PAIRS, each): encode(PAIRS, fold(PAIRS, None, EVENT)) for each in categories}


def test_every_field_becomes_a_state() -> None:
    """User views by name, pair views by name and category, also for categories that hold the separator."""
    state = decode_user(PLAN, stored("TEA", "a|b", "käse"))
    assert set(state.user) == {"people"}
    assert set(state.pairs["pairs"]) == {"TEA", "a|b", "käse"}
    assert state.pairs["pairs"]["a|b"].seen_e == T


def test_only_the_categories_asked_for_are_decoded() -> None:
    """A request for few candidates does not pay for all categories that the user ever bought in."""
    assert set(decode_user(PLAN, stored("TEA", "MILK"), ["MILK", "BREAD"]).pairs["pairs"]) == {"MILK"}


def test_an_unknown_user_has_no_state() -> None:
    """An empty hash is a user of whom nothing is known; every pair view is there all the same."""
    state = decode_user(PLAN, {})
    assert state.user == {}
    assert state.pairs == {"pairs": {}}


@pytest.mark.parametrize("field", [b"strangers", b"people|TEA", b"pairs", b"everybody"])
def test_a_field_of_another_plan_is_refused(field: bytes) -> None:
    """State that the plan cannot explain is not skipped."""
    with pytest.raises(OpportuneError, match="no view of the plan"):
        decode_user(PLAN, {field: stored()[b"people"]})


def test_columns_are_final_values_at_the_instant() -> None:
    """One row per state, in order; no state is missing, and what a window has passed no longer counts."""
    state = decode_user(PLAN, stored("TEA")).pairs["pairs"]["TEA"]
    found = columns(PAIRS, [None, state], T + 1)
    assert found["pairs:purchase_count_24h"].valid.tolist() == [False, True]
    assert found["pairs:purchase_count_24h"].values[1] == 1
    later = columns(PAIRS, [state], T + 2 * DAY_US)
    assert later["pairs:purchase_count_24h"].values.tolist() == [0]
    assert later["pairs:purchase_age_s"].values.tolist() == [2 * 86_400.0]

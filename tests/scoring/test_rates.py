"""Rates forget by event time, lean on the groups around them, and are a River estimator."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behavior.event import DAY_US
from scoring.example import Example
from scoring.rates import Rates, ShrunkRates
from scoring.shrinkage import Shrinkage
from tests.scoring.examples import drawn
from tests.scoring.river_checks import Check, checks_of

# Groups of the features of the data set that River checks classifiers with.
PHISHING = ShrunkRates(("empty_server_form_handler", "popup_window"), "age_of_domain", room=20)
SHRINKAGE = Shrinkage(half_life_d=2.0, prior_successes=1.0, prior_trials=10.0, strength=5.0)


def example(t: int, reward: float, is_trial: bool = True, item: str = "", category: str = "TEA") -> Example:
    kind = "item" if item else "category"
    words = ("r", "u", "loyal", "home", 1, kind, item or category, category, "", "", "", "")
    return Example(*words, t, -1.0, "", reward, is_trial, None)


@pytest.mark.parametrize("check", checks_of(PHISHING))
def test_it_is_what_river_asks_of_an_estimator(check: Check) -> None:
    """Each of River's own checks of classifiers passes."""
    check(PHISHING.clone())


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=30))
def test_each_example_weighs_by_its_own_age(happened: list[tuple[int, float, bool]]) -> None:
    """In whatever order they come, counts are the sums of all examples, each halved once per half-life."""
    rates = Rates(SHRINKAGE)
    for days, reward, is_trial in happened:
        rates.learn(example(days * DAY_US, reward, is_trial), 1.0)
    counted = [each for each in happened if each[1] or each[2]]
    numbers = rates.numbers()
    assert set(numbers) == ({"category|loyal", "category|loyal|TEA"} if counted else set())
    for successes, trials, t, _ in numbers.values():
        latest = max(days for days, _, _ in counted)
        assert t == latest * DAY_US
        assert successes == pytest.approx(sum(reward * 0.5 ** ((latest - days) / 2.0) for days, reward, _ in counted))
        assert trials == pytest.approx(sum(trial * 0.5 ** ((latest - days) / 2.0) for days, _, trial in counted))


def test_a_group_leans_on_the_one_around_it() -> None:
    """Of nothing known the prior; of a persona's new category the persona's rate; of much tried its own rate."""
    rates = Rates(SHRINKAGE)
    assert rates.beta("category", t=0, persona="loyal", category="TEA") == pytest.approx((0.5, 4.5))
    for number in range(400):
        rates.learn(example(0, float(number % 2)), 1.0)
    persona = (200.0 + 1.0) / (400.0 + 10.0)
    a, b = rates.beta("category", t=0, persona="loyal", category="RICE")
    assert (a, b) == pytest.approx((5.0 * persona, 5.0 * (1.0 - persona)))
    a, b = rates.beta("category", t=0, persona="loyal", category="TEA")
    assert (a, b) == pytest.approx((200.0 + 5.0 * persona, 200.0 + 5.0 * (1.0 - persona)))
    # After twenty half-lives nothing is left but what it leans on.
    a, b = rates.beta("category", t=40 * DAY_US, persona="loyal", category="TEA")
    assert (a, b) == pytest.approx((0.5, 4.5), abs=2e-3)


def test_a_block_is_an_item_in_a_placement() -> None:
    """Its rate leans on the persona's in the placement; categories count whatever is shown."""
    rates = Rates(SHRINKAGE)
    rates.learn(example(7, 1.0, item="green tea"), 1.0)
    assert set(rates.numbers()) == {
        "category|loyal", "category|loyal|TEA", "block|loyal", "block|loyal|home", "block|loyal|home|green tea"
    }  # fmt: skip
    known = rates.beta("block", t=7, persona="loyal", placement="home", item="green tea")
    beside = rates.beta("block", t=7, persona="loyal", placement="home", item="black tea")
    elsewhere = rates.beta("block", t=7, persona="loyal", placement="basket", item="green tea")
    assert known[0] / sum(known) > beside[0] / sum(beside) > elsewhere[0] / sum(elsewhere) > SHRINKAGE.prior_mean


def test_what_is_no_reward_is_left_out() -> None:
    """Neither a poisoned reward nor an example that adds nothing changes a bit."""
    rates = Rates(SHRINKAGE)
    rates.learn(example(0, 1.0), 1.0)
    before = rates.numbers()
    for reward in (math.nan, math.inf, -1.0, 1e9):
        rates.learn(example(0, reward), 1.0)
    rates.learn(example(DAY_US, 0.0, is_trial=False), 1.0)
    assert rates.numbers() == before


@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6), st.floats(0.0, 1.0))
def test_thompson_can_always_draw(successes: float, trials: float, mean: float) -> None:
    """Neither a nor b falls below what a group leans on, also where rewards outlived their trials."""
    a, b = SHRINKAGE.beta(successes, trials, mean)
    assert a >= SHRINKAGE.strength * mean
    assert b >= SHRINKAGE.strength * (1.0 - mean)


@pytest.mark.parametrize("seed", range(3))
def test_restarts_change_nothing(seed: int) -> None:
    """Made anew from its numbers after any example, in whatever order they come, with a room that is too small."""
    rng = random.Random(seed)
    whole, broken = (Rates(SHRINKAGE, room=10) for _ in range(2))
    for each in drawn(seed, 300):
        whole.learn(each, 0.5)
        if rng.random() < 0.2:
            numbers = list(broken.numbers().items())
            rng.shuffle(numbers)
            broken = Rates(SHRINKAGE, room=10)
            broken.restore(dict(numbers))
        broken.learn(each, 0.5)
    assert len(whole.numbers()) == 20
    assert list(broken.numbers().items()) == list(whole.numbers().items())

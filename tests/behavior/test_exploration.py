"""Exploration: what is drawn is drawn as often as its chances say, and the same name draws the same."""

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from behavior.exploration import (
    EPSILON_GREEDY,
    PLACKETT_LUCE,
    Step,
    chances_of,
    drawn,
    epsilon_greedy,
    greedy,
    plackett_luce,
    step_of,
    thompson,
    uniforms,
)

SCORES = [0.4, 1.5, -0.3, 1.5]
STEPS = {
    "epsilon-greedy": epsilon_greedy(SCORES, 0.4),
    "plackett-luce": plackett_luce(SCORES, 0.7),
}
scores_of = st.lists(st.floats(-50, 50), min_size=1, max_size=6)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_orders_come_as_often_as_their_chances_say(step: Step) -> None:
    """Over 20,000 names the orders of two positions are distributed as the products of their chances (chi-square)."""
    n = 20_000
    seen: Counter[tuple[int, ...]] = Counter()
    for number in range(n):
        order, _ = drawn(step, len(SCORES), uniforms(f"request-{number}", 2))
        seen[tuple(order)] += 1
    orders = list(permutations(range(len(SCORES)), 2))
    expected = [n * math.prod(chances_of(step, len(SCORES), order)) for order in orders]
    assert math.fsum(expected) == pytest.approx(n)
    assert stats.chisquare([seen[order] for order in orders], expected).pvalue > 0.01


@given(scores_of, st.floats(0.01, 1.0), st.sampled_from([EPSILON_GREEDY, PLACKETT_LUCE]))
def test_the_chances_of_all_orders_add_up_to_one(scores: list[float], strength: float, policy: str) -> None:
    """Every order has the product of its positions' chances; together they are certain."""
    step, n = step_of(policy, scores, strength), len(scores)
    total = math.fsum(math.prod(chances_of(step, n, order)) for order in permutations(range(n)))
    assert total == pytest.approx(1.0, abs=1e-12)


@given(scores_of, st.floats(0.01, 5.0), st.sampled_from([EPSILON_GREEDY, PLACKETT_LUCE]), st.text())
def test_what_is_drawn_has_the_chances_that_it_is_said_to_have(
    scores: list[float], strength: float, policy: str, name: str
) -> None:
    """Drawing and asking give the same chances to the last bit, none of them 0; every place comes once."""
    step, n = step_of(policy, scores, min(strength, 1.0) if policy == EPSILON_GREEDY else strength), len(scores)
    order, chances = drawn(step, n, uniforms(name, n))
    assert sorted(order) == list(range(n))
    assert chances == chances_of(step, n, order)
    assert all(0.0 < chance <= 1.0 for chance in chances)


def test_plackett_luce_is_the_order_of_scores_with_gumbel_noise() -> None:
    """An independent way to draw it: argsort of score + temperature x Gumbel noise gives the first place as often."""
    rng = np.random.default_rng(5)
    noisy = np.array(SCORES) + 0.7 * rng.gumbel(size=(20_000, len(SCORES)))
    first = np.bincount(noisy.argmax(axis=1), minlength=len(SCORES))
    expected = plackett_luce(SCORES, 0.7)(range(len(SCORES)))
    assert stats.chisquare(first, 20_000 * np.array(expected)).pvalue > 0.01


def test_without_chance_the_best_comes_first_and_of_equal_ones_the_first() -> None:
    """ε = 0 is the ranking itself, and every position is certain."""
    assert drawn(greedy(SCORES), 4, [0.999] * 4) == ([1, 3, 0, 2], [1.0] * 4)


@pytest.mark.parametrize("temperature", [0.01, 20.0])
@pytest.mark.parametrize("scores", [[1e6, -1e6, 0.0], [-1e6] * 3])
def test_scores_far_apart_stay_finite(scores: list[float], temperature: float) -> None:
    """What underflows has no chance while something better is left, and its turn when nothing else is."""
    order, chances = drawn(plackett_luce(scores, temperature), 3, uniforms("r", 3))
    assert sorted(order) == [0, 1, 2]
    assert all(0.0 < chance <= 1.0 for chance in chances)


def test_numbers_follow_from_the_name_on_every_machine() -> None:
    """The same name gives the same numbers, these; another one others."""
    assert uniforms("request-1", 3) == GOLDEN
    assert uniforms("request-1", 2) == GOLDEN[:2]
    assert uniforms("request-2", 3) != GOLDEN


def test_uniform_numbers_are_uniform() -> None:
    """The first number of 10,000 names passes a Kolmogorov-Smirnov test."""
    first = [uniforms(str(number), 1)[0] for number in range(10_000)]
    assert stats.kstest(first, "uniform").pvalue > 0.01
    assert all(0.0 <= each < 1.0 for each in first)


def test_thompson_shows_what_may_be_best_as_often_as_it_is() -> None:
    """First place goes to the second arm as often as its rate is drawn above the first's, and the estimate says so."""
    a, b = np.array([30.0, 25.0]), np.array([70.0, 75.0])
    drawn_ = [thompson(str(number), a, b, 2, replicates=200) for number in range(2_000)]
    rng = np.random.default_rng(1)
    truth = float(np.mean(rng.beta(a[1], b[1], 400_000) > rng.beta(a[0], b[0], 400_000)))
    first = [order[0] for order, _ in drawn_]
    assert np.mean(first) == pytest.approx(truth, abs=4 * math.sqrt(truth * (1 - truth) / 2_000))
    estimated = [chances[0] for order, chances in drawn_ if order[0] == 1]
    assert np.mean(estimated) == pytest.approx(truth, abs=0.02)
    assert thompson("r", a, b, 2, 50) == thompson("r", a, b, 2, 50)


GOLDEN = [0.026180953083149494, 0.955624663671206, 0.3557880055434868]

"""Conditional chances are those that the policies draw by."""

from itertools import permutations

import numpy as np
import pytest

from behavior.exploration import EPSILON_GREEDY, PLACKETT_LUCE, drawn, step_of, uniforms
from training.ope.policies import Policy, of_drawn

SCORES = np.array([0.3, 1.2, -0.7, 1.2])
POLICIES = [Policy(PLACKETT_LUCE, 0.7), Policy(EPSILON_GREEDY, 0.25), Policy(EPSILON_GREEDY, 0.0)]


def drawn_by(policy: Policy, generator: np.random.Generator, m: int) -> tuple[int, ...]:
    """An order drawn step by step, as one first writes it."""
    left, order = list(range(len(SCORES))), []
    for _ in range(m):
        scores = SCORES[left]
        if policy.kind == PLACKETT_LUCE:
            weights = np.exp(scores / policy.strength)
            pick = generator.choice(len(left), p=weights / weights.sum())
        elif generator.random() < policy.strength:
            pick = generator.integers(len(left))
        else:
            pick = np.argmax(scores)
        order.append(left.pop(int(pick)))
    return tuple(order)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_orders_come_as_often_as_their_chances_say(policy: Policy) -> None:
    """The product of the conditional chances of an order is how often it is drawn, within five standard errors."""
    draws, generator = 20_000, np.random.default_rng(3)
    orders = list(permutations(range(4), 2))
    chances = of_drawn(policy.chances(np.tile(SCORES, (len(orders), 1)), np.array(orders)), np.array(orders)).prod(1)
    assert chances.sum() == pytest.approx(1.0, abs=1e-12)
    found = [drawn_by(policy, generator, 2) for _ in range(draws)]
    for order, chance in zip(orders, chances, strict=True):
        share = found.count(order) / draws
        assert abs(share - chance) <= 5 * np.sqrt(chance * (1 - chance) / draws) + 1e-12


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_what_stands_has_no_chance_and_the_others_share_it_all(policy: Policy) -> None:
    """Row by row a distribution over those that are left; of one that is left alone it is certain."""
    chances = policy.chances(SCORES, np.array([2, 0, 3, 1]))
    assert chances.sum(axis=1) == pytest.approx(np.ones(4), abs=1e-12)
    assert [chances[row, gone] for row, gone in ((1, 2), (2, 0), (3, 3))] == [0, 0, 0]
    assert chances[3, 1] == pytest.approx(1.0, abs=1e-12)


def test_scores_far_apart_do_not_overflow() -> None:
    """A score of a thousand temperatures is certain, and its neighbours have no chance; nothing is NaN."""
    chances = Policy(PLACKETT_LUCE, 0.01).chances(np.array([20.0, -20.0, 0.0]), np.array([0, 2]))
    assert np.isfinite(chances).all()
    assert chances.round(12).tolist() == [[1, 0, 0], [0, 0, 1]]


def test_of_equal_scores_the_earlier_is_the_better() -> None:
    """Greedy takes the first of a tie."""
    assert Policy(EPSILON_GREEDY, 0.0).chances(SCORES, np.array([1, 3]))[:, [1, 3]].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_an_evaluation_takes_the_chances_that_serving_states(policy: Policy) -> None:
    """What is drawn online is drawn with the chances that are computed here, up to rounding."""
    for number in range(50):
        order, stated = drawn(step_of(policy.kind, SCORES.tolist(), policy.strength), 4, uniforms(str(number), 3))
        found = of_drawn(policy.chances(SCORES, np.array(order)), np.array(order))
        assert found == pytest.approx(stated, abs=1e-14)

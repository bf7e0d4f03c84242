"""Estimators are unbiased where they promise it, equal their formulas written naively, and their intervals cover."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from tests.training.ope.world import (
    ASKED_POLICY,
    ASKED_WEIGHTS,
    CONTEXTS,
    LOG_POLICY,
    LOG_WEIGHTS,
    POOL,
    POSITIONS,
    World,
)
from training.ope.decisions import Decisions, compared
from training.ope.estimators import dr, dr_of_log, ips, logged, snips
from training.ope.evaluation import valued
from training.ope.policies import of_drawn
from training.ope.reward_model import RewardsToCome, cross_fitted

WORLD = World.of_seed(1)
TRUTH, OF_LOG = WORLD.value(ASKED_WEIGHTS, ASKED_POLICY), WORLD.value(LOG_WEIGHTS, LOG_POLICY)


def everything() -> tuple[Decisions, np.ndarray]:
    """Every order in every context, with the clicks it earns on average, and how likely the log draws it."""
    orders = np.tile(np.array(list(permutations(range(POOL), POSITIONS))), (CONTEXTS, 1))
    context = np.repeat(np.arange(CONTEXTS), len(orders) // CONTEXTS)
    values = WORLD.values[context]
    clicked = WORLD.clicks[:, context[:, None], orders]
    looked = np.stack([np.ones(clicked.shape[:2]), 1 - clicked[..., 0]], axis=-1)
    kept = LOG_POLICY.chances(values @ LOG_WEIGHTS, orders)
    asked = ASKED_POLICY.chances(values @ ASKED_WEIGHTS, orders)
    n = len(orders)
    decisions = Decisions(
        np.arange(n), np.full(n, POSITIONS), (looked * clicked).mean(axis=0), of_drawn(kept, orders),
        of_drawn(asked, orders), *compared(kept, asked, values, orders),
    )  # fmt: skip
    return decisions, decisions.logged.prod(axis=1) / CONTEXTS


def test_ips_and_dr_are_unbiased_whatever_the_model() -> None:
    """In expectation over all that the log may draw both are the candidate's value, of a senseless model too."""
    decisions, chances = everything()
    theta = np.random.default_rng(5).normal(size=(POSITIONS, decisions.shown.shape[2]))
    senseless = RewardsToCome(
        *(
            np.einsum("nmd,md->nm", told, theta)
            for told in (decisions.shown, decisions.expected, decisions.expected_of_log)
        )
    )
    assert chances.sum() == pytest.approx(1.0, abs=1e-9)
    assert chances @ logged(decisions).over[:, 0] == pytest.approx(OF_LOG, abs=1e-9)
    assert chances @ ips(decisions).over[:, 0] == pytest.approx(TRUTH, abs=1e-9)
    # Inputs are float32.
    assert chances @ dr(decisions, senseless).over[:, 0] == pytest.approx(TRUTH, abs=1e-6)
    assert chances @ dr_of_log(decisions, senseless).over[:, 0] == pytest.approx(OF_LOG, abs=1e-6)
    assert abs(OF_LOG - TRUTH) > 0.05


def test_clipping_makes_ips_too_low() -> None:
    """Never by more than the share that it cuts off times the greatest value of an answer, which is 1 click here."""
    decisions, chances = everything()
    clipped = float(chances @ ips(decisions, clip=2.0).over[:, 0])
    cut = float(chances @ (decisions.weights() - decisions.weights(2.0)).max(axis=1))
    assert TRUTH - cut <= clipped < TRUTH - 0.01


def test_estimates_are_their_formulas() -> None:
    """As the module writes them, decision by decision, with answers of one and of two positions."""
    log = WORLD.log(30, 3, seed=2)
    size = np.where(np.arange(len(log)) % 3, 2, 1)
    beyond = size == 1
    reward, chances, asked = log.reward.copy(), log.logged.copy(), log.candidate.copy()
    reward[beyond, 1], chances[beyond, 1], asked[beyond, 1] = 0, 1, 1
    log = replace(log, size=size, reward=reward, logged=chances, candidate=asked)
    told = cross_fitted(log)
    assert not told.shown[beyond, 1].any()
    assert not told.expected[beyond, 1].any()
    total, doubly, over, under = 0.0, 0.0, [0.0, 0.0], [0.0, 0.0]
    for row in range(len(log)):
        weight = 1.0
        for position in range(2):
            before, weight = weight, weight * asked[row, position] / chances[row, position]
            total += weight * reward[row, position]
            over[position] += weight * reward[row, position]
            under[position] += weight
            doubly += weight * (reward[row, position] - told.shown[row, position])
            doubly += before * told.expected[row, position]
    assert ips(log).estimate().value == pytest.approx(total / len(log))
    assert dr(log, told).estimate().value == pytest.approx(doubly / len(log))
    assert snips(log).estimate().value == pytest.approx(over[0] / under[0] + over[1] / under[1])
    assert logged(log).estimate().value == pytest.approx(reward.sum() / len(log))


def test_the_log_evaluates_itself_exactly() -> None:
    """A candidate that does what the log did has weights of 1, and its difference is 0 without a doubt, by DR too."""
    log = WORLD.log(50, 2, seed=3)
    same = replace(log, candidate=log.logged, expected=log.expected_of_log)
    earned = logged(same).estimate()
    assert ips(same).estimate() == earned
    of_snips = snips(same).estimate()
    assert (of_snips.value, of_snips.low) == pytest.approx((earned.value, earned.low))
    for each in valued(same)[1]:
        assert (each.difference.low, each.difference.high) == pytest.approx((0, 0), abs=1e-12)


def test_models_are_fitted_without_the_users_they_tell_of() -> None:
    """What is told of a user does not change with what the user did."""
    log = WORLD.log(50, 4, seed=4)
    other = log.reward.copy()
    other[log.user == 7] = 1 - other[log.user == 7]
    first, second = cross_fitted(log), cross_fitted(replace(log, reward=other))
    assert np.array_equal(first.shown[log.user == 7], second.shown[log.user == 7])
    assert not np.array_equal(first.shown, second.shown)


def test_dr_is_quieter_than_ips() -> None:
    """That is what the model is for: over thirty logs it varies less."""
    logs = [WORLD.log(100, 4, seed) for seed in range(30)]
    values = np.array([[each.value.value for each in valued(log)[1]] for log in logs])
    assert values.std(axis=0)[2] < 0.95 * values.std(axis=0)[0]


def test_intervals_cover_the_truth() -> None:
    """Of 95 in 100 nominally; the whole study is `opportune bench ope`. What the log earned is no such value."""
    logs = [WORLD.log(200, 5, 100 + seed) for seed in range(100)]
    found = [valued(log) for log in logs]
    assert max((w.sum() ** 2 / (w**2).sum()) / len(w) for w in (log.weights()[:, -1] for log in logs)) < 0.3
    for place in (1, 2):
        values = [values[place] for _, values in found]
        assert sum(each.value.low <= TRUTH <= each.value.high for each in values) >= 88
        assert sum(each.difference.low <= TRUTH - OF_LOG <= each.difference.high for each in values) >= 88
    assert sum(earned.low <= TRUTH <= earned.high for earned, _ in found) < 10


def test_answers_to_one_user_are_not_independent() -> None:
    """Every answer to each user twice: twice the rows and no more knowledge, so the interval stays as wide."""
    log = WORLD.log(100, 1, seed=6)
    twice = Decisions(*(np.concatenate([getattr(log, name)] * 2) for name in Decisions.__slots__))
    once, again = snips(log).estimate(), snips(twice).estimate()
    assert (again.value, again.high - again.low) == pytest.approx((once.value, once.high - once.low))
    alone = snips(replace(twice, user=np.arange(len(twice)))).estimate()
    assert alone.high - alone.low < 0.8 * (once.high - once.low)

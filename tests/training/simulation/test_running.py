"""The loop: what happens is what the truth says, position by position, and nobody's order matters to anybody else."""

from dataclasses import fields
from itertools import permutations

import numpy as np
import pytest

from behavior.errors import BadInput
from behavior.event import HOUR_US
from tests.training.simulation.worlds import FAR, chi_square, deviations, first_days, small
from training.simulation.memory import Memory
from training.simulation.policies import POLICIES, at_random, best, policy_named
from training.simulation.rhythm import Visit
from training.simulation.running import Offer, Reaction, Trace, run
from training.simulation.world import World


def traced(world: World, name: str, days: int = 14) -> Trace:
    """What a policy leads to in the world's first days."""
    policy, hear = policy_named(name, world)
    return run(world, policy, first_days(world, days), hear=hear)


@pytest.mark.parametrize("kind", ["category", "item"])
def test_outcomes_are_as_likely_as_the_truth_says(kind: str) -> None:
    """Clicks, additions and purchases at each position, and clicks of what is liked more and less, match the truth."""
    world = small(kind=kind, users=150, purchase=1.0, cart=1.0)
    truths, happened = [], []

    def hear(visit: Visit, offer: Offer, reaction: Reaction) -> None:
        truth, shown = offer.truth, reaction.shown
        truths.append((truth.clicks(shown), truth.cart[shown], truth.purchase[shown], truth.purchases(shown)))
        happened.append((reaction.clicked, reaction.added, reaction.bought))

    run(world, at_random(world)[0], first_days(world, 14), hear=hear)
    click, cart, purchase, whole = np.moveaxis(np.array(truths), 1, 0)
    clicked, added, bought = np.moveaxis(np.array(happened), 1, 0)
    for position in range(4):
        assert abs(deviations(clicked[:, position], click[:, position])) < FAR
        assert abs(deviations(bought[:, position], whole[:, position])) < FAR
    assert abs(deviations(added[clicked], cart[clicked])) < FAR
    assert abs(deviations(bought[added], purchase[added])) < FAR
    assert not (bought & ~added).any()
    assert not (added & ~clicked).any()
    part = np.searchsorted(np.quantile(click, np.arange(1, 10) / 10), click.ravel())
    counts = np.bincount(part, weights=clicked.ravel())
    assert abs(chi_square(counts, np.bincount(part, weights=click.ravel()))) < FAR


def test_the_bias_of_positions_can_be_recovered() -> None:
    """Shown at random, things are clicked at a position in proportion to how often it is looked at: 1 / (1 + k)^η."""
    world = small(users=150, slots=8, position_decay=0.7, click=-1.0)
    clicks = traced(world, "random", 14).clicked.sum(axis=0)
    slope, _ = np.polyfit(np.log(1 + np.arange(8)), np.log(clicks), 1, w=np.sqrt(clicks))
    x = np.log(1 + np.arange(8))
    spread = clicks @ (x - clicks @ x / clicks.sum()) ** 2
    assert abs(-slope - 0.7) < FAR / np.sqrt(spread)
    assert FAR / np.sqrt(spread) < 0.2


def test_nobody_depends_on_when_others_are_asked() -> None:
    """A user alone does the very same as among all others, to the last bit of what could be expected."""
    world = small()
    visits = first_days(world, 14)
    together = run(world, best(world)[0], visits)
    for user in range(0, 60, 7):
        alone = run(world, best(world)[0], [visit for visit in visits if visit.user == user])
        among = together.where(together.user == user)
        for field in fields(Trace):
            assert np.array_equal(getattr(alone, field.name), getattr(among, field.name)), field.name


def test_the_same_thing_at_the_same_place_finds_the_same_mood() -> None:
    """Two policies that show a user's first visit the same at a position get the same reaction to it."""
    world = small(users=400, click=0.0)
    ours, theirs = traced(world, "best", 3), traced(world, "random", 3)
    first = np.unique(ours.user, return_index=True)[1]
    same = ours.shown[first] == theirs.shown[first]
    assert same.sum() > 50
    assert (ours.clicked[first][same] == theirs.clicked[first][same]).all()
    assert 0 < ours.clicked[first][same].sum() < same.sum()


def test_no_order_has_more_expected_clicks_than_the_best() -> None:
    """All orders of five things, tried one by one."""
    world = small(categories=5, slots=3)
    memory = Memory(world.parameters)
    for visit in first_days(world, 1):
        truth = world.truth(visit, memory)
        all_orders = [truth.clicks(np.array(order)).sum() for order in permutations(range(5))]
        assert truth.clicks(truth.best()).sum() == pytest.approx(max(all_orders), abs=1e-12)


def test_known_policies_have_their_known_values() -> None:
    """Random has the mean of all things at each position; best has no regret; popular lies between them."""
    world = small(shown_fatigue=0.0, bought_fatigue=0.0)
    means: list[float] = []

    def hear(visit: Visit, offer: Offer, reaction: Reaction) -> None:
        means.append(offer.truth.attraction.mean() * offer.truth.examination.sum())

    visits = first_days(world, 14)
    chance = run(world, at_random(world)[0], visits, hear=hear)
    gap = chance.expected - np.array(means)
    assert abs(gap.mean()) < FAR * gap.std() / np.sqrt(len(gap))
    found = {name: traced(world, name) for name in POLICIES}
    assert (found["best"].regret == 0).all()
    assert (chance.regret >= 0).all()
    sums = {name: int(each.clicks.sum()) for name, each in found.items()}
    assert sums["random"] < 0.8 * sums["popular"]
    assert sums["popular"] < 0.95 * sums["best"]


def test_fatigue_wears_off() -> None:
    """What was looked at and bought is liked less, half as much less after the half-life, and nothing else is."""
    world = small()
    memory = Memory(world.parameters)
    memory.take(3, 0, np.array([2.0, 0, 0, 0, 0, 0, 0, 0]), np.array([0, 1, 0, 0, 0, 0, 0, 0]))
    now, later = memory.fatigue(3, 0), memory.fatigue(3, 24 * HOUR_US)
    assert now.tolist() == [0.1, 1.0, 0, 0, 0, 0, 0, 0]
    assert later.tolist() == [0.05, 0.5, 0, 0, 0, 0, 0, 0]
    assert not memory.fatigue(4, 0).any()
    tired = small(shown_fatigue=0.5)
    assert traced(tired, "random", 4).best.mean() < 0.8 * traced(small(shown_fatigue=0.0), "random", 4).best.mean()


@pytest.mark.parametrize("order", [[0, 0], [-1], [8]])
def test_an_order_that_is_none_is_refused(order: list[int]) -> None:
    """Twice the same, or nothing that there is."""
    world = small()
    with pytest.raises(BadInput, match="places from 0 to 7"):
        run(world, lambda visit, offer: order, first_days(world, 1))


def test_a_policy_may_show_less() -> None:
    """Positions that stay empty are no impressions, and nothing is clicked there."""
    world = small()
    trace = run(world, lambda visit, offer: [5], first_days(world, 3))
    assert (trace.shown == [5, -1, -1, -1]).all()
    assert not trace.clicked[:, 1:].any()
    assert (trace.events >= 1).all()


def test_an_unknown_policy_is_refused() -> None:
    """The sentence names those that there are."""
    with pytest.raises(BadInput, match="random, popular, best"):
        policy_named("clever", small())

"""What a trace says, tested on policies whose value is known."""

from functools import cache

import numpy as np
import pytest

from behavior.errors import BadInput
from behavior.event import DAY_US
from tests.training.simulation.worlds import day, first_days, small
from training.metrics import user_replicates
from training.simulation.policies import at_random, best
from training.simulation.rhythm import Visit
from training.simulation.running import Offer, Trace, run
from training.simulation.study import (
    around,
    click_rate,
    curve,
    expected_click_rate,
    more_clicks,
    rate,
    recovery,
    share_of_best,
)
from training.simulation.world import World

SHOCK_DAY, DAYS, SHAKEN = 8, 20, 1


@cache
def shaken() -> World:
    """A world in which one of two personas changes its mind after eight days, and nobody has tastes of their own."""
    shocks = [{"persona": SHAKEN, "at": "2024-01-09T00:00:00+00:00"}]
    return small(
        users=80, personas=2, categories=10, slots=3, own_spread=0.0, context_spread=0.0, shown_fatigue=0.0,
        bought_fatigue=0.0, taste_spread=1.5, shocks=shocks,
    )  # fmt: skip


AT = shaken().parameters.shocks[0].t


@cache
def learned(days: int) -> Trace:
    """What a policy leads to that ranks for each persona by its tastes, and knows new ones so many days too late."""
    world = shaken()
    knows = day(world.parameters, SHOCK_DAY + days)

    def order(visit: Visit, offer: Offer) -> np.ndarray:
        tastes = world.tastes.at(visit.t if visit.t >= knows else AT - 1)
        return np.argsort(-tastes[world.people.persona[visit.user]], kind="stable")

    return run(world, order, first_days(world, DAYS))


def frozen() -> Trace:
    """What a policy leads to that never knows the new tastes."""
    return learned(2 * DAYS)


def test_who_adapts_at_once_recovers_all() -> None:
    """Where tastes are permuted and known, the share is that of the new optimum in what was lost: about 1."""
    found = recovery(learned(0), frozen(), persona=SHAKEN, at=AT, after_events=0)
    assert found.lost_to.value < 0.6 * found.before.value
    assert found.reached.value == pytest.approx(found.before.value, rel=0.25)
    assert found.share.low <= found.share.value <= found.share.high
    assert found.share.value == pytest.approx(1, abs=0.35)
    assert found.visits == ((learned(0).persona == SHAKEN) & (learned(0).t >= AT)).sum()


def test_who_never_adapts_recovers_nothing() -> None:
    """The frozen policy beside itself: exactly 0, and an interval of no width."""
    found = recovery(frozen(), frozen(), persona=SHAKEN, at=AT, after_events=0)
    assert (found.share.value, found.share.low, found.share.high) == (0, 0, 0)


def test_only_what_comes_after_the_events_is_judged() -> None:
    """A policy that learns after five days has recovered nothing by then, and all of it afterwards."""
    adapting = learned(5)
    waited = (adapting.persona == SHAKEN) & (adapting.t >= AT) & (adapting.t < AT + 5 * DAY_US)
    events = int(adapting.events[waited].sum())
    whole = recovery(adapting, frozen(), persona=SHAKEN, at=AT, after_events=0)
    late = recovery(adapting, frozen(), persona=SHAKEN, at=AT, after_events=events)
    assert late.visits == whole.visits - waited.sum()
    assert 0 < whole.share.value < late.share.value


def test_other_personas_are_not_touched_by_a_shock() -> None:
    """They react to the very same as without it, so that harm to them is what a policy did, to the last click."""
    adapting = learned(0)
    others = adapting.persona != SHAKEN
    for field in ("shown", "clicked", "expected", "best"):
        assert (getattr(adapting, field)[others] == getattr(frozen(), field)[others]).all()
    harm = more_clicks(adapting.where(others), frozen().where(others))
    assert (harm.value, harm.low, harm.high) == (0, 0, 0)
    changed = around(frozen(), AT, share_of_best)
    assert [each.persona for each in changed] == [0, 1]
    assert changed[0].after.value == changed[0].before.value == 1
    assert changed[1].before.value == 1
    assert changed[1].after.high < 0.9


def test_more_clicks_of_the_better_policy_are_beyond_the_interval() -> None:
    """Best against random: the sum of what it has more, by expectation and as it happened, and the reverse of it."""
    world = small(users=120)
    visits = first_days(world, 14)
    ours, theirs = run(world, best(world)[0], visits), run(world, at_random(world)[0], visits)
    more = more_clicks(ours, theirs)
    assert more.value == ours.clicks.sum() - theirs.clicks.sum()
    assert 0 < more.low < more.value < more.high
    expected = more_clicks(ours, theirs, expected_click_rate)
    assert more.low < expected.value < more.high
    assert more_clicks(theirs, ours).value == -more.value


def test_a_rate_and_its_interval_are_those_of_resampled_users() -> None:
    """Against an oracle that draws users one by one, with all the visits of each."""
    world = small()
    trace = run(world, at_random(world)[0], first_days(world, 7))
    found = rate(trace, click_rate, replicates=50)
    users = sorted(set(trace.user.tolist()))
    replicated = []
    for row in user_replicates(len(users), 50, 1):
        drawn = [user for user, times in zip(users, row, strict=True) for _ in range(times)]
        clicks = [trace.clicks[trace.user == user] for user in drawn]
        replicated.append(np.concatenate(clicks).mean())
    assert found.value == trace.clicks.mean()
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(replicated, [0.025, 0.975])))


def test_a_curve_ends_in_the_sums() -> None:
    """Cumulative figures grow to those of the whole trace, and the band contains the regret."""
    world = small()
    trace = run(world, at_random(world)[0], first_days(world, 7))
    found = curve(trace, points=20)
    assert len(found.t) == 20
    assert (found.visits[-1], found.clicks[-1]) == (len(trace), trace.clicks.sum())
    assert found.regret[-1] == pytest.approx(trace.best.sum() - trace.expected.sum())
    assert (np.diff(found.regret) >= 0).all()
    assert (found.low <= found.regret).all()
    assert (found.regret <= found.high).all()
    half = trace.where(np.arange(len(trace)) < found.visits[9])
    assert found.regret[9] == pytest.approx(half.regret.sum())


def test_what_cannot_be_compared_is_refused() -> None:
    """No visits, or other visits: one sentence."""
    world = small()
    visits = first_days(world, 3)
    long, short = (run(world, at_random(world)[0], some) for some in (visits, visits[:-1]))
    with pytest.raises(BadInput, match="not of the same visits"):
        more_clicks(long, short)
    with pytest.raises(BadInput, match="no visits"):
        rate(long.where(np.zeros(len(long), dtype=bool)))
    with pytest.raises(BadInput, match="persona 0 has no visits"):
        recovery(long, long, persona=0, at=day(world.parameters, 2), after_events=10**9)

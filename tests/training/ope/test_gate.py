"""The gate lets pass what is surely no worse, and refuses what the log cannot tell."""

from dataclasses import replace

import numpy as np
import pytest

from tests.training.ope.world import World
from training.ope.decisions import Decisions
from training.ope.evaluation import Evaluated, evaluated
from training.ope.gate import Limits, judge

WORLD = World.of_seed(1)
LOG = WORLD.log(400, 5, seed=1)


def told(decisions: Decisions, clip: float | None = None) -> Evaluated:
    return evaluated(decisions, candidate="c", rewards={"click": 1.0}, window_us=1, pool=6.0, clip=clip)


def test_a_better_candidate_passes() -> None:
    """The lower bound of the difference by DR is above 0."""
    verdict = judge(told(LOG))
    assert verdict.promote
    assert "the lower bound is above" in verdict.reasons[0]


def test_a_worse_one_is_refused_unless_the_margin_allows_it() -> None:
    """Where what does not come of a position is rewarded, who earns more clicks earns less."""
    worse = replace(LOG, reward=(1 - LOG.reward) / 2)
    assert not judge(told(worse)).promote
    assert judge(told(worse), Limits(margin=1.0)).promote
    with_same = replace(LOG, candidate=LOG.logged)
    assert judge(told(with_same), Limits(margin=0.05)).promote


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        (WORLD.log(20, 5, seed=1), "of equal weight, below 200"),
        (replace(LOG, reward=LOG.reward * (np.arange(len(LOG)) < 40)[:, None]), "rewarded positions count as"),
        (replace(LOG, unsupported=np.full(LOG.reward.shape, 0.02)), "what the log gave no chance to"),
    ],
    ids=["few answers", "few outcomes", "no overlap"],
)  # fmt: skip
def test_what_the_log_cannot_tell_is_refused(decisions: Decisions, said: str) -> None:
    """Even with a margin that allows everything, with the reason."""
    verdict = judge(told(decisions), Limits(margin=1.0))
    assert not verdict.promote
    assert any(said in reason for reason in verdict.reasons)


def test_caveats_are_said() -> None:
    """Few outcomes, little overlap, no support, weights that cannot be, what clipping costs; and always the pool."""
    assert len(told(LOG).caveats) == 1
    few = told(WORLD.log(20, 5, seed=1)).caveats
    assert few[0].startswith("Few outcomes")
    assert few[1].startswith("Little overlap")
    assert any("cuts off" in each for each in told(LOG, clip=3.0).caveats)
    assert any("no chance to" in each for each in told(replace(LOG, unsupported=LOG.candidate * 0.1)).caveats)
    assert any("are not those that drew" in each for each in told(replace(LOG, logged=LOG.logged * 0.5)).caveats)
    assert all("outside of the pools" in each[-1] for each in (told(LOG).caveats, few))


def test_weights_are_told_position_by_position() -> None:
    """Their mean is 1, and those of whole answers count as the fewest answers of equal weight."""
    found = told(LOG).diagnostics
    weights = LOG.weights()
    assert [each.mean for each in found.positions] == pytest.approx(weights.mean(axis=0))
    assert all(abs(each.mean - 1) < 4 * each.error for each in found.positions)
    assert found.effective == pytest.approx(weights[:, 1].sum() ** 2 / (weights[:, 1] ** 2).sum())
    assert found.effective < found.positions[0].effective < len(LOG)
    assert found.greatest == pytest.approx(weights.max())

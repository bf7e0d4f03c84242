"""Estimators of a candidate's value: the mean sum of the rewards of an answer, had the candidate drawn it.

    IPS     Σ_l w_l r_l                                                     unbiased; as noisy as the weights are uneven
    SNIPS   Σ_l (Σ w_l r_l) / (Σ w_l)                                       its bias vanishes as 1/n; far less noisy
    DR      Σ_l w_l (r_l − Q_l(shown)) + w_(l−1) Q_l(expected)              unbiased; the better the model, the quieter

w_l is the product of candidate / logged chances up to position l: the cascade model (McInerney et al., Counterfactual
Evaluation of Slate Recommendations with Sequential Reward Interactions, KDD 2020; DR: Kiyohara et al., Doubly Robust
Off-Policy Evaluation for Ranking Policies under the Cascade Behavior Model, WSDM 2022). Of one position they are the
classical estimators.
"""

import numpy as np

from training.ope.decisions import Decisions
from training.ope.intervals import RatioSum
from training.ope.reward_model import RewardsToCome

IPS, SNIPS, DR = "IPS", "SNIPS", "DR"


def logged(decisions: Decisions) -> RatioSum:
    """What the log really earned."""
    return _mean(decisions, decisions.reward.sum(axis=1))


def ips(decisions: Decisions, clip: float | None = None) -> RatioSum:
    """Inverse propensity scoring."""
    return _mean(decisions, (decisions.weights(clip) * decisions.reward).sum(axis=1))


def snips(decisions: Decisions, clip: float | None = None) -> RatioSum:
    """Self-normalised inverse propensity scoring, position by position."""
    weights = decisions.weights(clip)
    return RatioSum.of(decisions.user, weights * decisions.reward, weights)


def dr(decisions: Decisions, to_come: RewardsToCome, clip: float | None = None) -> RatioSum:
    """Doubly robust, with what a model that has not seen the user expects from each position on."""
    weights = decisions.weights(clip)
    before = np.hstack([np.ones((len(decisions), 1)), weights[:, :-1]])
    corrected = weights * (decisions.reward - to_come.shown) + before * to_come.expected
    return _mean(decisions, corrected.sum(axis=1))


def dr_of_log(decisions: Decisions, to_come: RewardsToCome) -> RatioSum:
    """What the log earns, estimated by the same model: what DR is compared with.

    Unbiased too, and what the model adds to the noise of both cancels: nothing is left of it in the difference of a
    candidate that does what the log did.
    """
    return _mean(decisions, (decisions.reward - to_come.shown + to_come.expected_of_log).sum(axis=1))


def _mean(decisions: Decisions, values: np.ndarray) -> RatioSum:
    return RatioSum.of(decisions.user, values[:, None], np.ones((len(values), 1)))

"""Rates that forget, of groups within groups: the formulas, for one number or for arrays of them.

Successes and trials lose half of their weight per half-life of event time. A group leans on the group that it is part
of by as many trials as `strength` says, which succeeded at that group's mean; the outermost leans on the prior:

    Beta(a, b):  a = successes + strength × mean of the outer group,  a + b = trials + strength,  mean = a / (a + b)

Shrinkage of beta-binomial rates: Gelman et al., "Bayesian Data Analysis", 3rd ed., chapter 5. Forgetting, so that
Thompson sampling explores again: Russo et al., "A Tutorial on Thompson Sampling", 2018, section 6.3. That rewards
between 0 and 1 may stand for successes: Agrawal and Goyal, "Analysis of Thompson Sampling", COLT 2012.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from behavior.event import DAY_US

# The groups within groups that rates are kept of, by their names in keys.
CATEGORY_RATES = "category"
BLOCK_RATES = "block"
Amount = TypeVar("Amount", float, np.ndarray)


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """How rates forget and what they lean on.

    half_life_d      days of event time in which a trial loses half of its weight
    prior_successes, prior_trials   what the outermost group leans on
    strength         how many trials of its outer group's mean a group leans on

    >>> shrinkage = Shrinkage(half_life_d=1.0, prior_successes=1.0, prior_trials=4.0, strength=10.0)
    >>> shrinkage.kept(86_400_000_000.0)
    0.5
    >>> shrinkage.beta(2.0, 10.0, outer_mean=0.25)  # a mean of 0.225, between 2 of 10 and 1 of 4
    (4.5, 15.5)
    """

    half_life_d: float = 30.0
    prior_successes: float = 1.0
    prior_trials: float = 50.0
    strength: float = 20.0

    @property
    def prior_mean(self) -> float:
        """What a rate is before anything is known."""
        return self.prior_successes / self.prior_trials

    def kept(self, age_us: Amount) -> Amount:
        """The share of its weight that something of this age has left."""
        share: Amount = 0.5 ** (age_us / (self.half_life_d * DAY_US))
        return share

    def beta(self, successes: Amount, trials: Amount, outer_mean: float | None = None) -> tuple[Amount, Amount]:
        """The (a, b) of a group within one of this mean; of the outermost, without any. Both are above 0.

        A reward may come when its trial has begun to be forgotten: there can be more successes left than trials.
        """
        mean, strength = (self.prior_mean, self.prior_trials) if outer_mean is None else (outer_mean, self.strength)
        more = trials - successes
        failures = (more + abs(more)) / 2.0  # max(more, 0), of numbers and arrays alike
        return successes + strength * mean, failures + strength * (1.0 - mean)


# What learners and scorers take alike.
SHRINKAGE = Shrinkage()

"""A small world whose truth is known: users of two tastes, a pool of six, two positions, a cascade of clicks."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from behavior.exploration import PLACKETT_LUCE
from training.ope.decisions import Decisions, compared
from training.ope.policies import Policy, of_drawn

# Contexts that decisions are made in, things in each pool, positions, factors of the scores.
CONTEXTS, POOL, POSITIONS, FACTORS = 40, 6, 2, 2
# What the log draws by, and what is asked about: other weights, and another temperature.
LOG_WEIGHTS, LOG_POLICY = np.array([1.0, 0.0]), Policy(PLACKETT_LUCE, 1.0)
ASKED_WEIGHTS, ASKED_POLICY = np.array([0.7, 0.9]), Policy(PLACKETT_LUCE, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """What does not change from one log to the next.

    values   float64[contexts, pool, factors]
    clicks   float64[tastes, contexts, pool], the chance of a click on what is looked at
    """

    values: np.ndarray
    clicks: np.ndarray

    @classmethod
    def of_seed(cls, seed: int) -> "World":
        """The second factor is what users really want; those of the second taste click half as often."""
        generator = np.random.default_rng(seed)
        values = generator.normal(size=(CONTEXTS, POOL, FACTORS))
        wanted = -1.5 + 0.3 * values[..., 0] + 0.8 * values[..., 1] + generator.normal(scale=0.3, size=(CONTEXTS, POOL))
        clicks = 1 / (1 + np.exp(-wanted))
        return cls(values, np.stack([clicks, clicks / 2]))

    def value(self, weights: np.ndarray, policy: Policy) -> float:
        """The mean number of clicks of an answer, by enumeration: who clicks looks no further."""
        orders = np.array(list(permutations(range(POOL), POSITIONS)))
        scores = np.repeat((self.values @ weights)[:, None], len(orders), axis=1)
        chances = of_drawn(policy.chances(scores, np.broadcast_to(orders, (CONTEXTS, *orders.shape))), orders[None])
        clicked = self.clicks[:, :, orders]
        looked = np.cumprod(np.concatenate([np.ones((*clicked.shape[:-1], 1)), 1 - clicked[..., :-1]], -1), axis=-1)
        return float((chances.prod(axis=-1) * (looked * clicked).sum(axis=-1)).sum(axis=-1).mean())

    def log(self, users: int, each: int, seed: int) -> Decisions:
        """So many answers to each user, drawn by the log's policy, as evaluation gets them."""
        generator = np.random.default_rng(seed)
        n = users * each
        user = np.repeat(np.arange(users), each)
        taste = generator.integers(2, size=users)[user]
        context = generator.integers(CONTEXTS, size=n)
        values = self.values[context]
        drawn = self._drawn(generator, values @ LOG_WEIGHTS)
        clicks = np.take_along_axis(self.clicks[taste, context], drawn, axis=1)
        would = generator.random(drawn.shape) < clicks
        reward = (would & (np.cumsum(would, axis=1) == 1)).astype(np.float64)
        kept = LOG_POLICY.chances(values @ LOG_WEIGHTS, drawn)
        asked = ASKED_POLICY.chances(values @ ASKED_WEIGHTS, drawn)
        return Decisions(
            user, np.full(n, POSITIONS), reward, of_drawn(kept, drawn), of_drawn(asked, drawn),
            *compared(kept, asked, values, drawn),
        )  # fmt: skip

    @staticmethod
    def _drawn(generator: np.random.Generator, scores: np.ndarray) -> np.ndarray:
        """Plackett–Luce by Gumbel noise: the order of noisy scores."""
        noisy = scores / LOG_POLICY.strength + generator.gumbel(size=scores.shape)
        return np.argsort(-noisy, axis=1)[:, :POSITIONS]

"""Policies that draw an order from a pool of candidates, and the chances that they give.

An order is drawn position by position: each next one of those that are left, given what stands before it. So a whole
order's chance is the product of its conditional chances, and two policies are compared position by position. The
formulas are those of `behavior.exploration`, for many decisions at once and all of the pool.
"""

from dataclasses import dataclass

import numpy as np

from behavior.exploration import EPSILON_GREEDY, PLACKETT_LUCE


@dataclass(frozen=True, slots=True)
class Policy:
    """How an order is drawn of scores.

    kind       `epsilon-greedy`: with chance `strength` any of those that are left, else the best of them;
               `plackett-luce`: one of those that are left by the softmax of score / `strength`
    strength   0 to 1 of epsilon-greedy, where 0 is the order of the scores; above 0 of Plackett–Luce, in logits
    """

    kind: str
    strength: float

    def __str__(self) -> str:
        """As part of a sentence."""
        if self.kind == EPSILON_GREEDY:
            return f"epsilon-greedy {self.strength:g}" if self.strength else "greedy"
        return f"{self.kind} {self.strength:g}"

    def chances(self, scores: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """The chance of each of the pool at each position, given what was drawn before it: float64[..., m, p].

        scores   float64[..., p], finite, of the pool
        drawn    int64[..., m], which of the pool stands at each position, each once
        Of equal scores the earlier in the pool is the better. What stands already has chance 0.

        >>> Policy("epsilon-greedy", 0.3).chances(np.array([2.0, 1.0, 0.0]), np.array([1, 0])).round(2).tolist()
        [[0.8, 0.1, 0.1], [0.85, 0.0, 0.15]]
        """
        left = _left(drawn, scores.shape[-1])
        best = np.where(left, scores[..., None, :], -np.inf)
        if self.kind == PLACKETT_LUCE:
            odds = np.exp((best - best.max(axis=-1, keepdims=True)) / self.strength)
            found: np.ndarray = odds / odds.sum(axis=-1, keepdims=True)
        else:
            found = left * (self.strength / left.sum(axis=-1, keepdims=True))
            first = best.argmax(axis=-1)[..., None]
            np.put_along_axis(found, first, np.take_along_axis(found, first, -1) + (1 - self.strength), -1)
        return found


def of_drawn(chances: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The chance of what was drawn at each position, float64[..., m], of chances float64[..., m, p]."""
    found: np.ndarray = np.take_along_axis(chances, drawn[..., None], -1)[..., 0]
    return found


def _left(drawn: np.ndarray, pool: int) -> np.ndarray:
    """Which of the pool are left at each position, bool[..., m, p]."""
    is_drawn = drawn[..., None] == np.arange(pool)
    left: np.ndarray = np.cumsum(is_drawn, axis=-2) - is_drawn == 0
    return left

"""Exploration: orders that are drawn, so that what another policy would have earned can be told from what was shown.

A policy draws position after position from those that are left of a pool. Its step says how likely each of them is to
be next, so the chance of every position, given those before it, is known exactly; their product is the chance of the
whole order.

    epsilon-greedy   with probability ε any of those left, each alike; else the best of them
    plackett-luce    softmax of score / temperature over those left (Plackett, "The Analysis of Permutations", 1975):
                     the order of scores with Gumbel noise of that scale
    thompson         by one draw of each one's rate from its Beta distribution (Thompson, 1933); its chances have no
                     closed form and are estimated

Serving draws with it, an evaluation asks how likely another policy would have drawn the same. Pure: the uniform numbers
follow from the name of the request, so that the same request is drawn the same way everywhere.
"""

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np

EPSILON_GREEDY, PLACKETT_LUCE, THOMPSON = "epsilon-greedy", "plackett-luce", "thompson"
POLICIES = (EPSILON_GREEDY, PLACKETT_LUCE, THOMPSON)
# Of the others, how they draw cannot be told exactly.
EXACT = (EPSILON_GREEDY, PLACKETT_LUCE)

# The probability of each of the places that are left to be the next.
Step = Callable[[Sequence[int]], list[float]]


def greedy(scores: Sequence[float]) -> Step:
    """The best of those left, of equal ones the first; nothing else."""
    return epsilon_greedy(scores, 0.0)


def epsilon_greedy(scores: Sequence[float], epsilon: float) -> Step:
    """The best of those left, but with probability ε any of them.

    >>> epsilon_greedy([2.0, 1.0], epsilon=0.5)([0, 1])
    [0.75, 0.25]
    """

    def step(left: Sequence[int]) -> list[float]:
        best = max(left, key=scores.__getitem__)
        by_chance = epsilon / len(left)
        return [by_chance + (1.0 - epsilon) if place == best else by_chance for place in left]

    return step


def plackett_luce(scores: Sequence[float], temperature: float) -> Step:
    """Those left in proportion to exp(score / temperature); the temperature is in logits, above 0.

    >>> plackett_luce([1.0, 1.0, -1e9], temperature=0.5)([0, 1, 2])
    [0.5, 0.5, 0.0]
    """

    def step(left: Sequence[int]) -> list[float]:
        best = max(scores[place] for place in left)
        weights = [math.exp((scores[place] - best) / temperature) for place in left]
        total = math.fsum(weights)  # the same whatever the order of the addends
        return [weight / total for weight in weights]

    return step


def step_of(policy: str, scores: Sequence[float], strength: float) -> Step:
    """The step of a policy whose chances are exact: of its scores, and its ε or temperature."""
    return epsilon_greedy(scores, strength) if policy == EPSILON_GREEDY else plackett_luce(scores, strength)


def drawn(step: Step, size: int, uniforms: Sequence[float]) -> tuple[list[int], list[float]]:
    """An order of len(uniforms) places out of `size`, and the chance of each position given those before it.

    uniforms   one number in [0, 1) for each position

    >>> drawn(greedy([1.0, 3.0, 2.0]), 3, [0.9, 0.9])
    ([1, 2], [1.0, 1.0])
    """
    left, order, chances = list(range(size)), [], []
    for uniform in uniforms:
        likely = step(left)
        at = _hit(likely, uniform)
        chances.append(likely[at])
        order.append(left.pop(at))
    return order, chances


def chances_of(step: Step, size: int, order: Sequence[int]) -> list[float]:
    """The chance of each position of an order out of `size` places, given those before it; 0 where it never draws so.

    >>> chances_of(epsilon_greedy([1.0, 3.0, 2.0], 0.3), 3, [1, 0])  # doctest: +ELLIPSIS
    [0.79..., 0.15]
    """
    left, chances = list(range(size)), []
    for place in order:
        at = left.index(place)
        chances.append(step(left)[at])
        del left[at]
    return chances


def uniforms(name: str, n: int) -> list[float]:
    """n numbers in [0, 1), multiples of 2^-53, that follow from a name: the same ones on every machine.

    Drawn from the raw stream of Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), which
    numpy keeps as it is from version to version.
    """
    raw = np.random.Philox(key=_key(name)).random_raw(n)
    found: list[float] = ((raw >> np.uint64(11)) * 2.0**-53).tolist()
    return found


def thompson(name: str, a: np.ndarray, b: np.ndarray, most: int, replicates: int) -> tuple[list[int], list[float]]:
    """The order of the best `most` of one draw from Beta(a, b), a and b float64[p] above 0, and estimated chances.

    The chance of a position is the share of `replicates` further draws, and this one, in which what stands there is the
    best of those left: never 0. Draws follow from the name, for one version of numpy.
    """
    rates = np.random.Generator(np.random.Philox(key=_key(name))).beta(a, b, size=(replicates + 1, len(a)))
    order: list[int] = np.argsort(-rates[0], kind="stable")[:most].tolist()
    chances = []
    for place in order:
        chances.append(float(np.mean(rates.argmax(axis=1) == place)))
        rates[:, place] = -1.0
    return order, chances


def _key(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=16, person=b"exploration").digest(), "little")


def _hit(likely: Sequence[float], uniform: float) -> int:
    """The place where the sum of probabilities passes the uniform number; never one of probability 0."""
    passed = 0.0
    last = 0
    for at, each in enumerate(likely):
        if each > 0.0:
            passed += each
            last = at
            if uniform < passed:
                return at
    return last  # the sum may be an ulp short of 1

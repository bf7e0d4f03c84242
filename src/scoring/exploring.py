"""Exploring: the order of the best is drawn, and what it was drawn from is kept, with how likely it was.

Drawn positions come first; where more are shown than are drawn from, the others follow in the order of their scores,
which is certain. What is drawn follows from the request's id, so that an entry can be drawn again and held against what
it says.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from behavior.exploration import EXACT, drawn, step_of, thompson, uniforms
from behavior.relevance import added
from behavior.served import ITEM, Explored, Served
from scoring.candidates import Candidates
from scoring.factors import Weighed
from scoring.placements import Exploration

# Further draws that Thompson's chances are estimated from: to three points of a hundred.
REPLICATES = 256

# The Beta distributions of the rates of the candidates at some places: a and b, float64 each, above 0.
Rates = Callable[[Sequence[int]], tuple[np.ndarray, np.ndarray]]


class Draw(NamedTuple):
    """The places that are shown, in their order, and how it was drawn."""

    order: list[int]
    explored: Explored


def draw(
    name: str, said: Exploration, best: Sequence[int], most: int, weighed: Sequence[Weighed], candidates: Candidates,
    rates: Rates,
) -> Draw:  # fmt: skip
    """The order of at most `most` of the candidates (0 for all), drawn as the placement says.

    name      of the request, which the draw follows from
    best      the places of all candidates, the best first
    weighed   what their scores are made of
    rates     asked by Thompson only
    """
    pool, behind = list(best[: said.over]), best[said.over :]
    m = min(most or len(best), len(best))
    values = np.stack([each.values[pool] for each in weighed], axis=1) if weighed else np.zeros((len(pool), 0))
    beta = np.stack(rates(pool), axis=1) if said.policy not in EXACT else np.zeros((0, 2))
    explored = Explored(
        policy=said.policy,
        strength=said.strength,
        chances=b"",
        pool=tuple(candidates.ids[place] for place in pool),
        values=_float64(values),
        categories=tuple(candidates.categories[place] for place in pool) if candidates.kind == ITEM else (),
        is_exact=said.policy in EXACT,
        rates=_float64(beta),
    )
    places, chances = redrawn(name, explored, [each.weight for each in weighed], m)
    order = [*[pool[place] for place in places], *behind][:m]
    chances += [1.0] * (len(order) - len(chances))
    return Draw(order, replace(explored, chances=_float64(chances)))


def redrawn(name: str, explored: Explored, weights: Sequence[float], m: int) -> tuple[list[int], list[float]]:
    """The places in the pool of at most m positions as they are drawn, and the chance of each."""
    size = len(explored.pool)
    most = min(m, size)
    if explored.policy not in EXACT:
        a, b = np.frombuffer(explored.rates, dtype="<f8").reshape(size, 2).T
        return thompson(name, a, b, most, REPLICATES)
    step = step_of(explored.policy, pool_scores(explored, weights), explored.strength)
    return drawn(step, size, uniforms(name, most))


def pool_scores(explored: Explored, weights: Sequence[float]) -> list[float]:
    """The scores of the pool: weight × value of each factor, added as every breakdown is."""
    size = len(explored.pool)
    columns = np.frombuffer(explored.values, dtype="<f8").reshape(size, len(weights)).T
    scores: list[float] = added(
        [weight * values for weight, values in zip(weights, columns, strict=True)], size
    ).tolist()
    return scores


def is_as_drawn(entry: Served) -> bool:
    """Whether what an entry shows is what its request draws, with the very chances that it says."""
    explored = entry.explored
    if explored is None:
        return True
    m = len(entry.shown)
    places, chances = redrawn(entry.request_id, explored, [weight for _, weight in entry.factors], m)
    ids = [explored.pool[place] for place in places]
    chances += [1.0] * (m - len(chances))
    return ids == [each.id for each in entry.shown[: len(ids)]] and _float64(chances) == explored.chances


def _float64(numbers: "np.ndarray | Sequence[float]") -> bytes:
    return np.ascontiguousarray(numbers, dtype="<f8").tobytes()

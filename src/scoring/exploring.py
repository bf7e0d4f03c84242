"""Exploring: the order of the best is drawn, and what it was drawn from is kept, with how likely it was.

Drawn positions come first; where more are shown than are drawn from, the others follow in the order of their scores,
which is certain. What is drawn follows from the request's id, so that an entry can be drawn again and held against what
it says.
"""

import math
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from behavior.exploration import EXACT, POLICIES, drawn, step_of, thompson, uniforms
from behavior.relevance import added
from behavior.served import ITEM, Explored, Served
from scoring.candidates import Candidates
from scoring.factors import Weighed
from scoring.placements import Exploration

# Further draws that Thompson's chances are estimated from: to three points of a hundred.
REPLICATES = 256

# The Beta distributions of the rates of the candidates at some places: a and b, float64 each, above 0.
Rates = Callable[[Sequence[int]], tuple[np.ndarray, np.ndarray]]


class Drawing(NamedTuple):
    """How the order of one answer is drawn.

    name    of the request, which the draw follows from
    said    what the placement says of it
    rates   asked by Thompson only
    """

    name: str
    said: Exploration
    rates: Rates


class Draw(NamedTuple):
    """The places that are shown, in their order, and how it was drawn."""

    order: list[int]
    explored: Explored


class Position(NamedTuple):
    """What stands at a position of an explored answer.

    category   of an item; empty of a category
    by_score   its position by score alone, from 1
    chance     the probability that it was drawn, given what stands before it
    values     those of its factors, float64 little-endian
    """

    id: str
    category: str
    by_score: int
    chance: float
    values: bytes


def draw(drawing: Drawing, best: Sequence[int], most: int, weighed: Sequence[Weighed], candidates: Candidates) -> Draw:
    """The order of at most `most` of the candidates (0 for all), drawn as the placement says.

    best      the places of the best, the best first: of all that are drawn from or may be shown
    weighed   what their scores are made of
    """
    said = drawing.said
    is_exact = said.policy in EXACT
    pool, behind = best[: said.over], best[said.over :]
    m = min(most or len(best), len(best))
    rows = np.array(pool, dtype=np.intp)
    values = np.stack([each.values[rows] for each in weighed], axis=1) if weighed else np.zeros((len(pool), 0))
    explored = Explored(
        policy=said.policy,
        strength=said.strength,
        chances=b"",
        pool=tuple([candidates.ids[place] for place in pool]),
        values=_float64(values),
        categories=tuple([candidates.categories[place] for place in pool]) if candidates.kind == ITEM else (),
        is_exact=is_exact,
        rates=b"" if is_exact else _float64(np.stack(drawing.rates(pool), axis=1)),
    )
    places, chances = redrawn(drawing.name, explored, [each.weight for each in weighed], m)
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


def chances_in(explored: Explored) -> list[float]:
    """The chance of each shown position."""
    found: list[float] = np.frombuffer(explored.chances, dtype="<f8", count=len(explored.chances) // 8).tolist()
    return found


def drawn_again(entry: Served) -> list[Position]:
    """The positions of an entry as its request draws them from the pool; none if nothing can be drawn from it.

    Behind the pool stands what the entry says, in the order of the scores, which is certain.
    """
    explored = entry.explored
    if explored is None or explored.policy not in POLICIES or explored.is_exact != (explored.policy in EXACT):
        return []
    try:
        return _from_pool(entry, explored) + _behind(entry, len(explored.pool))
    except (ValueError, ArithmeticError, LookupError):  # an altered entry may say anything
        return []


def _from_pool(entry: Served, explored: Explored) -> list[Position]:
    size, weights = len(explored.pool), [weight for _, weight in entry.factors]
    places, chances = redrawn(entry.request_id, explored, weights, len(entry.shown))
    categories, values = explored.categories or [""] * size, _rows(explored.values, size)
    return [
        Position(explored.pool[place], categories[place], place + 1, chance, values[place])
        for place, chance in zip(places, chances, strict=True)
    ]


def _behind(entry: Served, size: int) -> list[Position]:
    m = len(entry.shown)
    categories, values = entry.categories or [""] * m, _rows(entry.values, m)
    return [
        Position(entry.shown[place].id, categories[place], place + 1, 1.0, values[place]) for place in range(size, m)
    ]


def as_journalled(entry: Served) -> list[Position]:
    """The positions of an entry as it says them itself; a chance that it does not say is not a number."""
    m = len(entry.shown)
    by_score = entry.relevance_positions or range(1, m + 1)
    ids, categories = [each.id for each in entry.shown], entry.categories or [""] * m
    chances = chain(chances_in(entry.explored) if entry.explored else (), repeat(math.nan))
    return list(map(Position, ids, categories, by_score, chances, _rows(entry.values, m)))


def _rows(data: bytes, n: int) -> list[bytes]:
    """n equal parts."""
    width = len(data) // max(n, 1)
    return [data[place * width : (place + 1) * width] for place in range(n)]


def _float64(numbers: "np.ndarray | Sequence[float]") -> bytes:
    return np.ascontiguousarray(numbers, dtype="<f8").tobytes()

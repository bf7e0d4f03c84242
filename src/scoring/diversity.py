"""Diversity: the best are mixed by category. It changes places, never scores."""

from collections.abc import Sequence

import numpy as np

from scoring.placements import Diversity


def diversified(order: Sequence[int], scores: np.ndarray, categories: Sequence[str], diversity: Diversity) -> list[int]:
    """The places in the order of maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998).

    Chosen next is the greatest λ·relevance − (1 − λ)·similarity to what was chosen already, ties as in `order`.
    Relevance is the score, scaled to 0..1 over those that are mixed, so that λ means the same for every user;
    similarity is 1 within a category and 0 between two. What has no category resembles nothing.

    order       places, best first
    scores      float64[n]
    categories  n

    >>> mixed = diversified([0, 1, 2], np.array([3.0, 2.9, 1.0]), ["TEA", "TEA", "RICE"], Diversity(0.5))
    >>> mixed
    [0, 2, 1]
    """
    head = list(order[: diversity.over])
    rest = list(order[diversity.over :])
    if len(head) < 2 or diversity.relevance == 1.0:
        return [*head, *rest]
    relevance = scores[head]
    span = float(relevance[0] - relevance[-1])
    scaled = (relevance - relevance[-1]) / span if span > 0 else np.zeros(len(head))
    # Within a category the more relevant is always chosen first, unpunished, and each one after it is punished once:
    # whatever the choices before, a place's value is known from the start, and choosing one by one is sorting by it.
    value = diversity.relevance * scaled - (1.0 - diversity.relevance) * _repeats(head, categories)
    return [head[place] for place in np.argsort(-value, kind="stable").tolist()] + rest


def _repeats(head: Sequence[int], categories: Sequence[str]) -> np.ndarray:
    """float64: 1 for each place whose category has been there before, else 0."""
    seen: set[str] = {""}
    repeats = np.zeros(len(head))
    for position, place in enumerate(head):
        category = categories[place]
        repeats[position] = category in seen and category != ""
        seen.add(category)
    return repeats

"""Diversity: the order of maximal marginal relevance, found by sorting, is that of choosing one by one."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.candidates import Candidates
from scoring.diversity import diversified
from scoring.placements import OF_REQUEST, Diversity
from scoring.ranking import Scored, rank
from scoring.standing import Standing


def one_by_one(order: Sequence[int], scores: np.ndarray, categories: Sequence[str], said: Diversity) -> list[int]:
    """Carbonell and Goldstein's definition, as slow as it reads."""
    head, rest = list(order[: said.over]), list(order[said.over :])
    best, worst = scores[head[0]], scores[head[-1]]
    chosen: list[int] = []
    while head:

        def value(place: int) -> float:
            relevance = (scores[place] - worst) / (best - worst) if best > worst else 0.0
            alike = any(categories[place] == categories[other] != "" for other in chosen)
            return float(said.relevance * relevance - (1.0 - said.relevance) * alike)

        chosen.append(max(head, key=lambda place: (value(place), -order.index(place))))
        head.remove(chosen[-1])
    return chosen + rest


@given(
    of=st.lists(st.tuples(st.integers(-4, 4), st.sampled_from(["", "a", "b", "c"])), min_size=1, max_size=14),
    relevance=st.sampled_from([0.0, 0.25, 0.5, 0.7, 0.9, 1.0]),
    over=st.integers(2, 16),
)
def test_sorting_is_choosing_one_by_one(of: list[tuple[int, str]], relevance: float, over: int) -> None:
    """The same order as the definition, ties included; nothing is lost, and what lies behind stays."""
    scores, categories = np.array([score / 3 for score, _ in of]), [category for _, category in of]
    order = rank(scores, [f"{place:02}" for place in range(len(of))])
    said = Diversity(relevance, over)
    found = diversified(order, scores, categories, said)
    assert found == one_by_one(order, scores, categories, said)
    assert found[over:] == order[over:]


@pytest.mark.parametrize(("relevance", "ids"), [(1.0, "abcd"), (0.5, "acbd"), (0.0, "acbd")])
def test_mixing_changes_places_and_no_score(relevance: float, ids: str) -> None:
    """Each keeps its score and its place by score; only the order is another."""
    scores = np.array([3.0, 2.0, 1.0, 0.0])
    candidates = Candidates("item", tuple("abcd"), ("X", "X", "Y", "Y"), (OF_REQUEST,))
    scored = Scored(candidates, np.zeros((4, 1), np.float32), scores, scores, scores, (), scores)
    ranked = scored.ranked(0, {}, Standing(), Diversity(relevance))
    assert "".join(each.id for each in ranked) == ids
    assert {each.id: (each.score, each.relevance_position) for each in ranked} == {
        "a": (3.0, 1), "b": (2.0, 2), "c": (1.0, 3), "d": (0.0, 4),
    }  # fmt: skip
    assert list(scored.ranked(2, {}, Standing(), Diversity(relevance))) == list(ranked)[:2]
    assert [each.relevance_position for each in scored.ranked(3, {}, Standing())] == [1, 2, 3]

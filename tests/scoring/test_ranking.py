"""The ranking: who is shown, in which order, and that the compiled parts pick what numpy picks."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring import ranking as rooms
from scoring.ranking import picked, propensities_of, propensity_of, rank, rows_at, sorted_places

numbers = st.sampled_from([0.0, -0.0, 1.0, -1.5, 5e-324, math.inf, -math.inf]) | st.floats(allow_nan=False)
candidates = st.lists(st.tuples(st.text(max_size=3), numbers), max_size=60, unique_by=lambda each: each[0])


@given(candidates, st.integers(0, 50))
def test_the_best_are_the_first_of_all(said: list[tuple[str, float]], top_k: int) -> None:
    """However few are asked for: by score, equal ones (and zeros of either sign) by id."""
    scores, ids = np.array([score for _, score in said], dtype=np.float64), [name for name, _ in said]
    expected = sorted(range(len(said)), key=lambda place: (-said[place][1], said[place][0]))
    assert sorted_places(scores, ids) == expected
    assert rank(scores, ids, top_k) == expected[: top_k or None]


def test_scores_without_an_order_are_sorted_as_ever() -> None:
    """What is no number is behind everything that is one."""
    assert rank(np.array([math.nan, 1.0, math.nan, 2.0]), "abcd", 3)[:2] == [3, 1]


@given(st.lists(numbers, min_size=1, max_size=9), st.lists(st.integers(0, 8), max_size=9))
def test_numbers_and_rows_are_those_at_the_places(said: list[float], drawn: Sequence[int]) -> None:
    """To the last bit, of either width, of arrays that lie in memory as they like."""
    places = [place % len(said) for place in drawn]
    wide = np.array(said)
    with np.errstate(over="ignore"):
        narrow = np.stack([wide, -wide, wide / 3], axis=1).astype(np.float32)
    columns = [wide, narrow[:, 2], np.flip(wide)]
    expected = [[float(column[place]) for place in places] for column in columns]
    found = picked(columns, places)
    assert np.array(found).tobytes() == np.array(expected).tobytes()
    for matrix in (narrow, np.asfortranarray(narrow), narrow[:, ::2]):
        assert rows_at(matrix, places) == [matrix[place].astype("<f4").tobytes() for place in places]


@given(st.lists(numbers | st.floats(-40.0, 40.0), max_size=20))
def test_propensities_of_many_are_those_of_each(margins: list[float]) -> None:
    """To the last bit: who asks for one candidate, and who ranks a hundred, is told the same."""
    assert propensities_of(margins) == [propensity_of(each) for each in margins]


@pytest.mark.skipif(picked.__module__ == rooms.__name__, reason="there was no C compiler")
def test_a_place_that_is_not_there_is_an_error() -> None:
    """Compiled parts read nothing beyond an array."""
    for wrong in (3, -1, 10**9):
        with pytest.raises(IndexError):
            picked([np.zeros(3)], [wrong])
        with pytest.raises(IndexError):
            rows_at(np.zeros((3, 2), np.float32), [wrong])

"""Factors: the breakdown adds up to the score to the last bit."""

import math
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from behavior.moment import Moment
from scoring.candidates import OF_REQUEST, Candidates
from scoring.factors import FACTORS, Evidence, relevance, weigh
from scoring.placements import Placement
from scoring.request import ScoreRequest

margins = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=30)


def evidence(of_model: np.ndarray, residuals: np.ndarray, placement: Placement | None = None) -> Evidence:
    ids = tuple(f"c{place}" for place in range(len(of_model)))
    now = Moment(np.array([0]), np.array([0]))
    candidates = Candidates("category", ids, ids, OF_REQUEST)
    return Evidence(ScoreRequest("u"), placement or Placement(), candidates, now, "", {}, of_model, residuals)


@given(margins, st.data())
def test_the_breakdown_adds_up_to_the_score_exactly(of_model: list[float], data: st.DataObject) -> None:
    """Adding the contributions in their order, in float64, gives the very bits of the score."""
    n = len(of_model)
    residuals = data.draw(st.lists(st.floats(-1, 1), min_size=n, max_size=n))
    weighed = weigh(evidence(np.array(of_model), np.array(residuals)))
    scores = relevance(weighed)
    for place in range(n):
        total = 0.0
        for factor in weighed:
            assert factor.contributions[place] == factor.weight * factor.values[place]
            total += float(factor.contributions[place])
        assert struct.pack("<d", total) == struct.pack("<d", float(scores[place]))
        assert math.isfinite(total)


def test_the_factors_are_the_model_and_the_learner() -> None:
    """The list says which factors there are, in the order in which they are added."""
    assert [(factor.name, factor.weight) for factor in FACTORS] == [
        ("propensity", 1.0), ("learner", 1.0), ("persona", 0.0), ("daypart", 0.0), ("weekday", 0.0),
    ]  # fmt: skip


def test_a_placement_weighs_factors_otherwise_or_leaves_them_out() -> None:
    """Weights of the placement take the place of the factors' own; at 0 a factor is not part of the breakdown."""
    said = Placement(weights={"propensity": 0.5, "learner": 0.0})
    weighed = weigh(evidence(np.array([2.0]), np.array([0.25]), said))
    assert [(each.name, each.weight, float(each.contributions[0])) for each in weighed] == [("propensity", 0.5, 1.0)]

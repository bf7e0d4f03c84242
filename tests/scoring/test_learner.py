"""The learner as the scorer sees it."""

import math

import pytest

from scoring.learner import Residuals, Weights, decode, encode


@pytest.mark.parametrize("bound", [0.0, 0.5, 1.0])
def test_no_weight_moves_a_margin_by_more_than_the_bound(bound: float) -> None:
    """Every residual lies within the bound, whatever was learned; what is not a number counts as nothing."""
    learned = {"a": 1e300, "b": -7.0, "c": 0.25, "d": math.nan, "e": math.inf}
    found = Residuals.of(Weights(3, learned), bound).lookup(["a", "b", "c", "d", "e", "unheard of"])
    assert found.tolist() == [bound, -bound, min(0.25, bound), 0.0, 0.0, 0.0]


def test_published_weights_come_back_bit_for_bit() -> None:
    """Encoding loses nothing; before any learner there is version 0 and nothing learned."""
    weights = Weights(7, {"TEA": 0.1 + 0.2, "RICE": -5e-324})
    assert decode(encode(weights)) == weights
    assert decode(None) == Weights()
    assert Residuals.of(decode(None), 1.0).version == 0


def test_of_rates_nothing_is_learned() -> None:
    """Each is the prior, whatever it is of; a and b are above 0."""
    residuals = Residuals.of(Weights(3, {"TEA": 1.0}), 1.0)
    for a, b in (residuals.rates("Loyal", ["TEA", "RICE"], 5), residuals.block_rates("", "home", ["i", "j"], 5)):
        assert (a.tolist(), b.tolist()) == ([1.0, 1.0], [49.0, 49.0])

"""AUC from bins of margins: what scikit-learn says of the margins, within the bound that is told."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from behavior.calibration import propensities
from scoring.watching.margin_bins import BINS, LOWEST, WIDTH, area, area_variance, bins_of


def counts(margins: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives by bin, float64[BINS] each."""
    where = bins_of(margins)
    positives, negatives = (np.bincount(where[each], minlength=BINS).astype(float) for each in (labels, ~labels))
    return positives, negatives


def drawn(seed: int, n: int, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    margins = rng.normal(-2.0, spread, n)
    return margins, rng.random(n) < propensities(margins)


@pytest.mark.parametrize("spread", [0.05, 0.5, 1.5, 8.0])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_within_the_bound_of_scikit_learns(seed: int, spread: float) -> None:
    """AUC is off by no more than it says, be margins in few bins or far beyond them."""
    margins, labels = drawn(seed, 2_000, spread)
    found = area(*counts(margins, labels))
    assert abs(found.value - roc_auc_score(labels, margins)) <= found.within


def test_of_margins_that_are_bins_it_is_scikit_learns() -> None:
    """Where margins of a bin are the same, ties count alike: there is nothing but rounding between the two."""
    margins, labels = drawn(7, 5_000)
    middles = LOWEST + WIDTH * (bins_of(margins) + 0.5)
    assert area(*counts(middles, labels)).value == pytest.approx(roc_auc_score(labels, middles), abs=1e-12)


def test_the_bound_is_small_where_margins_are_spread() -> None:
    """With margins of a spread of 1.5 logits the bound is below 0.01, and the error a tenth of that at most."""
    margins, labels = drawn(3, 20_000)
    found = area(*counts(margins, labels))
    assert found.within < 0.01
    assert abs(found.value - roc_auc_score(labels, margins)) < 0.001


def test_without_both_classes_there_is_none() -> None:
    """An area of positives alone is NaN, and so is its variance."""
    ones, none = np.ones(BINS), np.zeros(BINS)
    assert np.isnan([area(ones, none).value, area(none, ones).within, area_variance(ones, none)]).all()


def test_its_variance_is_that_of_labels_drawn_again() -> None:
    """Drawn 400 times from their probabilities, labels give areas that vary as told, to a fifth."""
    rng = np.random.default_rng(5)
    p = propensities(rng.normal(-2.0, 1.5, 1_500))
    margins = np.log(p / (1 - p))
    where = bins_of(margins)
    expected = np.bincount(where, p, BINS), np.bincount(where, 1 - p, BINS)
    areas = [area(*counts(margins, rng.random(len(p)) < p)).value for _ in range(400)]
    assert np.var(areas) == pytest.approx(area_variance(*expected), rel=0.2)

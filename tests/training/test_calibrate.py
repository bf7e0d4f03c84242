"""Calibration: what was bent is straightened, and what says nothing is refused."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from behavior.calibration import propensities
from behavior.errors import BadInput
from training.calibrate import calibrate


def drawn(n: int, slope: float, intercept: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw margins whose truth is another margin: labels are drawn from sigmoid(slope × raw + intercept)."""
    generator = np.random.default_rng(seed)
    raw = generator.normal(-1, 2, n).astype(np.float32)
    label = (generator.random(n) < propensities(slope * raw.astype(np.float64) + intercept)).astype(np.uint8)
    return raw, label, np.ones(n, dtype=np.float32)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -1.0), (3.0, 2.0), (0.01, 0.3)])
def test_the_truth_is_found_again(slope: float, intercept: float) -> None:
    """From a hundred thousand rows the slope and the intercept come back within their noise."""
    found = calibrate(*drawn(100_000, slope, intercept))
    assert found.slope == pytest.approx(slope, abs=0.1)
    assert found.intercept == pytest.approx(intercept, abs=0.1)


def test_it_is_the_logistic_regression_of_the_answers() -> None:
    """An independent fit of the same two numbers agrees, weights included."""
    raw, label, weight = drawn(5_000, 0.7, -0.4)
    weight[label == 0] = 4.0
    found = calibrate(raw, label, weight)
    wide = raw.astype(np.float64).reshape(-1, 1)
    other = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(wide, label, sample_weight=weight)
    assert found.slope == pytest.approx(float(other.coef_[0, 0]), abs=1e-5)
    assert found.intercept == pytest.approx(float(other.intercept_[0]), abs=1e-5)


def test_a_thinned_no_counts_as_all_that_it_stands_for() -> None:
    """With a quarter of the negatives kept at weight 4, the calibration is about that of all rows."""
    raw, label, weight = drawn(200_000, 0.8, -1.0)
    kept = (label == 1) | (np.random.default_rng(2).random(len(label)) < 0.25)
    weight = np.where(label == 1, 1.0, 4.0)[kept]
    thinned, whole = calibrate(raw[kept], label[kept], weight), calibrate(raw, label, np.ones(len(raw)))
    assert thinned.slope == pytest.approx(whole.slope, abs=0.03)
    assert thinned.intercept == pytest.approx(whole.intercept, abs=0.03)


def test_a_model_that_is_wrong_later_is_refused() -> None:
    """Where a greater margin is a rarer yes, there is nothing to calibrate."""
    raw, label, weight = drawn(5_000, -1.0, 0.0)
    with pytest.raises(BadInput, match="nothing that holds later"):
        calibrate(raw, label, weight)


def test_margins_that_tell_the_labels_apart_wholly_still_end() -> None:
    """Separable rows have no least log loss; the answer is finite and keeps the order."""
    raw = np.array([-2.0, -1.0, 1.0, 2.0], dtype=np.float32)
    found = calibrate(raw, np.array([0, 0, 1, 1]), np.ones(4))
    assert found.slope > 1

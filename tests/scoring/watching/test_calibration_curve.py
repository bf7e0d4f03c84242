"""Calibration from bins: the diagonal where scores are right, and what would mend them where they are not."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from behavior.calibration import propensities
from scoring.watching.calibration_curve import CURVE, calibration_error, curve, recalibration
from scoring.watching.quality_tally import Rows


def binned(margins: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, probabilities and positives by bin."""
    rows, predicted, positives = Rows.of(np.zeros(len(margins), int), margins[:, None], labels).counted[0]
    return rows, predicted, positives


def drawn(seed: int, n: int, slope: float = 1.0, intercept: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Margins, and labels that come as slope × margin + intercept says."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(-2.0, 1.5, n)
    return margins, rng.random(n) < propensities(slope * margins + intercept)


def test_the_curve_holds_all_rows() -> None:
    """Its bins are in order, about equally full, and their means add up to those of all rows."""
    margins, labels = drawn(1, 30_000)
    found = curve(*binned(margins, labels))
    assert len(found) == CURVE
    assert [each.predicted for each in found] == sorted(each.predicted for each in found)
    assert all(1_300 < each.rows < 2_700 for each in found)
    assert sum(each.rows for each in found) == len(labels)
    assert sum(each.rows * each.seen for each in found) == pytest.approx(labels.sum())
    assert sum(each.rows * each.predicted for each in found) == pytest.approx(propensities(margins).sum(), abs=0.03)


def test_margins_of_one_bin_are_a_curve_of_one_bin() -> None:
    """No bin of margins is split, so that equal margins never part; without rows there is no curve."""
    found = curve(*binned(np.zeros(100), np.arange(100) < 60))
    assert [(each.rows, each.predicted, each.seen) for each in found] == [(100, 0.5, 0.6)]
    nothing = np.zeros((3, 256))
    assert curve(*nothing) == ()
    assert np.isnan(calibration_error(()).value)
    assert recalibration(*nothing) is None


@pytest.mark.parametrize("n", [500, 5_000])
def test_chance_explains_the_error_of_a_calibrated_model(n: int) -> None:
    """The mean error of 200 calibrated streams is what is told of chance, to a tenth."""
    found = [calibration_error(curve(*binned(*drawn(seed, n)))) for seed in range(200)]
    value, by_chance = np.mean([(each.value, each.by_chance) for each in found], axis=0)
    assert value == pytest.approx(by_chance, rel=0.1)


def test_a_model_that_is_not_calibrated_is_told() -> None:
    """Where probabilities are twice as large as they should be, most of the error is beyond chance."""
    found = calibration_error(curve(*binned(*drawn(3, 5_000, intercept=-1.0))))
    assert found.beyond_chance > 3 * found.by_chance


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -1.0), (1.6, 0.7)])
def test_what_would_mend_it_is_what_scikit_learn_finds(slope: float, intercept: float) -> None:
    """Slope and intercept are those of a logistic regression on the margins themselves, to a hundredth."""
    margins, labels = drawn(4, 20_000, slope, intercept)
    found = recalibration(*binned(margins, labels))
    assert found is not None
    fitted = LogisticRegression(C=1e9, tol=1e-10).fit(margins[:, None], labels)
    assert (found.slope, found.intercept) == pytest.approx((fitted.coef_[0, 0], fitted.intercept_[0]), abs=0.01)


def test_margins_the_wrong_way_round_cannot_be_mended() -> None:
    """A falling relation has no calibration; one class alone still has one that is finite."""
    assert recalibration(*binned(*drawn(5, 5_000, slope=-1.0))) is None
    margins, _ = drawn(6, 100)
    only = recalibration(*binned(margins, np.zeros(100, bool)))
    assert only is None or np.isfinite(only.intercept)

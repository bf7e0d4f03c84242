"""Calibrated margins: exact, order-keeping, and refused where they would not be."""

import numpy as np
import pytest

from behavior.calibration import Calibration, propensities
from behavior.errors import BadInput


def test_order_and_ties_stay() -> None:
    """A calibrated ranking is the raw one, ties included."""
    raw = np.random.default_rng(1).normal(size=1000).astype(np.float32).round(2)
    calibrated = Calibration(0.7, -1.3).margins(raw)
    assert (np.argsort(raw, kind="stable") == np.argsort(calibrated, kind="stable")).all()
    assert calibrated.dtype == np.float64


@pytest.mark.parametrize(("slope", "intercept"), [(0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0), (1.0, float("inf"))])
def test_what_would_lose_the_order_is_refused(slope: float, intercept: float) -> None:
    """A slope that is not positive, and numbers that are none."""
    with pytest.raises(BadInput, match="both labels"):
        Calibration(slope, intercept)


def test_propensities_are_the_sigmoid() -> None:
    """Within an ulp of the formula where that does not overflow."""
    margins = np.linspace(-30, 30, 601)
    assert np.allclose(propensities(margins), 1 / (1 + np.exp(-margins)), rtol=1e-15, atol=0)

"""Curves from binned rows: they are what all rows say, and their bands are those of resampled users."""

import numpy as np
import pytest
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from tests.training.measured_rows import USERS, measured, noisy
from training.curves import DECILES, GRID, curves
from training.measured import Measured, figures
from training.metrics import CalibrationError, Rows

MODEL = noisy(0.5)


def test_roc_is_that_of_all_rows() -> None:
    """At each share of negatives the share of positives is scikit-learn's, and the area is the AUC of the figures."""
    rows = measured(MODEL)
    found = curves(rows, replicates=50).roc
    alarms, hits, _ = roc_curve(rows.label, rows.propensity)
    assert np.abs(found.y - np.interp(GRID, alarms, hits)).max() < 0.005
    assert auc(found.x, found.y) == pytest.approx(figures(rows, replicates=2)[0].figures["auc"].value, abs=2e-3)


def test_precision_is_that_of_all_rows() -> None:
    """At each recall from 5 % the precision is scikit-learn's."""
    rows = measured(MODEL)
    found = curves(rows, replicates=20).precision
    precision, recall, _ = precision_recall_curve(rows.label, rows.propensity)
    wanted = np.interp(found.x, recall[::-1], precision[::-1])
    assert np.abs(found.y - wanted)[found.x >= 0.05].max() < 0.02
    assert found.y[-1] == pytest.approx(rows.label.mean(), abs=1e-3)


def test_the_band_of_the_area_is_the_interval_of_the_auc() -> None:
    """The band is as wide as users make it: averaged over the curve, about as wide as the AUC's own interval."""
    rows = measured(MODEL)
    found = curves(rows, replicates=200).roc
    wanted = figures(rows, replicates=200)[0].figures["auc"].estimate
    assert (found.low <= found.y + 1e-9).all()
    assert (found.high >= found.y - 1e-9).all()
    assert 0.8 < (found.high - found.low).mean() / (wanted.high - wanted.low) < 2.5


def test_copied_rows_of_a_user_make_no_band_narrower() -> None:
    """Bands resample users: ten times the rows of the same users say nothing more."""
    rows = measured(MODEL)
    many = rows.take(np.tile(np.arange(len(rows)), 10))
    once, often = (curves(each, replicates=50).lift for each in (rows, many))
    assert np.allclose(once.high - once.low, often.high - often.low, atol=1e-6)


def test_lift_is_the_share_of_each_tenth_over_all() -> None:
    """Sorted by propensity and cut into ten, the shares over the average; they average 1."""
    rows = measured(MODEL)
    found = curves(rows, replicates=20).lift
    label = rows.label[np.argsort(-rows.propensity, kind="stable")].reshape(DECILES, -1)
    assert np.allclose(found.y, label.mean(axis=1) / rows.label.mean(), atol=0.06)
    assert found.y.mean() == pytest.approx(1)


def test_equal_propensities_have_no_order() -> None:
    """A model that says one thing of all rows has lift 1 everywhere and the diagonal, in whatever order rows come."""
    rows = measured(MODEL)
    constant = np.full(len(rows), 0.2)
    flat = Measured(rows.user, rows.group, rows.label, constant, np.log(constant), {})
    order = np.argsort(-rows.label, kind="stable")
    for each in (flat, flat.take(order)):
        found = curves(each, replicates=5)
        assert np.allclose(found.lift.y, 1)
        assert np.allclose(found.roc.y, GRID)


def test_reliability_counts_every_row_before_and_after() -> None:
    """What was said before calibration is the sigmoid of the raw margin; each row and positive is in one bin."""
    rows = measured(MODEL)
    half = Measured(rows.user, rows.group, rows.label, rows.propensity, rows.margin * 2, {})
    found = curves(half, replicates=2)
    for part in (found.before, found.after):
        assert part.rows.sum() == len(rows)
        assert part.positives.sum() == rows.label.sum()
    error = CalibrationError(Rows(rows.user // 10, rows.group, rows.label), rows.propensity)
    assert found.after.error == pytest.approx(error(np.ones(USERS, np.int32)))
    assert np.abs(found.after.mean - found.after.share).max() < 0.04
    assert np.abs(found.before.mean - found.before.share).max() > 0.1

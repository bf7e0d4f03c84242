"""Fitting a calibration: logistic regression of the answers on the raw margin, on rows that the model has not seen."""

import numpy as np

from behavior.calibration import Calibration, propensities
from behavior.errors import BadInput

_ROUNDS = 100
_ENOUGH = 1e-10


def calibrate(margin: np.ndarray, label: np.ndarray, weight: np.ndarray) -> Calibration:
    """The affine map of margins [n] under which the weighted log loss of labels [n] is least.

    Newton's method on (slope, intercept), halving a step that does not help. Raises BadInput if the rows do not say
    that a greater margin is a likelier yes.
    """
    x = margin.astype(np.float64)
    y, w = label.astype(np.float64), weight.astype(np.float64)
    point = np.array([1.0, 0.0])
    loss = _loss(point, x, y, w)
    for _ in range(_ROUNDS):
        p = propensities(point[0] * x + point[1])
        miss, curvature = w * (p - y), w * p * (1 - p)
        gradient = np.array([miss @ x, miss.sum()])
        hessian = np.array([[curvature @ (x * x), curvature @ x], [curvature @ x, curvature.sum()]])
        step = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)
        while (after := _loss(point - step, x, y, w)) > loss and np.abs(step).max() > _ENOUGH:
            step /= 2
        if not after <= loss or np.abs(step).max() <= _ENOUGH:
            break
        point, loss = point - step, after
    slope, intercept = (float(each) for each in point)
    if not slope > 0:
        raise BadInput(
            f"on {len(x):,} rows to calibrate on, a greater margin is no likelier yes (slope {slope:.3g}): the model "
            "has learned nothing that holds later; check the labels, or train on more history"
        )
    return Calibration(slope, intercept)


def _loss(point: np.ndarray, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """The weighted log loss, summed; softplus(z) − y z."""
    z = point[0] * x + point[1]
    return float(w @ (np.logaddexp(0.0, z) - y * z))

"""Margins in bins of equal width: what AUC and calibration are told from, in bounded space.

    …  LOWEST ├──┼──┼──┼── … ──┼──┤ HIGHEST  …          BINS bins in logits; those at the ends take what lies beyond

Counts of two streams are merged by adding them up.
"""

from dataclasses import dataclass

import numpy as np

LOWEST, HIGHEST = -10.0, 6.0
BINS = 256
WIDTH = (HIGHEST - LOWEST) / BINS


@dataclass(frozen=True, slots=True)
class Area:
    """The area under the ROC curve from binned margins; that of the margins themselves lies within ±`within` of it."""

    value: float
    within: float


def bins_of(margins: np.ndarray) -> np.ndarray:
    """The bins intp[...] of margins [...], which must be numbers.

    >>> bins_of(np.array([-30.0, -10.0, -9.9375, 5.99, 30.0])).tolist()
    [0, 0, 1, 255, 255]
    """
    return np.clip(np.floor((margins - LOWEST) / WIDTH), 0, BINS - 1).astype(np.intp)


def area(positives: np.ndarray, negatives: np.ndarray) -> Area:
    """The chance that a positive lies above a negative, of counts float64[BINS]; NaN without both.

    A pair within one bin counts as half (Hanley and McNeil, Radiology 143, 1982, for ties). Each such pair is worth
    between 0 and 1, so that the error of binning is at most half of their share:

        within = ½ Σ positives_b × negatives_b / (Σ positives × Σ negatives)

    >>> area(np.array([0.0, 1.0, 1.0]), np.array([1.0, 1.0, 0.0]))
    Area(value=0.875, within=0.125)
    """
    pairs = float(positives.sum() * negatives.sum())
    if not pairs:
        return Area(float("nan"), float("nan"))
    tied = float(positives @ negatives) / 2.0
    won = float(positives @ (np.cumsum(negatives) - negatives)) + tied
    return Area(won / pairs, tied / pairs)


def area_variance(positives: np.ndarray, negatives: np.ndarray) -> float:
    """The variance of the area where each row is a positive by itself, with its bin's share; NaN without both.

    positives, negatives   how many are expected of each bin, float64[BINS]

    Hájek's projection of the area on the labels: with P positives and N negatives expected, area A, L_b the share of
    negatives below bin b and H_b that of positives above it, a row of b that turns from negative to positive moves A by

        (L_b − A) / P − (H_b − A) / N          and its label varies by p_b (1 − p_b)
    """
    total_positives, total_negatives = float(positives.sum()), float(negatives.sum())
    if not total_positives * total_negatives:
        return float("nan")
    middle = area(positives, negatives).value
    below = (np.cumsum(negatives) - negatives / 2.0) / total_negatives
    above = 1.0 - (np.cumsum(positives) - positives / 2.0) / total_positives
    moved = (below - middle) / total_positives - (above - middle) / total_negatives
    rows = positives + negatives
    varies = np.divide(positives * negatives, rows, out=np.zeros_like(rows), where=rows > 0)
    return float(varies @ (moved * moved))

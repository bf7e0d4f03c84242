"""Which inputs a model leans on, on a sample of rows: what they add to margins, and what is lost without them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.explain import contributions, raw_margins
from training.metrics import log_losses

Calibrate = Callable[[np.ndarray], np.ndarray]

# TreeSHAP takes 0.6 to 3 ms a row; a mean over so many rows has settled.
SHAP_ROWS = 1000
PERMUTED_ROWS, PERMUTED_INPUTS, REPEATS = 4000, 20, 5


@dataclass(frozen=True, slots=True, eq=False)
class Shap:
    """TreeSHAP of r rows: what each input adds to each margin float64[r, d], and the rows themselves float32[r, d]."""

    added: np.ndarray
    x: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean |value| of each input, float64[d], in margin."""
        found: np.ndarray = np.abs(self.added).mean(axis=0)
        return found


@dataclass(frozen=True, slots=True)
class Permuted:
    """How much the log loss rises when an input's values are shuffled over the rows: mean and spread of the repeats.

    Breiman, "Random Forests", Machine Learning 45 (2001), section 10; on rows that the model has not learned from.
    """

    place: int
    mean: float
    spread: float


def shap(booster_text: str, x: np.ndarray, *, threads: int, seed: int = 1) -> Shap:
    """TreeSHAP of at most SHAP_ROWS rows of x float32[m, d], chosen at random."""
    chosen = x[_some(len(x), SHAP_ROWS, seed)]
    return Shap(contributions(booster_text, chosen, threads=threads)[:, :-1], chosen)


def permutation(
    booster_text: str,
    x: np.ndarray,
    label: np.ndarray,
    places: np.ndarray,
    calibrate: Calibrate,
    *,
    threads: int,
    seed: int = 1,
) -> list[Permuted]:
    """The inputs at `places` shuffled one at a time, REPEATS times each, over at most PERMUTED_ROWS rows.

    label       uint8[m]
    calibrate   raw margins float64[r] -> propensities float64[r], as the bundle does it
    """
    generator = np.random.default_rng(seed)
    chosen = _some(len(x), PERMUTED_ROWS, seed)
    rows, labels = x[chosen], label[chosen]
    whole = _loss(booster_text, rows, labels, calibrate, threads)
    found = []
    for place in places:
        # All repeats in one call: the model is parsed once per input, not once per repeat.
        shuffled = np.tile(rows, (REPEATS, 1))
        shuffled[:, place] = np.concatenate([generator.permutation(rows[:, place]) for _ in range(REPEATS)])
        losses = _loss(booster_text, shuffled, np.tile(labels, REPEATS), calibrate, threads).reshape(REPEATS, -1)
        rises = losses.mean(axis=1) - whole.mean()
        found.append(Permuted(int(place), float(rises.mean()), float(rises.std(ddof=1))))
    return found


def _loss(booster_text: str, x: np.ndarray, label: np.ndarray, calibrate: Calibrate, threads: int) -> np.ndarray:
    return log_losses(label, calibrate(raw_margins(booster_text, x, threads=threads)))


def _some(rows: int, most: int, seed: int) -> np.ndarray:
    """Places of at most so many rows, in their order."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, size=most, replace=False))

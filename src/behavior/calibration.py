"""From a model's raw margin to one that can be believed: affine in margin (logit) space.

    calibrated margin = slope × margin + intercept          propensity = 1 / (1 + e^−calibrated margin)

That is Platt's scaling (Advances in Large Margin Classifiers, 1999) of a classifier that already speaks in log-odds.
The slope is positive, so the order of candidates stays; and a sum of factors in margin space stays a sum.
"""

import math

import msgspec
import numpy as np

from behavior.errors import BadInput


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How margins are calibrated; slope > 0. Raises BadInput for what cannot be one."""

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept) and self.slope > 0):
            raise BadInput(
                f"a calibration of slope {self.slope} and intercept {self.intercept} would turn the order of margins "
                "round or lose it; fit it on rows that hold both labels"
            )

    def margins(self, raw: np.ndarray) -> np.ndarray:
        """Calibrated margins float64[n] of raw margins [n]: one product and one sum in float64, the same everywhere.

        >>> Calibration(2.0, -1.0).margins(np.array([0.5, 1.0], dtype=np.float32)).tolist()
        [0.0, 1.0]
        """
        calibrated: np.ndarray = self.slope * raw.astype(np.float64) + self.intercept
        return calibrated


def propensities(margins: np.ndarray) -> np.ndarray:
    """The sigmoid float64[n] of margins [n], without overflow at either end.

    >>> propensities(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    tail = np.exp(-np.abs(margins.astype(np.float64)))
    found: np.ndarray = np.where(margins >= 0, 1.0, tail) / (1.0 + tail)
    return found

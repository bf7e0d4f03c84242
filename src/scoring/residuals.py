"""The learner as the scorer sees it: numbers, no River."""

import math
from collections.abc import Sequence

import numpy as np

from scoring.learners import Changed, Numbers, key_of


class Residuals:
    """Corrections within ±bound; what is not a finite number counts as nothing learned.

    >>> residuals = Residuals(bound=1.0)
    >>> residuals.reload(3, {"|TEA": (9.0, 1.0), "|RICE": (float("nan"), 1.0)})
    >>> residuals.apply(4, {"|SALT": (0.5, 1.0)})
    >>> residuals.version, residuals.lookup("", ["TEA", "RICE", "SALT", "unheard of"]).tolist()
    (4, [1.0, 0.0, 0.5, 0.0])
    """

    def __init__(self, bound: float) -> None:
        self.version = 0
        self._bound = bound
        self._weights: dict[str, float] = {}

    def reload(self, version: int, numbers: Numbers) -> None:
        """Hold these numbers and no others."""
        self._weights = {}
        self.apply(version, numbers)

    def apply(self, version: int, changed: Changed) -> None:
        """Take over what has changed."""
        self.version = version
        for key, values in changed.items():
            if values is None or not math.isfinite(values[0]):
                self._weights.pop(key, None)
            else:
                self._weights[key] = min(max(values[0], -self._bound), self._bound)

    def lookup(self, persona: str, categories: Sequence[str]) -> np.ndarray:
        """The correction of each category, float64[n]; 0 for one that nothing was learned about."""
        return np.array([self._weights.get(key_of(persona, each), 0.0) for each in categories], dtype=np.float64)

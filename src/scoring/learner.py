"""The learner as the scorer sees it: numbers, no River.

The learner process publishes its weights whole under one key with a version; scorers poll the key and clamp what they
take, so that no learner, however wrong, moves a margin by more than the bound.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from behavior.places import places_in

# The Beta(a, b) of a rate of which nothing is known: as one success in fifty trials.
PRIOR_RATE = (1.0, 49.0)


class Weights(msgspec.Struct, frozen=True):
    """What the learner has learned: a correction of the margin, in logits, per category."""

    version: int = 0
    weights: dict[str, float] = {}


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Weights)


def encode(weights: Weights) -> bytes:
    """The published bytes."""
    return _encoder.encode(weights)


def decode(data: bytes | None) -> Weights:
    """What `encode` wrote; None is what there is before any learner: version 0, nothing learned."""
    return Weights() if data is None else _decoder.decode(data)


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """Weights ready for use: clamped to ±bound; what is not a finite number counts as nothing learned.

    >>> residuals = Residuals.of(Weights(3, {"TEA": 9.0, "RICE": float("nan")}), bound=1.0)
    >>> residuals.lookup(["TEA", "RICE", "unheard of"]).tolist()
    [1.0, 0.0, 0.0]
    """

    version: int = 0
    _rows: Mapping[str, int] = field(default_factory=dict)
    _clamped: np.ndarray = field(
        default_factory=lambda: np.zeros(1)
    )  # float64[rows + 1], the last is of what is unknown

    @classmethod
    def of(cls, weights: Weights, bound: float) -> "Residuals":
        """The weights within ±bound."""
        finite = {category: weight for category, weight in weights.weights.items() if math.isfinite(weight)}
        rows = {category: row for row, category in enumerate(finite)}
        return cls(weights.version, rows, np.clip(np.array([*finite.values(), 0.0]), -bound, bound))

    def lookup(self, categories: Sequence[str]) -> np.ndarray:
        """The correction of each category, float64[n]; 0 for one that nothing was learned about."""
        found: np.ndarray = self._clamped[places_in(self._rows, categories)]
        return found

    def rates(self, persona: str, categories: Sequence[str], t: int) -> tuple[np.ndarray, np.ndarray]:
        """The Beta(a, b) of each category's rate, float64[n] each: the prior, whatever the persona and the instant."""
        a, b = PRIOR_RATE
        return np.full(len(categories), a), np.full(len(categories), b)

    def block_rates(self, persona: str, placement: str, ids: Sequence[str], t: int) -> tuple[np.ndarray, np.ndarray]:
        """The Beta(a, b) of each item's rate in the placement, float64[n] each: the prior."""
        return self.rates(persona, ids, t)

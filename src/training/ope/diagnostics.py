"""Whether a log can tell of a candidate at all: how unevenly its answers count, and what it never showed."""

from dataclasses import dataclass

import numpy as np

from training.ope.decisions import NO_CHANCE, Decisions


@dataclass(frozen=True, slots=True)
class PositionWeights:
    """The weights up to a position, over the answers that have it.

    mean        1 in truth, without clipping: far from it, the chances are not those that drew, or some great weights
                have not come up yet
    error       the standard error of the mean
    greatest    the greatest weight
    effective   how many answers of equal weight would be as precise (Kish): (Σ w)² / Σ w²
    """

    position: int
    answers: int
    mean: float
    error: float
    greatest: float
    effective: float


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What is known of the weights.

    positions            one by one
    effective            answers of equal weight, for whole answers
    effective_outcomes   rewarded positions of equal weight
    outcomes             rewarded positions
    unsupported          the chance that the candidate's answer holds something that the log gave no chance to
    unsupported_answers  share of the answers in which it might
    clip, clipped        the greatest weight that was given, and the share of the candidate's answers that it cut off
    """

    positions: tuple[PositionWeights, ...]
    effective: float
    effective_outcomes: float
    outcomes: int
    unsupported: float
    unsupported_answers: float
    clip: float | None
    clipped: float

    @property
    def greatest(self) -> float:
        """The greatest weight of all."""
        return max(each.greatest for each in self.positions)


def diagnosed(decisions: Decisions, clip: float | None = None) -> Diagnostics:
    """The diagnostics of the weights as they are used; clipping is measured against those without it."""
    weights, exists = decisions.weights(clip), decisions.exists
    before = np.hstack([np.ones((len(decisions), 1)), decisions.weights()[:, :-1]])
    rewarded = weights * decisions.reward
    cut = (decisions.weights() - weights).mean(axis=0).max()
    return Diagnostics(
        tuple(_position(number, weights[exists[:, number], number]) for number in range(decisions.positions)),
        _kish(weights[:, -1]),
        _kish(rewarded[decisions.reward > 0]),
        int((decisions.reward > 0).sum()),
        # What a candidate does behind its first unsupported step does not count twice: the weight there is 0.
        float((before * decisions.unsupported).sum(axis=1).mean()),
        float((decisions.unsupported > NO_CHANCE).any(axis=1).mean()),
        clip,
        float(cut),
    )


def _position(number: int, weights: np.ndarray) -> PositionWeights:
    n = len(weights)
    error = float(weights.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return PositionWeights(number + 1, n, float(weights.mean()), error, float(weights.max()), _kish(weights))


def _kish(weights: np.ndarray) -> float:
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0

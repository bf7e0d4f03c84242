"""What off-policy evaluation computes with: decisions as arrays."""

from dataclasses import dataclass

import numpy as np

# Chances below this are none: what has them is not seen in any journal.
NO_CHANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """n answers of m positions at most; beyond an answer's own positions rewards are 0 and chances 1.

    user         int64[n], 0..: whose answer it was; what users do is independent, what one user does may not be
    size         int64[n], how many positions were drawn
    reward       float64[n, m], 0 to 1, what came of each position
    logged       float64[n, m], the chance that the log gave to what stands there, given what stands before it
    candidate    float64[n, m], the chance that the candidate gives it
    unsupported  float64[n, m], the chance that the candidate puts something there that the log gave no chance to
    shown        float32[n, m, d], what is known of what stands there: the inputs of the reward model
    expected     float32[n, m, d], the same of what the candidate puts there, in expectation over its chances
    expected_of_log   float32[n, m, d], the same in expectation over the chances of the log
    """

    user: np.ndarray
    size: np.ndarray
    reward: np.ndarray
    logged: np.ndarray
    candidate: np.ndarray
    unsupported: np.ndarray
    shown: np.ndarray
    expected: np.ndarray
    expected_of_log: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    @property
    def positions(self) -> int:
        """How many positions an answer has at most."""
        return int(self.reward.shape[1])

    @property
    def exists(self) -> np.ndarray:
        """bool[n, m], which positions were drawn."""
        found: np.ndarray = np.arange(self.positions) < self.size[:, None]
        return found

    def weights(self, clip: float | None = None) -> np.ndarray:
        """float64[n, m]: how much more often the candidate than the log shows just this up to each position.

        Nothing after a position counts for what comes of it: users look from the first to the last (cascade model).
        `clip` is the greatest weight that is given; what lies above is cut off.
        """
        found = np.cumprod(self.candidate / self.logged, axis=1)
        return found if clip is None else np.minimum(found, clip)


def compared(
    kept: np.ndarray, candidate: np.ndarray, inputs: np.ndarray, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`unsupported`, `shown`, `expected` and `expected_of_log` of answers whose pools have p each.

    kept        float64[..., m, p], the chances that the log gave to each of the pool at each position
    candidate   float64[..., m, p], those that the candidate gives
    inputs      float64[..., p, d], of each of the pool
    drawn       int64[..., m], which of the pool stands at each position
    """
    unsupported = np.where(kept < NO_CHANCE, candidate, 0.0).sum(axis=-1)
    shown = np.take_along_axis(inputs, drawn[..., None], -2)
    told = (each.astype(np.float32) for each in (shown, candidate @ inputs, kept @ inputs))
    return unsupported, *told

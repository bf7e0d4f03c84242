"""What has happened to users lately, as far as it makes them tired of a category."""

import numpy as np

from behavior.event import HOUR_US
from training.simulation.parameters import Parameters


class Memory:
    """Fatigue by user and category: what was looked at and bought, fading by half every `fatigue_half_life_h` hours.

    Empty at first; `take` must be called in the order of time of each user.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._shown, self._bought = parameters.shown_fatigue, parameters.bought_fatigue
        self._half_life_us = parameters.fatigue_half_life_h * HOUR_US
        self._level = np.zeros((parameters.users, parameters.categories))
        self._t = np.zeros(parameters.users, dtype=np.int64)

    def fatigue(self, user: int, t: int) -> np.ndarray:
        """Logits that each category has lost for the user at an instant (µs), float64[c]."""
        left: np.ndarray = self._level[user] * 2.0 ** (-(t - int(self._t[user])) / self._half_life_us)
        return left

    def take(self, user: int, t: int, examined: np.ndarray, bought: np.ndarray) -> None:
        """Add how much of each category was looked at, and how often it was bought, at t: float64[c], int64[c]."""
        self._level[user] = self.fatigue(user, t) + self._shown * examined + self._bought * bought
        self._t[user] = t

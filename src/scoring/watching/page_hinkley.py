"""Page-Hinkley: a mean that changes slowly, or of few events, by a sum that remembers.

Page, "Continuous inspection schemes", Biometrika 41, 1954; its threshold follows from a rate of false alarms by the
corrected diffusion of Siegmund, "Sequential Analysis", 1985, chapter 2.
"""

import math

# A mean of so many residuals moves no slower any more.
REMEMBERED = 8_064


class PageHinkley:
    """Changes of a mean, up and down, as River's `drift.PageHinkley` with alpha 1; the state is plain numbers."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.count, self.mean = 0.0, 0.0
        self.above, self.below = 0.0, 0.0
        self.above_since, self.below_since = 0.0, 0.0

    def update(self, x: float, t: int, delta: float) -> int:
        """Take one value at t, differences of delta from the mean let pass: 1 if it has gone up, -1 if down, else 0."""
        self.count = min(self.count + 1.0, REMEMBERED)
        self.mean += (x - self.mean) / self.count
        if self.above <= 0.0:
            self.above_since = float(t)
        if self.below <= 0.0:
            self.below_since = float(t)
        self.above = max(0.0, self.above + x - self.mean - delta)
        self.below = max(0.0, self.below - x + self.mean - delta)
        return int(self.above > self.threshold) - int(self.below > self.threshold)

    def rest(self) -> None:
        """Begin to sum anew."""
        self.above = self.below = 0.0

    def numbers(self) -> tuple[float, ...]:
        """The whole state."""
        return self.count, self.mean, self.above, self.below, self.above_since, self.below_since

    def restore(self, numbers: tuple[float, ...]) -> None:
        """Continue from the state, bit for bit."""
        self.count, self.mean, self.above, self.below, self.above_since, self.below_since = numbers


def threshold_of(rate: float, delta: float) -> float:
    """The threshold at which one side of Page-Hinkley alarms at this rate per value, of independent normal ones.

    Siegmund: 1 / rate = (exp(2 delta b) - 2 delta b - 1) / (2 delta^2) with b = threshold + 1.166.

    >>> round(threshold_of(1 / 10_000, 0.25), 1)
    13.1
    """
    low, high = 0.0, 400.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        reach = 2 * delta * (middle + 1.166)
        low, high = (middle, high) if (math.exp(reach) - reach - 1) / (2 * delta**2) < 1 / rate else (low, middle)
    return high

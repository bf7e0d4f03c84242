"""Made-up series of counts with a daily rhythm, by seed."""

from datetime import UTC, datetime

import numpy as np

from behavior.event import MINUTE_US, SECOND_US

INTERVAL_S, A_DAY = 300, 288
START = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * SECOND_US


def at(interval: int) -> int:
    """When an interval begins."""
    return START + interval * 5 * MINUTE_US


def counts(days: int, volume: float, seed: int, over: float = 0.02) -> np.ndarray:
    """Negative binomial counts, float64[days * A_DAY], with most at 15 o'clock, UTC."""
    rng = np.random.default_rng(seed)
    hours = np.arange(days * A_DAY) / 12 % 24
    expected = volume * (1.0 + 0.6 * np.sin(2 * np.pi * (hours - 9.0) / 24))
    rates = rng.gamma(1 / over, over, len(hours)) if over else 1.0
    return rng.poisson(expected * rates).astype(float)

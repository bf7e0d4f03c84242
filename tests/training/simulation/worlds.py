"""Small worlds for tests, and tests of what is random: with a fixed seed they say the same every time."""

import numpy as np

from behavior.event import DAY_US
from training.simulation.parameters import Parameters, made_of
from training.simulation.rhythm import Visit
from training.simulation.world import World

# Of fair draws one in 30,000 is further from its mean, in standard deviations.
FAR = 4.2


def small(**given: object) -> World:
    """A world that is made in a moment."""
    return World(made_of({"users": 60, "categories": 8, "items": 3, "slots": 4, "sessions_per_day": 1.0} | given))


def first_days(world: World, days: int) -> list[Visit]:
    """The visits of the world's first days."""
    start = world.parameters.start_t
    return world.visits(start, start + days * DAY_US)


def day(parameters: Parameters, number: int) -> int:
    """The instant (µs UTC) at which a day begins; the first is 0."""
    return parameters.start_t + number * DAY_US


def deviations(happened: np.ndarray, chance: np.ndarray) -> float:
    """How far a number of events is from what independent chances give, in standard deviations."""
    return float((happened.sum() - chance.sum()) / np.sqrt((chance * (1 - chance)).sum()))


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """Pearson's statistic in standard deviations from its mean: near 0 where the counts are as expected."""
    freedom = len(counts) - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom))
